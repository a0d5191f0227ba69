"""What commands find, as values: the document that `--json` prints, the text that the command prints, and views of both."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import Error, in_python
from ._html import Page, interval, percent, table

if TYPE_CHECKING:
    import numpy
    import pandas

    from ._model import Model


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError("this needs pandas: pip install pandas") from None
    return pandas


def _axes(axes: Any, width: float = 6.0, height: float = 4.0) -> Any:
    if axes is not None:
        return axes
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("this needs matplotlib: pip install matplotlib") from None
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """What a command found."""

    #: What `--json` prints.
    document: Any
    #: What the command prints.
    text: str

    def __repr__(self) -> str:
        return in_python(self.text)

    def __getstate__(self) -> dict[str, Any]:
        # What is computed on demand, and images in memory, stay behind.
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__ and name != "_held"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_held", ())


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on a set. Shares are from 0 to 1."""

    n: int
    accuracy: float
    #: 95 % (Wilson).
    accuracy_interval: tuple[float, float]
    #: Mean cross-entropy of the logits as they are, in nats.
    loss: float
    balanced_accuracy: float | None = None
    top5_accuracy: float | None = None
    macro_f1: float | None = None
    auroc: float | None = None
    #: Each with its name, n and accuracy.
    groups: tuple[Mapping[str, Any], ...] = ()
    worst_group: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Evaluation:
        known = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        known["accuracy_interval"] = tuple(known["accuracy_interval"])
        known["groups"] = tuple(known.get("groups") or ())
        return cls(**known)


class _Evaluated:
    """Something with evaluations by set."""

    splits: Mapping[str, Evaluation]

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each set."""
        columns = ["n", "accuracy", "low", "high", "loss", "balanced_accuracy", "top5_accuracy", "macro_f1", "auroc"]
        rows = {
            name: [found.n, found.accuracy, *found.accuracy_interval, found.loss, found.balanced_accuracy]
            + [found.top5_accuracy, found.macro_f1, found.auroc]
            for name, found in self.splits.items()
        }
        return _pandas().DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("set")

    def _table(self) -> str:
        rows = [
            (name, found.n, percent(found.accuracy), interval(found.accuracy_interval), f"{found.loss:.4f}")
            for name, found in self.splits.items()
        ]
        return table(["set", "n", "accuracy", "95 % interval", "loss"], rows)


@dataclass(frozen=True, repr=False, eq=False)
class Evaluations(_Evaluated, Result):
    """What `retune.evaluate` found."""

    @cached_property
    def splits(self) -> Mapping[str, Evaluation]:  # type: ignore[override]
        """By the name of the set."""
        return {name: Evaluation.of(found) for name, found in self.document["splits"].items()}

    def _repr_html_(self) -> str:
        return self._table()


@dataclass(frozen=True, repr=False, eq=False)
class Run(_Evaluated, Result):
    """A finished run. Its directory holds everything else: the model, the report, and what the command line goes on with."""

    #: The run directory.
    path: Path
    _held: Any = field(default=(), compare=False)

    @classmethod
    def read(cls, path: str | Path) -> Run:
        """The run in a directory."""
        path = Path(path)
        summary = path / "summary.json"
        if not summary.is_file():
            raise Error(f"{path} is not a finished run")
        document = json.loads(summary.read_text())
        return cls(document, f"{document['method']} on {document['architecture']}: {path}", path)

    def __getattr__(self, name: str) -> Any:
        # `method`, `seed`, `best_epoch`, `phases`, … as in summary.json.
        if not name.startswith("_") and "document" in self.__dict__ and name in self.document:
            return self.document[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @cached_property
    def splits(self) -> Mapping[str, Evaluation]:  # type: ignore[override]
        """By the name of the set: `val`, the data's own test splits, and those of `eval`."""
        return {name: Evaluation.of(found) for name, found in self.document["splits"].items()}

    @cached_property
    def model(self) -> Model:
        """The fitted model."""
        from ._model import load

        return load(self.path)

    @property
    def plan(self) -> str:
        """The plan that was trained, as TOML."""
        return (self.path / "plan.toml").read_text()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What was measured in each epoch, as in metrics.jsonl."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def metrics_to_pandas(self) -> pandas.DataFrame:
        """One row for each epoch and split."""
        return _pandas().DataFrame(self.metrics)

    @property
    def report(self) -> Page:
        """The report, in a frame."""
        page = self.path / "report.html"
        if not page.is_file():
            raise Error(f"{self.path} has no report; `retune report {self.path}` writes it")
        return Page(page.read_text(), 900)

    def plot(self, axes: Any = None) -> Any:
        """Draws accuracy by epoch with matplotlib and returns the axes."""
        axes = _axes(axes)
        curves: dict[str, list[tuple[float, float]]] = {}
        before, last = 0.0, (None, 0.0)
        for row in self.metrics:
            if row.get("accuracy") is None or not row.get("epoch"):
                continue
            phase, epoch = row["phase"], row["epoch"]
            if last[0] not in (None, phase):
                before += last[1]
            last = (phase, epoch)
            curves.setdefault(row["split"], []).append((before + epoch, row["accuracy"]))
        for name, points in curves.items():
            axes.plot(*zip(*points), marker="o", markersize=3, label=name)
        axes.set(xlabel="epoch", ylabel="accuracy", title=f"{self.document['method']} on {self.document['architecture']}")
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        head, *others = self.text.split("\n\n")
        head = _escaped(head).replace("\n", "<br>")
        hints = "".join(f"<p>{_escaped(in_python(part))}</p>" for part in others if part.startswith("note:"))
        curves = self.path / "plots" / "loss.svg"
        picture = f"<div style='max-width:640px'>{curves.read_text()}</div>" if curves.is_file() else ""
        report = self.path / "report.html"
        link = f"<p><a href='{report.as_posix()}' target='_blank'>report</a></p>" if report.is_file() else ""
        return f"<p>{head}</p>{self._table()}{hints}{picture}{link}"


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """What `retune.compare` found: methods side by side."""

    #: The directory, with a run directory for each run.
    path: Path
    _held: Any = field(default=(), compare=False)

    @property
    def runs(self) -> list[Run]:
        """Every run."""
        return [Run.read(found.parent) for found in sorted(self.path.glob("runs/**/summary.json"))]

    @property
    def report(self) -> Page:
        """The report, in a frame."""
        return Page((self.path / "report.html").read_text(), 900)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each run and set."""
        rows = []
        for run in self.runs:
            for name, found in run.splits.items():
                low, high = found.accuracy_interval
                row = {"method": run.document["method"], "seed": run.document["seed"], "set": name}
                rows.append({**row, "n": found.n, "accuracy": found.accuracy, "low": low, "high": high, "loss": found.loss})
        return _pandas().DataFrame(rows)

    def plot(self, axes: Any = None) -> Any:
        """Draws each method's accuracy on each set, averaged over seeds, with matplotlib; returns the axes."""
        axes = _axes(axes)
        by_method: dict[str, dict[str, list[float]]] = {}
        for run in self.runs:
            for name, found in run.splits.items():
                by_method.setdefault(run.document["method"], {}).setdefault(name, []).append(found.accuracy)
        methods = list(by_method)
        sets = list(next(iter(by_method.values()), {}))
        for index, name in enumerate(sets):
            means = [sum(by_method[method][name]) / len(by_method[method][name]) for method in methods]
            positions = [place + (index - (len(sets) - 1) / 2) * 0.8 / len(sets) for place in range(len(methods))]
            axes.barh(positions, means, height=0.8 / len(sets), label=name)
        axes.set(yticks=range(len(methods)), yticklabels=methods, xlabel="accuracy")
        axes.invert_yaxis()
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        report = self.path / "report.html"
        link = f"<p><a href='{report.as_posix()}' target='_blank'>report</a></p>" if report.is_file() else ""
        return f"<pre>{_escaped(self.text)}</pre>{link}"


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


@dataclass(frozen=True, repr=False, eq=False)
class Plan(Result):
    """What a method would train."""

    #: As a file that `retune.fit(plan=…)` takes.
    toml: str

    def save(self, path: str | Path) -> Path:
        """Writes the plan as TOML, to edit and to pass as `plan`."""
        path = Path(path)
        path.write_text(self.toml)
        return path

    def _repr_html_(self) -> str:
        return f"<pre>{_escaped(self.text)}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class Advice(Result):
    """Which layers to tune, with the evidence."""

    @property
    def options(self) -> dict[str, str]:
        """What to pass to `retune.fit` besides the model and the data; empty if nothing should be tuned."""
        line = next((line for line in self.text.splitlines() if line.startswith("    retune fit ")), "")
        words = shlex.split(line)[2:]
        typed = {word[2:].replace("-", "_"): value for word, value in zip(words, words[1:]) if word.startswith("--")}
        return {name: value for name, value in typed.items() if name not in ("model", "data", "out")}

    def __repr__(self) -> str:
        text = self.text.split("\n    retune fit ")[0].rstrip()
        if not self.options:
            return text
        named = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{text}\n\n    retune.fit(model, data{named}, out=…)"

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each candidate."""
        return _pandas().json_normalize(self.document["candidates"])

    def _repr_html_(self) -> str:
        return f"<pre>{_escaped(repr(self))}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class Audit(Result):
    """What changes if images are prepared differently."""

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each way of preparing images."""
        return _pandas().json_normalize(self.document["rows"])

    def _repr_html_(self) -> str:
        return f"<pre>{_escaped(self.text)}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class RateFinder(Result):
    """The learning-rate range test."""

    def plot(self, axes: Any = None) -> Any:
        """Draws loss by learning rate with matplotlib and returns the axes."""
        axes = _axes(axes)
        for group in self.document:
            points = group["curve"]["points"]
            rates, losses = ([point[name] for point in points] for name in ("rate", "smoothed"))
            axes.plot(rates, losses, label=group["group"])
            suggested = group["suggestions"]["valley"]
            if suggested is not None:
                axes.axvline(suggested, linestyle=":", color=axes.lines[-1].get_color())
        axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
        axes.legend(title="trained")
        return axes

    def _repr_html_(self) -> str:
        return f"<pre>{_escaped(self.text)}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class Curve(Result):
    """Models on the line between a pretrained one and a fitted one (WiSE-FT)."""

    def to_pandas(self) -> pandas.DataFrame:
        """Accuracy on each set, by alpha."""
        rows = {
            point["alpha"]: {name: found["accuracy"] for name, found in point["splits"].items()} for point in self.document
        }
        return _pandas().DataFrame.from_dict(rows, orient="index").rename_axis("alpha")

    def plot(self, axes: Any = None) -> Any:
        """Draws accuracy by alpha with matplotlib and returns the axes."""
        axes = _axes(axes)
        alphas = [point["alpha"] for point in self.document]
        for name in self.document[0]["splits"]:
            axes.plot(alphas, [point["splits"][name]["accuracy"] for point in self.document], marker="o", label=name)
        axes.set(xlabel="alpha (0 pretrained, 1 fitted)", ylabel="accuracy")
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        names = list(self.document[0]["splits"])
        rows = [
            (f"{point['alpha']:g}", *(percent(point["splits"][name]["accuracy"]) for name in names))
            for point in self.document
        ]
        return table(["alpha", *names], rows)


@dataclass(frozen=True, repr=False, eq=False)
class Soup(Result):
    """An average of runs."""

    #: The model directory.
    path: Path

    @cached_property
    def model(self) -> Model:
        """The averaged model."""
        from ._model import load

        return load(self.path)

    def _repr_html_(self) -> str:
        results = self.document["results"]
        names = list(next(iter(results.values()), {}))
        rows = [(run, *(percent(sets[name]["accuracy"]) for name in names)) for run, sets in results.items()]
        return table(["run", *names], rows)


@dataclass(frozen=True, repr=False, eq=False)
class Predictions(Result, Sequence[Mapping[str, Any]]):
    """The most likely classes of images: for each its `path` and its `classes`, with their `probability`."""

    def __len__(self) -> int:
        return len(self.document)

    def __getitem__(self, index: Any) -> Any:
        return self.document[index]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.document)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each class of each image."""
        rows = [
            {"path": image["path"], "rank": rank, **found}
            for image in self.document
            for rank, found in enumerate(image["classes"], 1)
        ]
        return _pandas().DataFrame(rows)

    def _repr_html_(self) -> str:
        rows = [
            (image["path"] if rank == 0 else "", found["class"], percent(found["probability"]))
            for image in self.document[:20]
            for rank, found in enumerate(image["classes"])
        ]
        return table(["image", "class", "probability"], rows)


@dataclass(frozen=True, repr=False, eq=False)
class Features:
    """Features of images at a layer. `numpy.asarray` gives their values, so every library takes them."""

    #: `[n, width]`, float32.
    values: numpy.ndarray[Any, Any]
    #: Positions in `classes`, int64; −1 where unknown.
    labels: numpy.ndarray[Any, Any]
    #: What each image is called.
    paths: tuple[str, ...]
    classes: tuple[str, ...]
    layer: str

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy

        return numpy.array(self.values, dtype=dtype) if copy else numpy.asarray(self.values, dtype=dtype)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        """Images and values of each."""
        n, width = self.values.shape
        return n, width

    def class_names(self) -> list[str | None]:
        """The class of each image by its name."""
        return [self.classes[label] if 0 <= label < len(self.classes) else None for label in self.labels]

    def save(self, path: str | Path) -> Path:
        """Writes an .npz file as `retune features` does; `retune umap` and `retune knn` read it."""
        import numpy

        path = Path(path)
        if path.suffix != ".npz":
            raise Error(f"{path} must end with .npz; `retune.features(…, out=…)` also writes .parquet and .safetensors")
        numpy.savez(
            path, features=self.values, labels=self.labels, paths=numpy.array(self.paths), classes=numpy.array(self.classes)
        )
        return path

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each image: its path, its class, and its values."""
        frame = _pandas().DataFrame(self.values)
        frame.insert(0, "class", self.class_names())
        frame.insert(0, "path", list(self.paths))
        return frame

    def __repr__(self) -> str:
        n, width = self.shape
        return f"Features(n={n}, width={width}, layer={self.layer!r}, classes={len(self.classes)})"


@dataclass(frozen=True, repr=False, eq=False)
class Map:
    """Images in two dimensions, from UMAP. `numpy.asarray` gives the points."""

    #: `[n, 2]`, float32.
    points: numpy.ndarray[Any, Any]
    #: The class of each image, where it is known.
    labels: tuple[str | None, ...]
    #: What each image is called.
    paths: tuple[str, ...]
    #: How far neighbors on the map are neighbors by their features, over 15 neighbors; None for many images.
    trustworthiness: float | None
    #: The file that `out` named.
    path: Path | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy

        return numpy.array(self.points, dtype=dtype) if copy else numpy.asarray(self.points, dtype=dtype)

    def __len__(self) -> int:
        return len(self.points)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each image: x, y, label and path."""
        columns = {"x": self.points[:, 0], "y": self.points[:, 1], "label": self.labels, "path": self.paths}
        return _pandas().DataFrame(columns)

    def plot(self, axes: Any = None, **scatter: Any) -> Any:
        """Draws the map with matplotlib, a color for each class, and returns the axes."""
        axes = _axes(axes, 6.0, 5.0)
        options = {"s": 8, "linewidths": 0, **scatter}
        names = sorted({str(label) for label in self.labels if label is not None})
        for name in [*names, None]:
            chosen = [index for index, label in enumerate(self.labels) if (None if label is None else str(label)) == name]
            if chosen:
                known = {} if name is not None else {"color": "0.7"}
                axes.scatter(*self.points[chosen].T, label=name, **{**options, **known})
        if 1 < len(names) <= 20:
            axes.legend(markerscale=2, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        axes.set(xticks=[], yticks=[], title=f"UMAP of {len(self)} images")
        axes.set_aspect("equal", adjustable="datalim")
        return axes

    @property
    def page(self) -> Page:
        """The interactive map, if `out` named an .html file."""
        if self.path is None or self.path.suffix != ".html":
            raise Error("name a file to write with out=…, one that ends in .html")
        return Page(self.path.read_text())

    def __repr__(self) -> str:
        trust = "" if self.trustworthiness is None else f", trustworthiness={self.trustworthiness:.4f}"
        return f"Map(n={len(self)}{trust})"


@dataclass(frozen=True, repr=False, eq=False)
class Similarity(Result):
    """CKA between ways of resizing, layers, or models: a matrix, or one for each layer."""

    @cached_property
    def matrices(self) -> list[Mapping[str, Any]]:
        """Each with `names`, `columns` (of another model), `matrix`, `intervals`, `layer` and `n`."""
        return self.document["matrices"] if "matrices" in self.document else [self.document]

    def to_pandas(self, layer: str | None = None) -> pandas.DataFrame:
        """The matrix, or that of a layer."""
        found = self._matrix(layer)
        return _pandas().DataFrame(found["matrix"], index=found["names"], columns=found.get("columns") or found["names"])

    def _matrix(self, layer: str | None) -> Mapping[str, Any]:
        for found in self.matrices:
            if layer is None or found.get("layer") == layer:
                return found
        raise Error(f"there is no matrix of layer {layer!r}; there are {', '.join(str(m.get('layer')) for m in self.matrices)}")

    def plot(self, axes: Any = None, layer: str | None = None) -> Any:
        """Draws the matrix with matplotlib; of several layers without a choice, each layer's similarity to the model's own
        way of resizing. Returns the axes."""
        if layer is None and len(self.matrices) > 1:
            rows, columns = [found["layer"] for found in self.matrices], self.matrices[0]["names"][1:]
            values = [found["matrix"][0][1:] for found in self.matrices]
            title = f"CKA with {self.matrices[0]['names'][0]}"
        else:
            found = self._matrix(layer)
            rows, columns, values = found["names"], found.get("columns") or found["names"], found["matrix"]
            title = f"CKA{' at ' + found['layer'] if found.get('layer') else ''}"
        axes = _axes(axes, 2.5 + 0.5 * len(columns), 1.8 + 0.4 * len(rows))
        shown = [[float("nan") if value is None else value for value in row] for row in values]
        lowest = min((value for row in shown for value in row if value == value), default=0.0)
        image = axes.imshow(shown, vmin=min(lowest, 0.99), vmax=1.0, cmap="viridis", aspect="auto")
        axes.set(title=f"{title}, {self.matrices[0]['n']} images")
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        axes.set_yticks(range(len(rows)), rows)
        if len(rows) * len(columns) <= 150:
            middle = (min(lowest, 0.99) + 1.0) / 2
            for y, row in enumerate(shown):
                for x, value in enumerate(row):
                    color = "black" if value > middle else "white"
                    axes.text(x, y, f"{value:.3f}", ha="center", va="center", fontsize=7, color=color)
        axes.figure.colorbar(image, ax=axes, label="CKA")
        return axes

    def _repr_html_(self) -> str:
        return f"<pre>{_escaped(self.text)}</pre>"
