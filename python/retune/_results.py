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
from ._html import Page, escaped, interval, percent, table

if TYPE_CHECKING:
    import numpy
    import pandas

    from ._model import Model


def pandas_module() -> Any:
    """pandas, which only some results need."""
    try:
        import pandas
    except ImportError:
        raise ImportError("this needs pandas: pip install pandas") from None
    return pandas


def new_axes(axes: Any, width: float = 6.0, height: float = 4.0) -> Any:
    """The axes, or new ones of a size in inches."""
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
    #: Of images that may have several labels.
    micro_f1: float | None = None
    mean_average_precision: float | None = None
    #: 95 % (bootstrap over images), where it was measured.
    mean_average_precision_interval: tuple[float, float] | None = None
    #: Each with its name, n and accuracy.
    groups: tuple[Mapping[str, Any], ...] = ()
    worst_group: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Evaluation:
        known = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        known["accuracy_interval"] = tuple(known["accuracy_interval"])
        if known.get("mean_average_precision_interval"):
            known["mean_average_precision_interval"] = tuple(known["mean_average_precision_interval"])
        known["groups"] = tuple(known.get("groups") or ())
        return cls(**known)


class _WithCaveats:
    """Something with numbers of sets."""

    document: Any

    @property
    def caveats(self) -> list[dict[str, Any]]:
        """What makes the numbers of some sets say less than they seem to, each with its `kind` and `set`."""
        found: list[dict[str, Any]] = self.document.get("caveats", [])
        return found


class _Evaluated(_WithCaveats):
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
        return pandas_module().DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("set")

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
        return pandas_module().DataFrame(self.metrics)

    @property
    def report(self) -> Page:
        """The report, in a frame."""
        page = self.path / "report.html"
        if not page.is_file():
            raise Error(f"{self.path} has no report; on the command line, `retune report {self.path}` writes it")
        return Page(page.read_text(), 900)

    def plot(self, axes: Any = None) -> Any:
        """Draws accuracy by epoch with matplotlib and returns the axes."""
        axes = new_axes(axes)
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
        head = escaped(head).replace("\n", "<br>")
        hints = "".join(f"<p>{escaped(in_python(part))}</p>" for part in others if part.startswith("note:"))
        curves = self.path / "plots" / "loss.svg"
        picture = f"<div style='max-width:640px'>{curves.read_text()}</div>" if curves.is_file() else ""
        report = self.path / "report.html"
        link = f"<p><a href='{report.as_posix()}' target='_blank'>report</a></p>" if report.is_file() else ""
        return f"<p>{head}</p>{self._table()}{hints}{picture}{link}"


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(_WithCaveats, Result):
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
        return pandas_module().DataFrame(rows)

    def plot(self, axes: Any = None) -> Any:
        """Draws each method's accuracy on each set, averaged over seeds, with matplotlib; returns the axes."""
        axes = new_axes(axes)
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
        return f"<pre>{escaped(in_python(self.text))}</pre>{link}"


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
        return f"<pre>{escaped(in_python(self.text))}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class Estimate(Result):
    """What a comparison would take."""

    @property
    def seconds(self) -> float:
        """Seconds of all runs, one after the other."""
        return float(self.document["seconds"])

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the largest run at its peak; `None` where the system does not tell."""
        found = self.document["memory_bytes"]
        return None if found is None else int(found)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each method."""
        rows = [
            {"method": found["label"], "runs": found["runs"], "seconds of a run": found["run"]["seconds"]}
            for found in self.document["methods"]
        ]
        return pandas_module().DataFrame(rows)

    def _repr_html_(self) -> str:
        return f"<pre>{escaped(in_python(self.text))}</pre>"


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
        text = in_python(self.text.split("\n    retune fit ")[0].rstrip())
        if not self.options:
            return text
        named = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{text}\n\n    retune.fit(model, data{named}, out=…)"

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each candidate."""
        return pandas_module().json_normalize(self.document["candidates"])

    def _repr_html_(self) -> str:
        return f"<pre>{escaped(repr(self))}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class Audit(Result):
    """What changes if images are prepared differently."""

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each way of preparing images."""
        return pandas_module().json_normalize(self.document["rows"])

    def _repr_html_(self) -> str:
        return f"<pre>{escaped(in_python(self.text))}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class RateFinder(Result):
    """The learning-rate range test."""

    def plot(self, axes: Any = None) -> Any:
        """Draws loss by learning rate with matplotlib and returns the axes."""
        axes = new_axes(axes)
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
        return f"<pre>{escaped(in_python(self.text))}</pre>"


@dataclass(frozen=True, repr=False, eq=False)
class Curve(Result):
    """Models on the line between a pretrained one and a fitted one (WiSE-FT)."""

    def to_pandas(self) -> pandas.DataFrame:
        """Accuracy on each set, by alpha."""
        rows = {
            point["alpha"]: {name: found["accuracy"] for name, found in point["splits"].items()} for point in self.document
        }
        return pandas_module().DataFrame.from_dict(rows, orient="index").rename_axis("alpha")

    def plot(self, axes: Any = None) -> Any:
        """Draws accuracy by alpha with matplotlib and returns the axes."""
        axes = new_axes(axes)
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
        return pandas_module().DataFrame(rows)

    def _repr_html_(self) -> str:
        rows = [
            (image["path"] if rank == 0 else "", found["class"], percent(found["probability"]))
            for image in self.document[:20]
            for rank, found in enumerate(image["classes"])
        ]
        return table(["image", "class", "probability"], rows)
