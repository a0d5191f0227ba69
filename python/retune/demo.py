"""A small pretrained model and two tasks with a shift, which the package carries; no download.

The images are Fashion-MNIST's (MIT license), and the model is a ResNet of 0.3 million parameters that was pretrained on its
training images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import _retune
from ._data import Images
from ._errors import Error
from ._model import Model, load


@dataclass(frozen=True)
class Task:
    """Images to train on, others like them, and shifted ones."""

    title: str
    train: Images
    test: Images
    shifted: Images


def backbone(folder: str | Path) -> Model:
    """Writes the pretrained model to a folder, unless it is there already, and loads it."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise Error(f"{folder} is not empty; choose another folder")
        _retune.demo_backbone(folder)
    return load(folder)


def subpopulation_shift() -> Task:
    """Three groups of garments; the shifted images are of subclasses that training never showed."""
    return _task("subpopulation")


def input_shift() -> Task:
    """Ten garments; the shifted images are noisy, blurred, or of low contrast."""
    return _task("input")


def _task(shift: str) -> Task:
    classes, title, sets = _retune.demo_task(shift)
    parts = {name: Images(images, labels, classes) for name, (images, labels) in sets}
    return Task(title, parts["train"], parts["test"], parts["shifted"])
