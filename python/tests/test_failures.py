"""Exceptions, interrupts, threads, and forks."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy
import pytest
import retune
from conftest import program


def test_mistakes_are_sentences_about_keywords(backbone: str, photos: Path, run: retune.Run, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'; did you mean 'epochs'"):
        retune.fit(backbone, photos, out=tmp_path / "run", epoch=3)
    with pytest.raises(retune.Error, match="out is missing"):
        retune.fit(backbone, photos)
    with pytest.raises(retune.Error, match=r"above 0") as caught:
        retune.fit(backbone, photos, out=tmp_path / "run", lr=-1)
    assert "--" not in str(caught.value) and isinstance(caught.value, ValueError)
    with pytest.raises(retune.Error, match="lp-ft"):
        retune.fit(backbone, photos, out=tmp_path / "run", method="lpft")
    with pytest.raises(retune.Error, match=r"choose another out, or resume the run with `retune.resume\("):
        retune.fit(backbone, photos, out=run.path)
    with pytest.raises(retune.Error, match="decay has no use with method ft"):
        retune.fit(backbone, photos, out=tmp_path / "run", method="ft", decay=0.5)
    assert not (tmp_path / "run").exists()


def test_a_cluster_needs_files_that_every_machine_sees(backbone: str, photos: Path, arrays: tuple, tmp_path: Path) -> None:
    with pytest.raises(retune.Error, match="these are in memory"):
        retune.compare(backbone, arrays, out=tmp_path / "cluster", engine="ray")
    with pytest.raises(retune.Error, match="engine must be 'ray', not 'slurm'"):
        retune.features(backbone, photos, out=tmp_path / "features.npz", engine="slurm")
    with pytest.raises(retune.Error, match="out is missing"):
        retune.features(backbone, photos, engine="ray", parts=2)


def test_what_is_missing_is_a_file_not_found_error(backbone: str, photos: Path, tmp_path: Path) -> None:
    for call in [
        lambda: retune.fit(backbone, tmp_path / "absent", out=tmp_path / "run"),
        lambda: retune.load(tmp_path / "absent"),
        lambda: retune.features(backbone, "absent/folder"),
        lambda: retune.resume(tmp_path / "absent"),
        lambda: retune.predict(backbone, "absent.jpg"),
    ]:
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert isinstance(caught.value, retune.Error) and "absent" in str(caught.value)


def test_divergence_has_an_exception(backbone: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(retune.Diverged, match="clip_norm=1") as caught:
        retune.fit(backbone, photos, out=tmp_path / "run", method="ft", lr=1e30, epochs=2, quiet=True)
    assert isinstance(caught.value, ArithmeticError) and isinstance(caught.value, ValueError)


def test_exceptions_are_pickled() -> None:
    error = pickle.loads(pickle.dumps(retune.Diverged("the loss is not finite (--lr)")))
    assert str(error) == "the loss is not finite (lr)"


INTERRUPTED = """
import sys, retune
try:
    retune.fit(sys.argv[1], sys.argv[2], out=sys.argv[3], method="ft", lr=[1e-3, 1e-4], epochs=120, no_report=True)
except KeyboardInterrupt as interrupt:
    print("interrupted:", interrupt)
    sys.exit(7)
"""


def content(folder: Path) -> dict[str, bytes]:
    """Every file in a folder and below, hidden ones included."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_overwriting_keeps_the_old_run_after_a_mistake(
    run: retune.Run, backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path
) -> None:
    images, labels = arrays
    out = tmp_path / "runs" / "run"
    shutil.copytree(run.path, out)
    (tmp_path / "blue" / "blue").mkdir(parents=True)
    shutil.copy2(photos / "red" / "00.png", tmp_path / "blue" / "blue")
    before = content(tmp_path / "runs")
    options = {"epochs": 1, "lr": 1e-3, "out": out, "overwrite": True, "quiet": True}
    for further, sentence in [
        ({"data": (images, [*labels[:-1], numpy.nan])}, "no label"),
        ({"data": tmp_path / "absent"}, "absent"),
        ({"model": tmp_path / "absent"}, "absent"),
        ({"method": "lpft"}, "lp-ft"),
        ({"epoch": 1}, "did you mean 'epochs'"),
        ({"eval": {"blue": tmp_path / "blue"}}, "blue"),
        ({"lr": 1e30, "epochs": 2}, "diverged"),
        ({"model": run, "out": str(run.path)}, "model lies in"),
        ({"model": out}, "model lies in"),
        ({"model": retune.load(out)}, "model lies in"),
        ({"data": out / "samples"}, "data lies in"),
        ({"eval": {"own": f"{out / 'samples'}@fog:3"}}, "eval lies in"),
        ({"eval": f"own={out / 'samples'}"}, "eval lies in"),
        ({"plan": out / "plan.toml"}, "plan lies in"),
        ({"model": None, "data": None, "from_": retune.Run.read(out)}, "from_ lies in"),
    ]:
        with pytest.raises((retune.Error, TypeError), match=sentence):
            retune.fit(**{"model": backbone, "data": photos, **options, **further})
        assert content(tmp_path / "runs") == before, further
    assert (run.path / "summary.json").is_file()


def test_overwriting_ends_with_one_run(backbone: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    options = {"lr": 1e-3, "out": out, "overwrite": True, "no_report": True, "quiet": True}
    assert retune.fit(backbone, photos, epochs=1, **options).best_epoch == 1
    aside = tmp_path / ".run.overwritten"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # A run that has begun has the place, and is resumed there.
    with pytest.raises(KeyboardInterrupt, match="to continue"):
        retune.fit(backbone, photos, epochs=3, on_epoch=interrupted, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(retune.resume(out, quiet=True).metrics_to_pandas()["epoch"].unique()) >= 3
    # A process that is killed leaves the old run aside: with no new run, or with one.
    out.rename(aside)
    with pytest.raises(retune.NotFoundError):
        retune.fit(backbone, photos / "absent", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    shutil.copytree(out, aside)
    retune.fit(backbone, photos, epochs=1, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    # What removes the old run is interrupted.
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            retune.fit(backbone, photos, epochs=1, **options)
    assert (retune.fit(backbone, photos, epochs=1, **options).path / "summary.json").is_file()


def test_a_run_in_use_is_not_overwritten(run: retune.Run, backbone: str, photos: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with open(run.path / ".lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(retune.Error, match="in use by another process"):
            retune.fit(backbone, photos, out=run.path, overwrite=True, quiet=True)
    assert (run.path / "summary.json").is_file()


def test_an_interrupted_fit_goes_on_to_the_same_bytes(backbone: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, backbone, str(photos), str(out)], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (out / "checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    # Long before the last of 240 epochs.
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 7, said
    assert f'to continue, run `retune.resume("{out}")`' in said
    assert not (out / "summary.json").exists()
    resumed = retune.resume(out, quiet=True)
    options = {"method": "ft", "lr": [1e-3, 1e-4], "epochs": 120, "no_report": True}
    whole = retune.fit(backbone, photos, out=tmp_path / "whole", quiet=True, **options)
    assert isinstance(resumed, retune.Run)
    for name in ("model/model.safetensors", "metrics.jsonl"):
        one, other = ((run.path / name).read_bytes() for run in (resumed, whole))
        if name.endswith("jsonl"):
            one, other = (b"\n".join(without_seconds(text)) for text in (one, other))
        assert one == other, name


def without_seconds(text: bytes) -> list[bytes]:
    import json

    return [json.dumps({**json.loads(line), "seconds": 0}).encode() for line in text.splitlines()]


def test_the_command_line_resumes_what_python_began(backbone: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stop_after(0.6, lambda: retune.fit(backbone, photos, out=out, method="ft", lr=1e-3, epochs=60, no_report=True))
    if not (out / "summary.json").exists():
        program("fit", "--resume", out, "--no-report", "--quiet")
    options = ["--method", "ft", "--lr", "0.001", "--epochs", "60", "--no-report", "--quiet"]
    program("fit", "--model", backbone, "--data", photos, "--out", tmp_path / "whole", *options)
    model = "model/model.safetensors"
    assert (out / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()


def test_a_run_on_images_in_memory_wants_them_again(
    backbone: str, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path
) -> None:
    images, labels = arrays
    out = tmp_path / "run"
    options = {"method": "ft", "lr": 1e-3, "epochs": 60, "no_report": True}
    stop_after(0.6, lambda: retune.fit(backbone, (images.copy(), labels), out=out, **options))
    if (out / "summary.json").exists():
        pytest.skip("the run was done before it could be interrupted")
    with pytest.raises(retune.Error, match="hand the same images over again"):
        retune.resume(out)
    with pytest.raises(retune.Error, match="hand the same images over again"):
        retune.resume(out, data=(255 - images, labels))
    resumed = retune.resume(out, data=(images, labels), quiet=True)
    whole = retune.fit(backbone, (images, labels), out=tmp_path / "whole", quiet=True, **options)
    one, other = resumed.model.state_dict(), whole.model.state_dict()
    assert all((one[name] == other[name]).all() for name in one)


def test_a_resumption_says_which_images_it_lacks(
    backbone: str, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path
) -> None:
    images, labels = arrays

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    groups = [f"day {number % 5}" for number in range(48)]
    data, foggy = retune.Images(images, labels, groups=groups), ((images[:9], labels[:9]), "@fog:3")
    options = {"method": "ft", "lr": 1e-3, "epochs": 3, "no_report": True, "on_epoch": interrupted, "quiet": True}
    with pytest.raises(KeyboardInterrupt, match=r'`retune\.resume\("[^"]*of_data", data=…\)`'):
        retune.fit(backbone, data, out=tmp_path / "of_data", **options)
    out = tmp_path / "run"
    advice = r'retune\.resume\("[^"]*run", data=…, eval=\{…\}\)`'
    with pytest.raises(KeyboardInterrupt, match=advice):
        retune.fit(backbone, data, eval={"foggy": foggy}, out=out, **options)
    with pytest.raises(retune.Error, match=advice):
        retune.resume(out)
    others = [name if name == "red" else "blue" for name in labels]
    for other, difference in [
        ((images, labels), "data is not what .* began with: groups differ"),
        (retune.Images(images, labels[::-1], groups=groups), ": labels differ"),
        (retune.Images(images, others, groups=groups), ": classes differ"),
        (retune.Images(images, labels, groups=groups, names=groups), ": names differ"),
        (retune.Images(255 - images, labels, groups=groups), ": pixels differ"),
        (retune.Images(images[1:], labels[1:], groups=groups[1:]), "there were 48 images, and there are 47"),
    ]:
        with pytest.raises(retune.Error, match=f"{difference}.*; hand the same images over again"):
            retune.resume(out, data=other)
    with pytest.raises(retune.Error, match="foggy is not what .*: pixels differ"):
        retune.resume(out, data=data, eval={"foggy": ((255 - images[:9], labels[:9]), "@fog:3")})
    # An interruption on the way keeps what is known.
    with pytest.raises(KeyboardInterrupt, match=advice):
        retune.resume(out, data=data, eval={"foggy": foggy}, on_epoch=interrupted, quiet=True)
    with pytest.raises(retune.Error, match=": groups differ"):
        retune.resume(out, data=(images, labels))
    resumed = retune.resume(out, data=data, eval={"foggy": foggy}, quiet=True)
    assert isinstance(resumed, retune.Run) and resumed.splits["foggy"].n == 9 and not (out / "checkpoint").exists()


def stop_after(seconds: float, work: object) -> None:
    """Interrupts this process as Ctrl-C does, unless the work is done before."""
    timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        timer.cancel()


def test_threads_work_at_the_same_time(backbone: str, photos: Path) -> None:
    expected = retune.features(backbone, photos).values
    found: list[numpy.ndarray] = []
    threads = [
        threading.Thread(target=lambda: found.append(retune.features(backbone, photos, threads=2, quiet=True).values))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all((values == expected).all() for values in found)


def test_the_interpreter_goes_on_meanwhile(backbone: str, photos: Path, tmp_path: Path) -> None:
    counted = [0]
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            counted[0] += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    started = time.monotonic()
    retune.fit(backbone, photos, out=tmp_path / "run", method="ft", lr=1e-3, epochs=10, no_report=True, quiet=True)
    seconds = time.monotonic() - started
    done.set()
    counter.join()
    # A thread that sleeps a millisecond each time gets hundreds of turns a second if nobody holds the lock.
    assert counted[0] > 50 * seconds


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_is_refused(backbone: str, photos: Path) -> None:
    retune.features(backbone, photos)
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            retune.features(backbone, photos)
            said = "nothing"
        except RuntimeError as error:
            said = str(error)
        os.write(sender, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert "spawn" in os.read(receiver, 1000).decode()


class Counter:
    """What shows progress."""

    def __init__(self) -> None:
        self.tasks: list[list[object]] = []
        self.messages: list[str] = []

    def start(self, task: str, total: int) -> None:
        self.tasks.append([task, total, 0])

    def advance(self, units: int) -> None:
        self.tasks[-1][2] += units

    def finish(self) -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_progress_counts_every_unit(backbone: str, photos: Path) -> None:
    counter = Counter()
    retune._retune.features(["features", "--model", backbone, "--data", str(photos), "--out", "x.npz"], counter)
    assert counter.tasks[-1] == ["features", 48, 48]


def test_what_progress_raises_stops_the_work(backbone: str, photos: Path, tmp_path: Path) -> None:
    class Full(Counter):
        def start(self, task: str, total: int) -> None:
            raise OSError("the display is full")

    out = str(tmp_path / "run")
    with pytest.raises(OSError, match="the display is full"):
        retune._retune.run(["fit", "--model", backbone, "--data", str(photos), "--out", out], Full())
