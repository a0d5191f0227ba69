"""Searches for hyperparameters on Ray Tune: https://docs.ray.io/en/latest/tune/index.html"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _arguments
from ._errors import Error, NotFoundError
from ._html import escaped, table
from ._model import of_model
from ._ray import cluster
from ._results import Run, pandas_module
from ._trial import FAILURE, FINISHED, Task, complete, epochs, train

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Unpack

    from ._options import FitOptions

#: More steps than an epoch has: checkpoints follow every epoch, and no step within one. Each report needs the one of its epoch.
_EVERY_EPOCH = 10**9
#: How often a trial that was lost with its machine goes on from its last checkpoint.
_FAILURES = 20
#: Options that name a file or a folder, which every machine must find.
_PATHS = ("classes", "config", "from_", "plan")
#: What a space must not choose: where a run is, and what it is measured on.
_NOT_IN_SPACE = ("data", "out", "eval", "resume")


@dataclass(frozen=True)
class Trial:
    """A run with options of the space."""

    name: str
    #: Its own options of `retune.fit`. Those of a population-based search change on the way; these are the last ones.
    options: Mapping[str, Any]
    #: What it reported last, with `epoch`, `val_loss`, and `val_accuracy` among others; empty if it reported nothing.
    metrics: Mapping[str, Any]
    #: `finished`; `stopped` by the scheduler; or `failed`.
    state: str
    #: Why it failed.
    failure: str | None
    #: The folder or location of its last checkpoint, which holds the run in `run`.
    checkpoint: str | None


@dataclass(frozen=True, repr=False, eq=False)
class Tuning:
    """What `retune.tune` found: a trial for each choice of options."""

    #: The directory, or a location such as `s3://bucket/search`.
    path: str
    #: What the trials were compared by.
    metric: str
    #: `max` or `min`.
    mode: str
    trials: tuple[Trial, ...]
    #: Ray's own results, `ray.tune.ResultGrid`; None after pickling.
    grid: Any = field(default=None, compare=False)
    _task: Any = field(default=None, compare=False)

    @property
    def best_trial(self) -> Trial:
        """The trial with the best last report.

        Raises `retune.Error` if every trial failed.
        """
        return min(self.trials, key=self._rank)

    @property
    def best_options(self) -> dict[str, Any]:
        """The options that the best trial chose, to pass to `retune.fit`."""
        return dict(self.best_trial.options)

    @cached_property
    def best(self) -> Run:
        """The run of the best trial. If the scheduler has stopped it, it is completed now, as of its last epoch."""
        trial = self.best_trial
        if trial.checkpoint is None:
            raise Error(f"the trial {trial.name} has no checkpoint")
        kept = self._fetched(trial)
        if (kept / "run" / "summary.json").is_file():
            return Run.read(kept / "run")
        out = Path(self.path) / "best" / trial.name if os.path.isdir(self.path) else Path(tempfile.mkdtemp()) / "run"
        if (out / "summary.json").is_file():
            return Run.read(out)
        if self._task is None:
            raise Error(f"the run of {trial.name} is not finished; `retune.tune(…, out={self.path!r})` completes it")
        return complete(kept, trial.options, out, self._task)

    def _fetched(self, trial: Trial) -> Path:
        """A folder on this machine with the last checkpoint of a trial."""
        if os.path.isdir(trial.checkpoint or ""):
            return Path(trial.checkpoint or "")
        found = next((result for result in self.grid or () if _name(result) == trial.name), None)
        if found is None:
            raise NotFoundError(f"{trial.checkpoint} is not on this machine")
        return Path(found.checkpoint.to_directory())

    def _rank(self, trial: Trial) -> tuple[bool, float, float]:
        value = trial.metrics.get(self.metric)
        if value is None or math.isnan(value):
            return True, math.inf, math.inf
        loss = trial.metrics.get("val_loss", math.inf)
        # Small validation sets give many trials the same accuracy.
        return trial.state == "failed", -value if self.mode == "max" else value, loss

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each trial, the best first: its options, what it reported last, and how it ended."""
        rows = [
            {"trial": trial.name, **trial.options, **_shown(trial), "state": trial.state, "failure": trial.failure}
            for trial in sorted(self.trials, key=self._rank)
        ]
        return pandas_module().DataFrame(rows)

    def __repr__(self) -> str:
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        best = self.best_trial
        options = ", ".join(f"{name}={value!r}" for name, value in best.options.items())
        return f"{len(states)} trials ({counts}) in {self.path}\nbest: {options}\n  {self.metric} {best.metrics.get(self.metric)}"

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.options))
        shown = ["epoch", *dict.fromkeys([self.metric, "val_loss"])]
        rows = [
            (trial.name, *(_text(trial.options.get(name)) for name in names), *(trial.metrics.get(name) for name in shown))
            + (trial.failure or trial.state,)
            for trial in sorted(self.trials, key=self._rank)
        ]
        return f"<p>{escaped(self.path)}</p>{table(['trial', *names, *shown, 'state'], rows)}"

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("path", "metric", "mode", "trials")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, grid=None, _task=None)


def _shown(trial: Trial) -> dict[str, Any]:
    """What of a report is the run's and not Ray's."""
    ours = ("loss", "accuracy", "mean_average_precision")
    return {name: value for name, value in trial.metrics.items() if name == "epoch" or name.endswith(ours)}


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float)) else str(value)


def tune(
    model: Any = None,
    data: Any = None,
    space: Mapping[str, Any] | None = None,
    *,
    out: Any,
    num_samples: int = 12,
    metric: str | None = None,
    mode: str | None = None,
    scheduler: Any = "asha",
    search_alg: Any = None,
    max_concurrent: int | None = None,
    time_budget: float | None = None,
    tune_config: Any = None,
    run_config: Any = None,
    **options: Unpack[FitOptions],
) -> Tuning:
    """Searches for the best options of `retune.fit` with Ray Tune, on this machine or on a cluster.

    Each trial is a run with options from the space. It reports every epoch, so that the scheduler can stop what does badly,
    with a checkpoint, from which it goes on elsewhere if its machine is lost. The same call goes on with a search that was
    interrupted. Trials are in `out`, where every machine must be able to write: a folder, or a location such as
    `s3://bucket/search`.

    Parameters
    ----------
    model, data
        As those of `retune.fit`.
    space
        Options of `retune.fit`, or `model`, by name, each with a value or with what Ray Tune chooses from, as
        `{"lr": ray.tune.loguniform(1e-4, 1e-2), "batch_size": ray.tune.choice([32, 64])}`.
    num_samples
        How many choices; each of them for every point of a grid, if the space has `ray.tune.grid_search`.
    metric, mode
        What to compare trials by: `val_accuracy` (`max`), or what `select` names, or any other number of the reports:
        `val_loss`, `train_loss`, `train_accuracy`, `val_mean_average_precision`.
    scheduler
        A scheduler of Ray Tune, without metric; or `asha` or `pbt` with the settings that fit, another of its names, or None.
        Its unit of time, `training_iteration`, is an epoch.
    search_alg
        A search algorithm of Ray Tune, without metric, or its name, such as `optuna`; random without it.
    max_concurrent
        How many trials run at a time; as many as there are processors, divided by `threads` (1), without it.
    time_budget
        Seconds after which the search stops.
    tune_config, run_config
        `ray.tune.TuneConfig` and `ray.tune.RunConfig` with whatever else Ray Tune can be told. What is named here goes first.

    Of an option in `space`, `options` must say nothing. `quiet` and `no_report` are on for trials unless they are named.
    A trial whose options make no sense together, or which diverges, ends as failed.
    """
    space = dict(space or {})
    _check(space, options)
    cluster()
    from ray import tune as of_ray

    task = _task(model, data, dict(options))
    metric, mode = _compared_by(metric, mode, task.options)
    path, parent, name = _place(out)
    _check_free(path, of_ray.Tuner.can_restore(path))
    cpus = task.options["threads"]
    trainable = of_ray.with_resources(of_ray.with_parameters(train, task=task), {"cpu": cpus})
    if of_ray.Tuner.can_restore(path):
        tuner = of_ray.Tuner.restore(path, trainable, resume_errored=True, param_space=space)
    else:
        population = scheduler == "pbt" or isinstance(scheduler, of_ray.schedulers.PopulationBasedTraining)
        # Another trial may be about to take over a checkpoint that is no longer the last one.
        kept = of_ray.CheckpointConfig(num_to_keep=4 if population else 2)
        failures = of_ray.FailureConfig(max_failures=_FAILURES)
        ours = of_ray.RunConfig(checkpoint_config=kept, failure_config=failures, verbose=0 if options.get("quiet") else None)
        given = run_config or ours
        tuner = of_ray.Tuner(
            trainable,
            param_space=space,
            tune_config=dataclasses.replace(
                tune_config or of_ray.TuneConfig(num_samples=num_samples),
                metric=metric,
                mode=mode,
                scheduler=_scheduler(of_ray, scheduler, space, task.options),
                search_alg=of_ray.create_searcher(search_alg) if isinstance(search_alg, str) else search_alg,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
                **_named(max_concurrent_trials=max_concurrent, time_budget_s=time_budget),
            ),
            run_config=dataclasses.replace(given, name=name, storage_path=parent),
        )
    grid = tuner.fit()
    return _found(grid, path, metric, mode, task)


def _named(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check(space: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    known = [name for name in _arguments.commands()["fit"].options if name not in _NOT_IN_SPACE]
    for name in space:
        if name in _NOT_IN_SPACE:
            raise Error(f"{name} is the same in all trials; pass it to retune.tune itself")
        if name not in known:
            raise _arguments.unknown("the space of tune", name, known)
    both = sorted(space.keys() & options.keys())
    if both:
        raise Error(f"{', '.join(both)}: either in the space or the same in all trials")
    known = [*known, "eval"]
    for name in options:
        if name not in known:
            raise _arguments.unknown("tune", name, known)


def _task(model: Any, data: Any, options: dict[str, Any]) -> Task:
    """What trials need, with paths that mean the same in every working directory."""
    path, keywords = of_model(model, options)
    for name in _PATHS:
        if name in keywords:
            keywords[name] = _absolute(keywords[name])
    if isinstance(keywords.get("eval"), Mapping):
        keywords["eval"] = {name: _absolute(part) for name, part in keywords["eval"].items()}
    ours = {"threads": 1, "quiet": True, "no_report": True, "checkpoint_every": _EVERY_EPOCH}
    return Task(_absolute(path), _absolute(data), {**ours, **keywords})


def _absolute(location: Any) -> Any:
    if isinstance(location, tuple) and len(location) == 2 and isinstance(location[1], str):
        return _absolute(location[0]), location[1]
    if not isinstance(location, (str, os.PathLike)):
        path = getattr(location, "path", None)
        return os.path.abspath(path) if isinstance(path, Path) else location
    text = os.fspath(location)
    # A corruption may follow a path.
    place, at, shift = text.rpartition("@")
    if os.path.exists(text):
        return os.path.abspath(text)
    return f"{os.path.abspath(place)}{at}{shift}" if place and os.path.exists(place) else text


def _compared_by(metric: str | None, mode: str | None, options: Mapping[str, Any]) -> tuple[str, str]:
    if metric is None:
        several = bool(options.get("multi_label")) or options.get("select") == "map"
        by_default = "val_mean_average_precision" if several else "val_accuracy"
        metric = "val_loss" if options.get("select") == "loss" else by_default
    return metric, mode or ("min" if metric.endswith("loss") else "max")


def _place(out: Any) -> tuple[str, str, str]:
    """The location of a search, the one above it, and its name there."""
    text = os.fspath(out)
    text = text.rstrip("/") if "://" in text else os.path.abspath(text)
    parent, _, name = text.rpartition("/" if "://" in text else os.sep)
    return text, parent or os.sep, name


def _check_free(path: str, is_search: bool) -> None:
    if os.path.isfile(path) or (os.path.isdir(path) and os.listdir(path) and not is_search):
        raise Error(f"{path} is no search; choose another out")


def _scheduler(of_ray: Any, scheduler: Any, space: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """A scheduler by its name, with settings that fit the number of epochs."""
    if not isinstance(scheduler, str):
        return scheduler
    most = 100 if "epochs" in space else epochs(options)
    if scheduler in ("asha", "async_hyperband"):
        return of_ray.schedulers.ASHAScheduler(time_attr="training_iteration", max_t=most, grace_period=1, reduction_factor=3)
    if scheduler == "pbt":
        domains = of_ray.search.sample.Domain
        mutations = {name: value for name, value in space.items() if isinstance(value, domains)}
        return of_ray.schedulers.PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=max(1, most // 4), hyperparam_mutations=mutations
        )
    return of_ray.create_scheduler(scheduler)


def _found(grid: Any, path: str, metric: str, mode: str, task: Task) -> Tuning:
    trials = tuple(_trial(result) for result in grid)
    running = len(grid) - grid.num_terminated - grid.num_errors
    if running:
        raise KeyboardInterrupt(f"{running} trials are not done; the same call of retune.tune goes on with them")
    failures = [trial.failure for trial in trials if trial.failure is not None]
    if trials and len(failures) == len(trials):
        raise Error(f"every trial failed; the first: {failures[0]}")
    return Tuning(path, metric, mode, trials, grid, task)


def _trial(result: Any) -> Trial:
    metrics = dict(result.metrics or {})
    failure = metrics.pop(FAILURE, None) or (str(result.error).strip() if result.error is not None else None)
    state = "failed" if failure else "finished" if metrics.get(FINISHED) else "stopped"
    checkpoint = result.checkpoint.path if result.checkpoint is not None else None
    options = _of_checkpoint(checkpoint) or dict(result.config or {})
    return Trial(_name(result), options, metrics, state, failure, checkpoint)


def _of_checkpoint(checkpoint: str | None) -> dict[str, Any] | None:
    """The options with which a checkpoint was made, which a population-based search may have changed since."""
    file = Path(checkpoint or "", "config.json")
    if checkpoint is None or not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _trial_name(trial: Any) -> str:
    return f"trial-{trial.trial_id}"


def _name(result: Any) -> str:
    return str(os.path.basename(os.path.normpath(result.path)))
