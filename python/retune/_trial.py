"""A trial of a search: a run that reports its epochs to Ray Tune and goes on from Ray Tune's checkpoints.

Such a checkpoint is a folder with the run in `run`, finished or not, and with the trial's own options in `config.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _arguments, _retune
from ._commands import _Session
from ._errors import Error
from ._results import Plan, Run

#: What says in a report that the run is complete, and why it never will be.
FINISHED, FAILURE = "finished", "failure"
#: Options that say how a run is computed and not what it is.
_OF_RESUME = ("threads", "verbose", "no_report", "kernels")


@dataclass(frozen=True)
class Task:
    """What all trials of a search have in common."""

    model: Any
    data: Any
    #: Options of `retune.fit`, without those of the space.
    options: Mapping[str, Any]

    def fit(self, config: Mapping[str, Any], out: Path, progress: Any) -> None:
        """A run with the options of a trial."""
        options = {**self.options, **config}
        session = _Session(options.pop("model", self.model), self.data, options)
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(session.keywords.get("plan"), Plan):
                session.keywords["plan"] = session.keywords["plan"].save(Path(folder) / "plan.toml")
            # A quiet run does not say what it starts.
            _retune.run(_arguments.line("fit", {**session.keywords, "out": out, "quiet": None}), progress)

    def resume(self, out: Path, progress: Any = None) -> None:
        """The rest of a run."""
        # Images in memory must be where the run expects them.
        held = _Session(None, self.data, {"eval": self.options.get("eval")})
        options = {name: value for name, value in self.options.items() if name in _OF_RESUME}
        _retune.run(_arguments.line("fit", {"resume": out, **options}), progress)
        del held


class _Begun(Exception):
    """The run is under way."""


class _Silent:
    """What a run tells, for nobody."""

    #: The run waits until `start` returns.
    in_step = True

    def start(self, task: str, total: int) -> None: ...

    def advance(self, units: int) -> None: ...

    def finish(self) -> None: ...

    def message(self, text: str) -> None: ...

    def measured(self, row: str) -> None: ...


class _Stop(_Silent):
    """Stops a run as soon as its directory says what it is; it leaves a checkpoint of its first batch."""

    def __init__(self, run: Path) -> None:
        self._run = run

    def start(self, task: str, total: int) -> None:
        if (self._run / "run.toml").is_file():
            raise _Begun


def train(config: dict[str, Any], task: Task) -> None:
    """The function that Ray Tune runs for each trial."""
    from ray import tune

    # Ray Tune reuses this process for the next trial once this one has come to its end, which takes a batch and a checkpoint.
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "600")
    checkpoint = tune.get_checkpoint()
    with tempfile.TemporaryDirectory(prefix="retune-", dir=os.getcwd(), ignore_cleanup_errors=True) as folder:
        out = Path(folder) / "run"
        try:
            if checkpoint is None:
                task.fit(config, out, _Reports(out, config, task))
            else:
                with checkpoint.as_directory() as kept:
                    take_over(Path(kept), config, out, task)
                task.resume(out, _Reports(out, config, task))
        except Error as error:
            # A mistake or a divergence is what the trial found: it would find the same again.
            tune.report({"val_accuracy": 0.0, "val_loss": float("inf"), FINISHED: False, FAILURE: str(error), "done": True})
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
    # No scheduler has a say any more in what is `done`.
    return {**found, "epoch": run.document["best_epoch"], FINISHED: True, "done": True}


class _Reports(_Silent):
    """Reports each epoch, with the checkpoint that follows it, before the next one begins. A scheduler may end the trial there.

    The last epoch is not reported: the run is, when it is complete.
    """

    def __init__(self, out: Path, config: Mapping[str, Any], task: Task) -> None:
        self._out, self._config = out, config
        self._epochs = epochs({**task.options, **config})
        self._training: Mapping[str, Any] = {}
        self._due: dict[str, Any] | None = None

    def measured(self, row: str) -> None:
        measured = json.loads(row)
        if measured["split"] == "train":
            self._training = measured
        # A linear probe has no epochs, and a short training at a rate that is only tried is none of the trial's.
        is_epoch = measured.get("learning_rate") is not None and measured.get("short_epochs") is None
        if measured["split"] != "val" or not is_epoch or measured["epoch"] >= self._epochs:
            return
        self._due = {
            "val_loss": measured["loss"],
            "val_accuracy": measured["accuracy"],
            "train_loss": self._training.get("loss"),
            "train_accuracy": self._training.get("accuracy"),
            "epoch": measured["epoch"],
            FINISHED: False,
        }
        if measured.get("mean_average_precision") is not None:
            self._due["val_mean_average_precision"] = measured["mean_average_precision"]

    def start(self, task: str, total: int) -> None:
        from ray import tune

        metrics, self._due = self._due, None
        if metrics is not None:
            with kept_run(self._config) as (folder, to):
                _copy(self._out, to)
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


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


def _copy(folder: Path, to: Path) -> None:
    """Copies a run that waits, by links where the file system knows them: it writes to no file again but to one."""

    def link(file: str, copy: str) -> None:
        if os.path.basename(file) == "metrics.jsonl":
            shutil.copy2(file, copy)
            return
        try:
            os.link(file, copy)
        except OSError:
            shutil.copy2(file, copy)

    shutil.copytree(folder, to, copy_function=link)


def take_over(kept: Path, config: Mapping[str, Any], out: Path, task: Task) -> None:
    """Makes a run out of a checkpoint, which may be another trial's, with the options of this trial."""
    is_own = json.loads((kept / "config.json").read_text()) == json.loads(_as_json(config))
    if is_own or (kept / "run" / "summary.json").is_file():
        shutil.copytree(kept / "run", out)
    else:
        try:
            task.fit(config, out, _Stop(out))
        except _Begun:
            pass
        adopt(kept / "run", out)


def complete(kept: Path, config: Mapping[str, Any], out: Path, task: Task) -> Run:
    """Completes the run of a checkpoint: as it was, if it trained at one learning rate; else by training on."""
    progress = _progress(kept / "run")
    if isinstance({**task.options, **config}.get("lr"), (int, float)):
        config = {**config, "epochs": progress["epoch"]}
    take_over(kept, config, out, task)
    task.resume(out)
    return Run.read(out)


def adopt(other: Path, run: Path) -> None:
    """Gives a run the checkpoint of another: weights, averages, the state of the optimizer, and the epoch.

    The run goes on with its own plan and options. Raises `retune.Error` if it has other images.
    """
    own, adopted = _progress(run), _progress(other)
    if own["origin"]["images"] != adopted["origin"]["images"]:
        raise Error(
            "a trial cannot go on from one with other images; keep seed, val_fraction, and split_by the same in all trials"
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
