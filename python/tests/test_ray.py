"""Ray: parts as tasks, features of data sets, and searches. What it makes is compared with one process."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import retune
from conftest import program
from retune import _trial

OPTIONS: dict[str, Any] = {"method": "ft", "epochs": 4, "no_report": True, "quiet": True}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one machine with two processors."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.tune")
    pytest.importorskip("ray.data")
    ray.init("local", num_cpus=2, object_store_memory=300_000_000, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


# Parts of a command.


def test_parts_are_together_what_one_process_makes(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    alone = retune.features(backbone, photos, batch_size=8, out=tmp_path / "alone.npz", quiet=True)
    whole = retune.features(backbone, photos, batch_size=8, out=tmp_path / "parts.npz", engine="ray", parts=3, quiet=True)
    assert whole.values.tobytes() == alone.values.tobytes() and whole.paths == alone.paths
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()
    assert not list(tmp_path.glob("*.part-*"))


def test_the_command_divides_work_on_a_cluster(backbone: str, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    options = ["--model", backbone, "--data", photos, "--batch-size", 8, "--quiet"]
    program("features", *options, "--out", tmp_path / "alone.npz")
    program("features", *options, "--out", tmp_path / "parts.npz", "--engine", "ray", "--parts", 2)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [(["--engine", "slurm", "--out", "x"], "--engine must be ray or"), (["--engine=ray"], "--out is missing")],
)
def test_a_mistake_on_the_command_line_is_a_sentence(typed: list[str], sentence: str) -> None:
    line = [sys.executable, "-c", "import sys; from retune._command import main; sys.exit(main())", "compare", *typed]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and sentence in done.stderr and not done.stdout


# Features of batches and data sets.


@pytest.mark.parametrize("kind", ["path", "bytes", "image", "mapping"])
def test_a_batch_has_the_features_that_its_images_have(kind: str, backbone: str, photos: Path) -> None:
    from PIL import Image

    files = sorted(photos.rglob("*.png"))
    held: dict[str, list[Any]] = {
        "path": [str(file) for file in files],
        "bytes": [file.read_bytes() for file in files],
        "image": [numpy.asarray(Image.open(file)) for file in files],
        "mapping": [{"bytes": file.read_bytes(), "path": None} for file in files],
    }
    column = "image" if kind == "mapping" else kind
    images = numpy.empty(len(files), dtype=object)
    images[:] = held[kind]
    extractor = retune.ray.Extractor(backbone, "layer2", batch_size=7)
    found = extractor({column: images, "number": numpy.arange(len(files))})
    assert found["features"].tobytes() == retune.features(backbone, photos, layer="layer2", quiet=True).values.tobytes()
    rounding = retune.ray.Extractor(backbone, "layer2", batch_size=7, precision="bfloat16")
    rounded = retune.features(backbone, photos, layer="layer2", precision="bfloat16", quiet=True).values
    assert rounding({column: images})["features"].tobytes() == rounded.tobytes()
    # Images are not carried on; what says which they are is.
    assert list(found) == (["path"] if kind == "path" else []) + ["number", "features"]


def test_a_batch_without_images_is_refused(backbone: str) -> None:
    extractor = retune.ray.Extractor(backbone)
    with pytest.raises(retune.Error, match="has no column any of image, img, bytes, .*; it has text"):
        extractor({"text": numpy.array(["a"])})
    with pytest.raises(retune.Error, match="has no column 'photo'; it has image"):
        retune.ray.Extractor(backbone, column="photo")({"image": numpy.zeros((1, 8, 8, 3), dtype=numpy.uint8)})


def test_a_data_set_becomes_one_folder_of_rows(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    alone = retune.features(backbone, photos, quiet=True)
    rows = [{"path": str(photos / path), "label": path.split("/")[0]} for path in alone.paths]
    images, out = cluster.data.from_items(rows, override_num_blocks=5), tmp_path / "features"
    out.mkdir()
    # What an attempt left that was lost.
    (out / "part-00000000-000000.parquet").write_bytes(b"half")
    found = retune.features(backbone, images, out=out, engine="ray", parts=1, batch_size=8)
    assert found.values.tobytes() == alone.values.tobytes()
    assert found.classes == alone.classes and (found.labels == alone.labels).all()
    assert [Path(path) for path in found.paths] == [photos / path for path in alone.paths]
    files = sorted(out.iterdir())
    with pytest.raises(retune.Error, match="exists; choose another out"):
        retune.features(backbone, images, out=out, engine="ray")
    assert sorted(out.iterdir()) == files
    # The program reads each file.
    file = next(out.glob("*.parquet"))
    program("umap", "--features", file, "--out", tmp_path / "map.csv", "--neighbors", 2, "--quiet")


def test_a_location_is_read_by_ray(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    alone = retune.features(backbone, photos, quiet=True)
    found = retune.features(backbone, f"file://{photos}", out=tmp_path / "features", engine="ray", parts=1)
    assert found.values.tobytes() == alone.values.tobytes() and set(found.labels) == {-1}


# What a trial does, without Ray.


class Halt(Exception):
    """The trial is stopped."""


class UpTo(_trial._Silent):
    """Stops a run before the epoch after `epochs`."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.rows = epochs, 0

    def measured(self, row: str) -> None:
        self.rows += json.loads(row)["split"] == "val"

    def start(self, task: str, total: int) -> None:
        if self.rows == self.epochs:
            raise Halt


def stopped(task: _trial.Task, config: dict[str, Any], epochs: int, folder: Path) -> Path:
    """A checkpoint of Ray Tune's after some epochs of a trial."""
    with pytest.raises(Halt):
        task.fit(config, folder / "run", UpTo(epochs))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_run_waits_at_each_epoch_until_python_has_seen_it(backbone: str, photos: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "run", []

    class Slow(_trial._Silent):
        def start(self, task: str, total: int) -> None:
            if "epoch" in task and (out / "metrics.jsonl").exists() and task.startswith("fine-tuning"):
                time.sleep(0.1)
                rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
                saved = json.loads((out / "checkpoint" / "progress.json").read_text()) if rows else {"epoch": 0}
                seen.append((task.split()[-1], max([row["epoch"] for row in rows], default=0), saved["epoch"]))

    # As in a search; otherwise, epochs as short as these share a checkpoint.
    options = {**OPTIONS, "lr": 1e-3, "checkpoint_every": 1000}
    _trial.Task(backbone, str(photos), options).fit({}, out, Slow())
    assert seen == [("1/4", 0, 0), ("2/4", 1, 1), ("3/4", 2, 2), ("4/4", 3, 3)]


def test_a_trial_goes_on_to_the_same_bytes(backbone: str, photos: Path, tmp_path: Path) -> None:
    task = _trial.Task(backbone, str(photos), OPTIONS)
    kept, out = stopped(task, {"lr": 1e-3}, 2, tmp_path / "kept"), tmp_path / "run"
    _trial.take_over(kept, {"lr": 1e-3}, out, task)
    task.resume(out)
    assert weights(out) == weights(retune.fit(backbone, photos, lr=1e-3, out=tmp_path / "whole", **OPTIONS).path)


def test_a_trial_takes_over_weights_moments_and_epoch(backbone: str, photos: Path, tmp_path: Path) -> None:
    task = _trial.Task(backbone, str(photos), {**OPTIONS, "schedule": "constant"})
    kept, out = stopped(task, {"lr": 1e-3}, 2, tmp_path / "kept"), tmp_path / "run"
    _trial.take_over(kept, {"lr": 3e-3, "weight_decay": 0.1}, out, task)
    one, other = (json.loads((run / "checkpoint" / "progress.json").read_text()) for run in (kept / "run", out))
    # `updates` are the steps of the optimizer for each parameter.
    assert other["updates"] == one["updates"] and max(other["updates"]) > 0 and other["epoch"] == 2
    for name in ("current.safetensors", "optimizer.safetensors"):
        assert (out / "checkpoint" / name).read_bytes() == (kept / "run" / "checkpoint" / name).read_bytes()
    task.resume(out)
    rates = {row["epoch"]: row["learning_rate"] for row in retune.Run.read(out).metrics}
    assert rates == {1: 1e-3, 2: 1e-3, 3: 3e-3, 4: 3e-3}


def test_a_trial_with_other_images_takes_nothing_over(backbone: str, photos: Path, tmp_path: Path) -> None:
    task = _trial.Task(backbone, str(photos), OPTIONS)
    kept = stopped(task, {"lr": 1e-3, "seed": 0}, 1, tmp_path / "kept")
    with pytest.raises(retune.Error, match="other images; keep seed, val_fraction, and split_by the same"):
        _trial.take_over(kept, {"lr": 1e-3, "seed": 1}, tmp_path / "run", task)


def test_a_stopped_trial_is_completed_as_of_its_last_epoch(backbone: str, photos: Path, tmp_path: Path) -> None:
    task = _trial.Task(backbone, str(photos), {**OPTIONS, "schedule": "constant"})
    kept = stopped(task, {"lr": 1e-3}, 2, tmp_path / "kept")
    run = _trial.complete(kept, {"lr": 1e-3}, tmp_path / "run", task)
    # At a constant rate, it is the run that never wanted more epochs.
    short = retune.fit(backbone, photos, lr=1e-3, out=tmp_path / "short", **{**OPTIONS, "epochs": 2}, schedule="constant")
    assert weights(run.path) == weights(short.path) and run.splits == short.splits


# Searches.


def test_a_search_finds_what_fits_find(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    from ray import tune

    rates = [1e-5, 3e-3]
    space = {"lr": tune.grid_search(rates)}
    arguments: dict[str, Any] = dict(out=tmp_path / "search", num_samples=1, scheduler=None, **OPTIONS)
    found = retune.tune(backbone, photos, space, **arguments)
    assert [trial.state for trial in found.trials] == ["finished"] * 2
    for trial in found.trials:
        alone = retune.fit(backbone, photos, out=tmp_path / trial.name, **trial.options, **OPTIONS)
        assert weights(Path(trial.checkpoint or "") / "run") == weights(alone.path)
        assert trial.metrics["val_loss"] == alone.splits["val"].loss
    assert found.best_options == {"lr": 3e-3} and found.best.splits["val"].accuracy == 1.0
    frame = found.to_pandas()
    assert list(frame["lr"]) == [3e-3, 1e-5] and set(frame["state"]) == {"finished"}
    assert "2 finished" in repr(found) and "<table" in found._repr_html_()
    again = pickle.loads(pickle.dumps(found))
    assert again.best.path == found.best.path and again.grid is None
    # The same call goes on; here nothing is left to do.
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "search").rglob("model.safetensors")}
    retune.tune(backbone, photos, space, **arguments)
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "search").rglob("model.safetensors")}


def test_a_trial_of_a_population_takes_over_a_better_one(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    from ray import tune

    rates = [1e-6, 3e-3]
    population = tune.schedulers.PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        hyperparam_mutations={"lr": rates},
        quantile_fraction=0.5,
        synch=True,
    )
    found = retune.tune(
        backbone,
        photos,
        {"lr": tune.grid_search(rates)},
        out=tmp_path / "search",
        num_samples=1,
        metric="val_loss",
        scheduler=population,
        **OPTIONS,
    )
    assert [trial.state for trial in found.trials] == ["finished"] * 2
    runs = [retune.Run.read(Path(trial.checkpoint or "") / "run") for trial in found.trials]
    # After two epochs, the trial at 1e-6 goes on from the other one, whose rows it has from then on.
    assert [{row["learning_rate"] for row in run.metrics if row["epoch"] <= 2} for run in runs] == [{3e-3}] * 2
    assert all(max(row["epoch"] for row in run.metrics) == 4 for run in runs)


SEARCH = """
import sys, ray, retune
from ray import tune
ray.init("local", num_cpus=2, object_store_memory=300_000_000, include_dashboard=False, log_to_driver=False)
space = {"lr": tune.grid_search([1e-3, 3e-3])}
retune.tune(*sys.argv[1:3], space, out=sys.argv[3], num_samples=1, scheduler=None, method="ft", epochs=40, no_report=True)
"""


def test_a_search_whose_process_was_killed_goes_on(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    from ray import tune

    out = tmp_path / "search"
    child = subprocess.Popen([sys.executable, "-c", SEARCH, backbone, str(photos), str(out)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("trial-*/checkpoint_*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    child.kill()
    child.wait()
    begun = {path.name for path in out.glob("trial-*")}
    options = {**OPTIONS, "epochs": 40}
    space = {"lr": tune.grid_search([1e-3, 3e-3])}
    found = retune.tune(backbone, photos, space, out=out, num_samples=1, scheduler=None, **options)
    assert [trial.state for trial in found.trials] == ["finished"] * 2 and begun <= {trial.name for trial in found.trials}
    for trial in found.trials:
        alone = retune.fit(backbone, photos, out=tmp_path / trial.name, **trial.options, **options)
        assert weights(Path(trial.checkpoint or "") / "run") == weights(alone.path)


def test_images_in_memory_are_searched_and_stopped_trials_completed(
    cluster: Any, backbone: str, arrays: tuple[Any, Any], tmp_path: Path
) -> None:
    from ray import tune

    ends = tune.RunConfig(stop={"training_iteration": 2}, verbose=0)
    found = retune.tune(
        backbone, arrays, {"lr": tune.uniform(1e-3, 2e-3)}, out=tmp_path / "search", num_samples=1, run_config=ends, **OPTIONS
    )
    assert [trial.state for trial in found.trials] == ["stopped"] and found.best_trial.metrics["epoch"] == 2
    run = found.best
    assert run.path == tmp_path / "search" / "best" / found.best_trial.name
    assert max(row["epoch"] for row in run.metrics) == 2 and found.best.path == run.path


def test_a_mistake_or_a_divergence_ends_its_trial_alone(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    from ray import tune

    space = {"lr": tune.grid_search([1e-3, 1e30])}
    found = retune.tune(backbone, photos, space, out=tmp_path / "search", num_samples=1, **OPTIONS)
    states = {trial.options["lr"]: trial for trial in found.trials}
    assert states[1e-3].state == "finished" and states[1e30].state == "failed"
    assert "clip_norm=1" in str(states[1e30].failure) and found.best_options == {"lr": 1e-3}
    with pytest.raises(retune.Error, match="every trial failed; the first: decay has no use with method ft"):
        retune.tune(backbone, photos, {"decay": 0.5}, out=tmp_path / "other", num_samples=1, **OPTIONS)


def test_spaces_and_places_are_checked(cluster: Any, backbone: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'learning_rate'"):
        retune.tune(backbone, photos, {"learning_rate": 1.0}, out=tmp_path / "search")
    with pytest.raises(retune.Error, match="lr: either in the space or the same in all trials"):
        retune.tune(backbone, photos, {"lr": 1.0}, out=tmp_path / "search", lr=1e-3)
    with pytest.raises(retune.Error, match="data is the same in all trials"):
        retune.tune(backbone, photos, {"data": "x"}, out=tmp_path / "search")
    (tmp_path / "file").write_text("")
    with pytest.raises(retune.Error, match="is no search; choose another out"):
        retune.tune(backbone, photos, {"lr": 1e-3}, out=tmp_path)
