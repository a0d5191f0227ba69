"""A workplace with tiny images of two colors, and the program to compare with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

# A model's name must never reach a network from a test.
os.environ["HF_HUB_OFFLINE"] = "1"
# Shells start background jobs with interrupts ignored, and some tests interrupt a run.
signal.signal(signal.SIGINT, signal.default_int_handler)

import retune  # noqa: E402


def color(name: str, number: int, brightness: int = 200) -> numpy.ndarray:
    """A noisy image `[32, 32, 3]` in which one channel is brighter than the others."""
    x, y = numpy.meshgrid(numpy.arange(32), numpy.arange(32))
    noise = (x * 7 + y * 13 + number * 29) % 50
    image = numpy.stack([noise, noise, numpy.full_like(noise, 30)], axis=-1)
    image[..., int(name == "green")] = brightness - noise
    return image.astype(numpy.uint8)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 images of each class."""
    folder = tmp_path_factory.mktemp("photos")
    write(folder, 24, 200)
    return folder


@pytest.fixture(scope="session")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 6 darker images of each class."""
    folder = tmp_path_factory.mktemp("shifted")
    write(folder, 6, 120)
    return folder


def write(folder: Path, count: int, brightness: int) -> None:
    for name in ("green", "red"):
        (folder / name).mkdir()
        for number in range(count):
            Image.fromarray(color(name, number, brightness)).save(folder / name / f"{number:02}.png")


@pytest.fixture(scope="session")
def arrays() -> tuple[numpy.ndarray, list[str]]:
    """The images of `photos` as an array, in the order of the folder, with their labels."""
    names = [name for name in ("green", "red") for _ in range(24)]
    return numpy.stack([color(name, number % 24) for number, name in enumerate(names)]), names


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's pretrained model."""
    folder = tmp_path_factory.mktemp("models") / "backbone"
    retune.demo.backbone(folder)
    return str(folder)


@pytest.fixture(scope="session")
def run(backbone: str, photos: Path, shifted: Path, tmp_path_factory: pytest.TempPathFactory) -> retune.Run:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return retune.fit(backbone, photos, eval={"deployed": shifted}, epochs=1, lr=1e-3, out=out, quiet=True)


def program(*arguments: object) -> str:
    """What the wheel's command prints on standard output."""
    line = [sys.executable, "-c", "import sys; from retune._command import main; sys.exit(main())"]
    done = subprocess.run([*line, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def program_json(*arguments: object) -> object:
    """What the wheel's command finds."""
    return json.loads(program(*arguments, "--json", "--quiet"))
