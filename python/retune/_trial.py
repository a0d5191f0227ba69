"""A trial of a search: a run that reports its epochs to Ray Tune and goes on from Ray Tune's checkpoints.

Such a checkpoint is a folder with the run in `run`, finished or not, and with the trial's own options in `config.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _arguments, _retune
from ._commands import OnEpoch, _Session, fit, resume
from ._errors import Error
from ._results import Plan, Run

#: What says in a report that the run is complete, and why it never will be.
FINISHED, FAILURE = "finished", "failure"
#: Options of `resume` that say how to compute and not what.
_OF_RESUME = ("threads", "quiet", "verbose", "no_report", "kernels")
#: Seconds to wait for a run to write the checkpoint of an epoch that it has measured.
_PATIENCE = 300.0


@dataclass(frozen=True)
class Task:
    """What all trials of a search have in common."""

    model: Any
    data: Any
    #: Options of `retune.fit`, without those of the space.
    options: Mapping[str, Any]

    def fit(self, config: Mapping[str, Any], out: Path, on_epoch: OnEpoch | None) -> Run:
        """A run with the options of a trial."""
        options = {**self.options, **config}
        return fit(options.pop("model", self.model), self.data, out=out, on_epoch=on_epoch, **options)

    def resume(self, out: Path, on_epoch: OnEpoch | None = None) -> Run:
        """The rest of a run."""
        # Images in memory must be where the run expects them.
        held = _Session(None, self.data, {"eval": self.options.get("eval")})
        options = {name: value for name, value in self.options.items() if name in _OF_RESUME}
        resume(out, on_epoch=on_epoch, **options)
        del held
        return Run.read(out)

    def begin(self, config: Mapping[str, Any], out: Path) -> None:
        """A run that stops at its first batch, with a checkpoint."""
        options = {**self.options, **config}
        session = _Session(options.pop("model", self.model), self.data, options)
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(session.keywords.get("plan"), Plan):
                session.keywords["plan"] = session.keywords["plan"].save(Path(folder) / "plan.toml")
            typed = _arguments.line("fit", {**session.keywords, "out": out})
            try:
                _retune.run(typed, _Stop(out))
            except _Begun:
                pass


class _Begun(Exception):
    """The run is under way."""


class _Stop:
    """Stops a run as soon as its directory says what it is."""

    def __init__(self, run: Path) -> None:
        self._run = run

    def start(self, task: str, total: int) -> None:
        if (self._run / "run.toml").is_file():
            raise _Begun

    def advance(self, units: int) -> None: ...

    def finish(self) -> None: ...

    def message(self, text: str) -> None: ...

    def measured(self, row: str) -> None: ...


def train(config: dict[str, Any], task: Task) -> None:
    """The function that Ray Tune runs for each trial."""
    from ray import tune

    checkpoint = tune.get_checkpoint()
    with tempfile.TemporaryDirectory(prefix="retune-", dir=os.getcwd(), ignore_cleanup_errors=True) as folder:
        out = Path(folder) / "run"
        try:
            if checkpoint is None:
                task.fit(config, out, _Reports(out, config, task).on_epoch)
            else:
                with checkpoint.as_directory() as kept:
                    take_over(Path(kept), config, out, task)
                task.resume(out, _Reports(out, config, task).on_epoch)
        except Error as error:
            # A mistake or a divergence is what the trial found: it would find the same again.
            tune.report({"val_accuracy": 0.0, "val_loss": float("inf"), FINISHED: False, FAILURE: str(error)})
            return
        with kept_run(config) as (folder_of_checkpoint, to):
            _copy(out, to)
            metrics = _of_run(Run.read(out))
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder_of_checkpoint))


def _of_run(run: Run) -> dict[str, Any]:
    """What the last report says: how good the model is that was kept."""
    found: dict[str, Any] = {}
    for name, split in run.splits.items():
        found[f"{name}_loss"], found[f"{name}_accuracy"] = split.loss, split.accuracy
        if split.mean_average_precision is not None:
            found[f"{name}_mean_average_precision"] = split.mean_average_precision
    return {**found, "epoch": run.document["best_epoch"], FINISHED: True}


@dataclass
class _Reports:
    """Reports each epoch with a checkpoint, but for the last, which the run reports when it is complete."""

    out: Path
    config: Mapping[str, Any]
    task: Task
    #: Rows of `metrics.jsonl`.
    rows: int = field(init=False)
    training: Mapping[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        metrics = self.out / "metrics.jsonl"
        self.rows = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0

    def on_epoch(self, row: dict[str, Any]) -> None:
        """What `retune.fit` calls."""
        from ray import tune

        self.rows += 1
        if row["split"] == "train":
            self.training = row
        # A linear probe has no epochs, and a short training at a rate that is only tried is none of the trial's.
        is_epoch = row.get("learning_rate") is not None and row.get("short_epochs") is None
        if row["split"] != "val" or not is_epoch or row["epoch"] >= epochs({**self.task.options, **self.config}):
            return
        metrics = {
            "val_loss": row["loss"],
            "val_accuracy": row["accuracy"],
            "train_loss": self.training.get("loss"),
            "train_accuracy": self.training.get("accuracy"),
            "epoch": row["epoch"],
            FINISHED: False,
        }
        if row.get("mean_average_precision") is not None:
            metrics["val_mean_average_precision"] = row["mean_average_precision"]
        with kept_run(self.config) as (folder, to):
            is_kept = keep(self.out, to, self.rows)
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder) if is_kept else None)


def epochs(options: Mapping[str, Any]) -> int:
    """Epochs of a run with these options."""
    found: int = options.get("epochs") or _arguments.commands()["fit"].options["epochs"].python_default
    return found


@contextmanager
def kept_run(config: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """A folder for a checkpoint of Ray Tune, and where in it the run goes."""
    with tempfile.TemporaryDirectory(prefix="retune-", dir=os.getcwd(), ignore_cleanup_errors=True) as folder:
        (Path(folder) / "config.json").write_text(_as_json(config))
        yield folder, Path(folder) / "run"


def _as_json(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True, default=str)


def keep(run: Path, to: Path, rows: int) -> bool:
    """Copies a run that is under way, as of a checkpoint that knows `rows` rows of its metrics. False if none comes."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if _copy_of_checkpoint(run / "checkpoint", to / "checkpoint"):
            known = _progress(to)["done"]["metrics_bytes"]
            metrics = (run / "metrics.jsonl").read_bytes()[:known]
            if metrics.count(b"\n") >= rows:
                (to / "metrics.jsonl").write_bytes(metrics)
                for file in run.iterdir():
                    if file.suffix in (".toml", ".txt", ".json"):
                        shutil.copy2(file, to)
                return True
        shutil.rmtree(to, ignore_errors=True)
        time.sleep(0.01)
    return False


def _copy_of_checkpoint(folder: Path, to: Path) -> bool:
    """Copies a folder that the run replaces as a whole from time to time; whether that did not come between."""
    try:
        before = folder.stat().st_ino
        _copy(folder, to)
        return folder.stat().st_ino == before
    except (FileNotFoundError, shutil.Error):
        return False


def _copy(folder: Path, to: Path) -> None:
    """Copies a folder by links where the file system knows them: no file in it is ever written again."""

    def link(file: str, copy: str) -> None:
        try:
            os.link(file, copy)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copy2(file, copy)

    shutil.copytree(folder, to, copy_function=link)


def take_over(kept: Path, config: Mapping[str, Any], out: Path, task: Task) -> None:
    """Makes a run out of a checkpoint, which may be another trial's, with the options of this trial."""
    is_own = json.loads((kept / "config.json").read_text()) == json.loads(_as_json(config))
    if is_own or (kept / "run" / "summary.json").is_file():
        shutil.copytree(kept / "run", out)
    else:
        task.begin(config, out)
        adopt(kept / "run", out)


def complete(kept: Path, config: Mapping[str, Any], out: Path, task: Task) -> Run:
    """Completes the run of a checkpoint: as it was, if it trained at one learning rate; else by training on."""
    progress = _progress(kept / "run")
    if isinstance({**task.options, **config}.get("lr"), (int, float)):
        config = {**config, "epochs": progress["epoch"]}
    take_over(kept, config, out, task)
    return task.resume(out)


def adopt(other: Path, run: Path) -> None:
    """Gives a run the checkpoint of another: weights, averages, the state of the optimizer, and the epoch.

    The run goes on with its own plan and options. Raises `retune.Error` if it has other images.
    """
    own, adopted = _progress(run), _progress(other)
    if own["origin"]["images"] != adopted["origin"]["images"]:
        raise Error(
            "a trial cannot go on from another one with other images: let seed, val_fraction, and split_by be the same in all"
        )
    shutil.rmtree(run / "checkpoint")
    shutil.copytree(other / "checkpoint", run / "checkpoint")
    shutil.copy2(other / "metrics.jsonl", run)
    # The checkpoint says whose it is. How far the run is by its own number of epochs, it finds by itself.
    text = json.dumps({**adopted, "origin": own["origin"], "pacing": None})
    (run / "checkpoint" / "progress.json").write_text(text)


def _progress(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "checkpoint" / "progress.json").read_text())
    return found
