"""The commands of `retune` as functions. Their options are the command line's, by the same names."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _arguments, _ray, _retune, ray
from ._data import located
from ._errors import Error
from ._features import Features, Map, Similarity
from ._handing import advised, check, noted
from ._model import Model, _features, of_model
from ._overwriting import overwriting
from ._progress import progress
from ._results import (
    Advice,
    Audit,
    Comparison,
    Curve,
    Estimate,
    Evaluations,
    Plan,
    Predictions,
    RateFinder,
    Run,
    Soup,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import (
        AdviseOptions,
        AuditOptions,
        CompareOptions,
        EvaluateOptions,
        FeaturesOptions,
        FitOptions,
        LrFindOptions,
        PlanOptions,
        PredictOptions,
        SoupOptions,
        WiseFtOptions,
    )


#: Called with what an epoch measured on a split: a row of `metrics.jsonl`.
OnEpoch = Callable[[dict[str, Any]], object]


def _run(
    function: str, keywords: Mapping[str, Any], command: str | None = None, on_epoch: OnEpoch | None = None
) -> tuple[Any, str]:
    """Runs a command; its result as `--json` prints it, and as text."""
    typed = _arguments.line(command or function.replace("_", "-"), keywords, function)
    document, text = _retune.run(typed, progress(dict(keywords), on_epoch))
    return json.loads(document or "null"), text


class _Session:
    """Keywords of one call in which data in memory has become paths, and what keeps it there meanwhile."""

    def __init__(self, model: Any, data: Any, options: Mapping[str, Any]) -> None:
        path, keywords = of_model(model, options)
        self.held: list[Any] = []
        if path is not None:
            keywords = {"model": path, **keywords}
        if data is not None:
            keywords["data"] = self.path(data)
        if isinstance(keywords.get("eval"), Mapping):
            keywords["eval"] = {name: self.path(part) for name, part in keywords["eval"].items()}
        if keywords.get("against") is not None:
            keywords["against"], _ = of_model(keywords["against"], {})
        self.keywords = keywords

    def run(
        self, function: str, command: str | None = None, on_epoch: OnEpoch | None = None, **further: Any
    ) -> tuple[Any, str]:
        """Runs the command of a function, with further keywords; its result as `--json` prints it, and as text."""
        try:
            return _run(function, {**self.keywords, **further}, command, on_epoch)
        except Error as error:
            unlabeled = next((held.unlabeled for held in self.held if held.unlabeled is not None), None)
            # Of one image, of some, or of all.
            says_so = any(words in str(error) for words in ("has no label", "have no label", "no image has a label"))
            if unlabeled is not None and says_so:
                raise type(error)(f"{error} ({unlabeled})") from None
            raise

    def path(self, data: Any) -> str:
        shift = ""
        if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], str) and data[1].startswith("@"):
            data, shift = data
        found = located(data)
        self.held.append(found)
        return found.path + shift


def _outcome(path: str | os.PathLike[str] | None) -> Path:
    return Path("" if path is None else getattr(path, "path", path))


def fit(
    model: Any = None,
    data: Any = None,
    *,
    out: Any = None,
    overwrite: bool = False,
    on_epoch: OnEpoch | None = None,
    **options: Unpack[FitOptions],
) -> Run:
    """Fine-tunes a model on images and writes the run directory `out`.

    Parameters
    ----------
    model
        A folder, a run, a checkpoint, a hub name such as `timm/resnet18.a1_in1k`, or a `Model`.
    data
        What `retune.Images` describes: paths, arrays, data sets, frames.
    out
        The run directory.
    overwrite
        Replace a run that is there already, as when a cell of a notebook runs again. The old run comes back if the new one
        does not begin, as after a mistake, or if it diverges.
    on_epoch
        Called with what each epoch measured on `train` and `val`, as a dictionary with `phase`, `epoch`, `step`, `split`,
        `loss`, `accuracy` (0 to 1), `seconds`, `learning_rate` and others: for MLflow, Weights & Biases, or a plot. An
        exception stops the run at its next batch, and `retune.resume` goes on.
    eval
        Further sets by name, as `{"deployed": "phone/"}`; a corruption may follow a path, `"photos/@fog:3"`, or data in
        memory, `(data, "@fog:3")`.

    Raises `retune.Error` for a mistake, `retune.NotFoundError` for what is not there, `retune.Diverged`, and
    `KeyboardInterrupt` after a checkpoint, with which `retune.resume` goes on.
    """
    _refuse_dry_run(options, "retune.plan")
    session = _Session(model, data, options)
    plan = session.keywords.get("plan")
    replaces = overwrite and out is not None
    place = overwriting(Path(os.path.abspath(getattr(out, "path", out))), session.keywords) if replaces else nullcontext()
    with place, noted(_outcome(out), session.held), tempfile.TemporaryDirectory() as folder:
        if isinstance(plan, Plan):
            session.keywords["plan"] = plan.save(Path(folder) / "plan.toml")
        document, text = session.run("fit", out=out, on_epoch=on_epoch)
    return Run(document, text, _outcome(out), tuple(session.held))


def resume(
    run: Any,
    *,
    data: Any = None,
    eval: Mapping[str, Any] | None = None,
    on_epoch: OnEpoch | None = None,
    **options: Any,
) -> Run | Comparison:
    """Goes on with an interrupted run or comparison, to the same bytes as without the interruption.

    If its images were in memory, pass the same `data` and `eval` again.
    """
    path = Path(getattr(run, "path", run))
    session = _Session(None, data, {"eval": eval})
    check(path, session.keywords, session.held)
    held = [*session.held, *getattr(run, "_held", ())]
    of_comparison = (path / "compare.toml").is_file() and not (path / "run.toml").is_file()
    try:
        with noted(path, held):
            document, text = _run("resume", {"resume": path, **options}, "compare" if of_comparison else "fit", on_epoch)
    except Error as error:
        raise advised(error, path) from None
    kind = Comparison if of_comparison else Run
    return kind(document, text, path, tuple(held))


def compare(
    model: Any = None,
    data: Any = None,
    *,
    out: Any = None,
    engine: str | None = None,
    parts: int | None = None,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Compares methods on the same data, in distribution and under shift. Finished runs in `out` are not repeated.

    With `engine="ray"`, the machines of a Ray cluster make the runs, in `parts` tasks (as many as it has processors) that take
    `threads` processors each (one). The tables are the same.
    """
    _refuse_dry_run(options, "retune.estimate")
    session = _Session(model, data, options)
    if engine is not None:
        keywords = _on_cluster(session, engine)
        out = keywords["out"] = os.path.abspath(_named(out, "out"))
        _run_parts("compare", keywords, parts)
        session.keywords = keywords
    with noted(_outcome(out), session.held):
        document, text = session.run("compare", out=out)
    return Comparison(document, text, _outcome(out), tuple(session.held))


def estimate(model: Any = None, data: Any = None, **options: Unpack[CompareOptions]) -> Estimate:
    """Estimates how long a comparison takes and how much memory it needs, and trains nothing."""
    return Estimate(*_Session(model, data, options).run("estimate", "compare", dry_run=True))


def _refuse_dry_run(options: Mapping[str, Any], function: str) -> None:
    """A dry run gives no run and no comparison."""
    if options.get("dry_run"):
        raise TypeError(f"dry_run is an option of the command line; in Python, {function}(model, data) estimates time and memory")


def plan(model: Any = None, data: Any = None, **options: Unpack[PlanOptions]) -> Plan:
    """Shows what a method would train, before anything trains; with data, also what it would take."""
    session = _Session(model, data, options)
    document, text = session.run("plan")
    _, toml = session.run("plan", toml=True, quiet=True, verbose=None, data=None)
    return Plan(document, text, toml)


def advise(model: Any = None, data: Any = None, **options: Unpack[AdviseOptions]) -> Advice:
    """Estimates on a few hundred images which layers to tune."""
    session = _Session(model, data, options)
    if session.keywords.get("source") is not None:
        session.keywords["source"] = session.path(session.keywords["source"])
    return Advice(*session.run("advise"))


def audit(model: Any = None, data: Any = None, **options: Unpack[AuditOptions]) -> Audit:
    """Measures what changes if images are prepared differently from training."""
    session = _Session(model, data, options)
    return Audit(*session.run("audit"))


def lr_find(model: Any = None, data: Any = None, **options: Unpack[LrFindOptions]) -> RateFinder:
    """Finds a learning rate with the range test."""
    session = _Session(model, data, options)
    return RateFinder(*session.run("lr_find"))


def wise_ft(run: Any, **options: Unpack[WiseFtOptions]) -> Curve:
    """Evaluates models on the line between the weights at the start and at the end of a run."""
    session = _Session(None, None, options)
    return Curve(*session.run("wise_ft", run=Path(getattr(run, "path", run))))


def soup(runs: Iterable[Any], *, out: Any = None, **options: Unpack[SoupOptions]) -> Soup:
    """Averages the weights of several runs and writes the model directory `out`."""
    session = _Session(None, None, options)
    paths = [Path(getattr(run, "path", run)) for run in runs]
    document, text = session.run("soup", out=out, runs=paths)
    return Soup(document, text, _outcome(out))


def evaluate(model: Any = None, data: Any = None, **options: Unpack[EvaluateOptions]) -> Evaluations:
    """Evaluates a model on labeled images."""
    session = _Session(model, data, options)
    return Evaluations(*session.run("evaluate", "eval"))


def predict(model: Any, images: Any, **options: Unpack[PredictOptions]) -> Predictions:
    """Predicts the classes of images: one or several paths, arrays, or PIL images. For arrays of classes and
    probabilities, see `Model.predict` and `Model.predict_proba`."""
    session = _Session(model, None, options)
    several = isinstance(images, Sequence) and not isinstance(images, (str, bytes))
    if several and images and all(isinstance(image, (str, os.PathLike)) for image in images):
        paths = [os.fspath(image) for image in images]
    else:
        paths = [session.path(images)]
    return Predictions(*session.run("predict", images=paths))


def features(
    model: Any,
    data: Any,
    *,
    layer: str = "pooled",
    out: Any = None,
    engine: str | None = None,
    parts: int | None = None,
    **options: Unpack[FeaturesOptions],
) -> Features:
    """The features of images at a layer, in memory; with `out`, also in a file (.npz, .parquet, or .safetensors).

    With `engine="ray"`, the machines of a Ray cluster extract them into `out`, in `parts` tasks (as many as it has processors,
    and at most as many as there are batches) that take `threads` processors each (one). The file is the same.

    `data` may then also be a `ray.data.Dataset` with a column of images, as `retune.ray.Extractor` finds it, or a location such
    as `s3://bucket/photos`, a folder, a Parquet file, or a WebDataset's `.tar`, which Ray reads. `out` is a folder of Parquet
    files, in the order of the data set, and `parts` the most actors.
    """
    if engine is not None and ray.is_dataset(data):
        return _of_dataset(model, data, layer, out, engine, parts, dict(options))
    session = _Session(model, data, {**options, "layer": layer})
    if engine is not None:
        keywords = _on_cluster(session, engine)
        whole = Path(os.path.abspath(_named(out, "out")))
        count = parts or _parts(keywords)
        shards = [str(whole.with_name(f"{whole.stem}.part-{number}.npz")) for number in range(1, count + 1)]
        _run_parts("features", keywords, count, shards)
        _run("merge_features", {"shards": shards, "out": str(whole), "quiet": True})
        found = Features._of_shards(shards, layer)
        for shard in shards:
            os.remove(shard)
        return found
    if isinstance(model, Model) and out is None and not _changes_model(model, options):
        session.keywords = {name: value for name, value in session.keywords.items() if name not in model.options}
        typed = _arguments.line("features", {**session.keywords, "out": "features.npz"}, "features")
        return _features(model._loaded.features(typed, progress(options)), layer)
    if out is not None:
        session.run("features", out=out)
    typed = _arguments.line("features", {**session.keywords, "out": "features.npz"}, "features")
    return _features(_retune.features(typed, progress(options)), layer)


def _of_dataset(
    model: Any, data: Any, layer: str, out: Any, engine: str, parts: int | None, options: dict[str, Any]
) -> Features:
    """Features of a data set of Ray in the folder `out`."""
    _check_engine(engine)
    folder = _named(out, "out")
    folder = folder if "://" in folder else os.path.abspath(folder)
    path, options = of_model(model, options)
    if path is not None and os.path.exists(path):
        path = os.path.abspath(path)
    sizes = {"threads": int(options.pop("threads", None) or 1), "batch_size": int(options.pop("batch_size", None) or 32)}
    precision = options.pop("precision", None) or "float32"
    for name in {"data", "out"} | (_arguments.commands()["features"].options.keys() - _arguments.commands()["layers"].options):
        if options.pop(name, None) is not None:
            raise Error(f"{name} has no use with a data set of Ray")
    ray.extract(path, data, folder, actors=parts or _parts(sizes), layer=layer, precision=precision, **sizes, **options)
    return Features._of_folder(folder, layer)


def _check_engine(engine: str) -> None:
    if engine != "ray":
        raise Error(f"engine must be 'ray', not {engine!r}")


def _named(value: Any, keyword: str) -> str:
    if value is None:
        raise Error(f"{keyword} is missing: a cluster needs a place that every machine sees")
    return str(os.fspath(value))


def _on_cluster(session: _Session, engine: str) -> dict[str, Any]:
    """The keywords with paths that mean the same in every working directory."""
    _check_engine(engine)
    if any(held.lent is not None for held in session.held):
        raise Error("a cluster reads images from files that every machine sees; these are in memory")

    def absolute(location: Any) -> Any:
        return os.path.abspath(location) if os.path.exists(location) else location

    keywords = dict(session.keywords)
    for keyword in {"model", "data"} & keywords.keys():
        keywords[keyword] = absolute(keywords[keyword])
    if isinstance(keywords.get("eval"), Mapping):
        keywords["eval"] = {name: absolute(path) for name, path in keywords["eval"].items()}
    return keywords


def _parts(keywords: Mapping[str, Any]) -> int:
    return max(1, _ray.processors() // int(keywords.get("threads") or 1))


def _run_parts(function: str, keywords: Mapping[str, Any], parts: int | None, outs: Sequence[str] | None = None) -> None:
    """Runs the shards of a command on a cluster; each writes to its own of `outs`, if there are any."""
    threads, count = int(keywords.get("threads") or 1), parts or _parts(keywords)
    commands = []
    for number in range(1, count + 1):
        further = {"shard": f"{number}/{count}", "threads": threads, "quiet": True}
        if outs is not None:
            further["out"] = outs[number - 1]
        commands.append(_arguments.line(function, {**keywords, **further}, function))
    _ray.run_parts(commands, threads)


def _changes_model(model: Model, options: Mapping[str, Any]) -> bool:
    """Whether options ask for another model than the loaded one, or for other preprocessing."""
    return any(name in _arguments.commands()["layers"].options and name not in _EVERYWHERE for name in options)


_EVERYWHERE = {"quiet", "verbose", "threads", "kernels"}


def umap(
    features: Any,
    data: Any = None,
    *,
    neighbors: int = 15,
    minimum_distance: float = 0.1,
    metric: str = "euclidean",
    seed: int = 0,
    epochs: int | None = None,
    labels: Sequence[Any] | None = None,
    out: Any = None,
    **options: Any,
) -> Map:
    """Maps features in two dimensions with UMAP.

    Parameters
    ----------
    features
        `Features`, or an array `[n, width]` (with `labels` to color by); or a model, whose features of `data` are taken.
    neighbors
        Size of a neighborhood; smaller ones show finer structure.
    minimum_distance
        Minimum distance of points, from 0 to 1.
    metric
        `euclidean` or `cosine`.
    epochs
        Of the layout; 500, or 200 for more than 10,000 images.
    out
        A file to write: .html (interactive, with the images if they are `data`), .png, .svg, .csv or .json.
    """
    import numpy

    known = {"neighbors": neighbors, "minimum_distance": minimum_distance, "metric": metric, "seed": seed, "epochs": epochs}
    if data is not None:
        session = _Session(features, data, {**options, **known})
        return _mapped_by_command(session, out)
    if options:
        raise _arguments.unknown("umap", next(iter(options)), [*known, "labels", "out", "data"])
    if isinstance(features, (str, os.PathLike)):
        return _mapped_by_command(_Session(None, None, {"features": [features], **known}), out)
    if out is not None:
        with tempfile.TemporaryDirectory() as folder:
            table = _as_features(features, labels).save(Path(folder) / "features.npz")
            return _mapped_by_command(_Session(None, None, {"features": [table], **known}), out)
    values = numpy.asarray(features, dtype=numpy.float32)
    _check_matrix(values)
    points = _retune.umap(values, neighbors, minimum_distance, metric, seed, epochs)
    judged = 31 <= len(values) <= 10_000
    trust = _retune.trustworthiness(values, points, 15, metric) if judged else None
    if isinstance(features, Features):
        names: Sequence[Any] = features.class_names() if labels is None else labels
        return Map(points, tuple(names), features.paths, trust)
    names = [None] * len(values) if labels is None else [_name(label) for label in labels]
    return Map(points, tuple(names), tuple(f"image {index}" for index in range(len(values))), trust)


def _name(label: Any) -> str | None:
    return None if label is None else str(label)


def _check_matrix(values: Any) -> None:
    if values.ndim != 2:
        raise Error(f"features are [n, width], and not {list(values.shape)}")


def _as_features(features: Any, labels: Sequence[Any] | None) -> Features:
    import numpy

    if isinstance(features, Features):
        return features
    values = numpy.asarray(features, dtype=numpy.float32)
    _check_matrix(values)
    names = sorted({str(label) for label in labels}) if labels is not None else []
    positions = [names.index(str(label)) for label in labels] if labels is not None else [-1] * len(values)
    paths = tuple(f"image {index}" for index in range(len(values)))
    return Features(values, numpy.asarray(positions, dtype=numpy.int64), paths, tuple(names), "")


def _mapped_by_command(session: _Session, out: Any) -> Map:
    import numpy

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "map.json" if out is None else Path(out)
        document, _ = session.run("umap", out=target)
    points = numpy.array([[point["x"], point["y"]] for point in document["points"]], dtype=numpy.float32)
    labels = tuple(point["label"] for point in document["points"])
    paths = tuple(point["path"] for point in document["points"])
    return Map(points.reshape(-1, 2), labels, paths, document["trustworthiness"], None if out is None else target)


def cka(one: Any, other: Any = None, **options: Any) -> Any:
    """How similar representations are, from 0 to 1.

    `cka(X, Y)` compares features `[n, width]` of the same images and returns a number; `kernel` is `linear` or `rbf` (with
    `bandwidth`), and `estimator` is `debiased` or `biased`.

    `cka(model, data)` compares what a model makes of images across resampling filters (`interpolations`), across its
    layers (`layers=True`), or with another model (`against`), and returns a `Similarity`.
    """
    if _is_matrix(one):
        return _cka_of_arrays(one, other, **options)
    session = _Session(one, other, options)
    return Similarity(*session.run("cka"))


def _is_matrix(value: Any) -> bool:
    return isinstance(value, Features) or getattr(value, "ndim", None) == 2 or isinstance(value, (list, tuple))


def _cka_of_arrays(
    one: Any, other: Any, kernel: str = "linear", bandwidth: float = 0.8, estimator: str = "debiased"
) -> float:
    import numpy

    x, y = (numpy.asarray(value, dtype=numpy.float32) for value in (one, other))
    for values in (x, y):
        _check_matrix(values)
    if kernel not in ("linear", "rbf"):
        raise Error(f"the kernel is linear or rbf, not {kernel!r}")
    found: float = _retune.cka(x, y, estimator, bandwidth if kernel == "rbf" else None)
    return found


def resize(image: Any, size: tuple[int, int], interpolation: str = "bicubic") -> Any:
    """An image at another size, `(width, height)` as in Pillow, by one of Pillow's, OpenCV's or PyTorch's filters.

    Takes and returns a PIL image or a uint8 array `[height, width, 3]`.
    """
    width, height = size
    return _changed(image, lambda pixels: _retune.resize(pixels, width, height, interpolation))


def corrupt(image: Any, corruption: str, *, seed: int = 0, index: int = 0) -> Any:
    """An image with a corruption `name:severity` (1 to 5) of Hendrycks & Dietterich 2019, such as `fog:3`.

    The same seed and index give the same pixels. Takes and returns a PIL image or a uint8 array `[height, width, 3]`.
    """
    return _changed(image, lambda pixels: _retune.corrupt(pixels, corruption, seed, index))


def _changed(image: Any, change: Any) -> Any:
    import numpy

    from ._data import pixels

    of_pillow = hasattr(image, "getbands")
    held = numpy.asarray(image.convert("RGB")) if of_pillow else pixels(image)
    if not isinstance(held, numpy.ndarray):
        raise TypeError(f"an image is a PIL image or a uint8 array, not {type(image).__name__}")
    changed = change(numpy.ascontiguousarray(held))
    if of_pillow:
        from PIL import Image

        return Image.fromarray(changed)
    return changed


