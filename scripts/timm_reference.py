"""What timm computes for a folder of images, and how far retune's `features` file is from it."""

import pathlib
import subprocess

import numpy
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

TOLERANCE = 1e-4


def inputs(paths, pretrained_cfg):
    """The images as timm's own evaluation transform prepares them, n x channels x height x width."""
    transform = create_transform(**resolve_data_config(pretrained_cfg=pretrained_cfg), is_training=False)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pretrained_cfg["input_size"][0]]
    return torch.stack([transform(Image.open(path).convert(mode)) for path in paths])


def logits(model, images):
    """Evaluation-mode logits, one image at a time to keep memory small."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(image[None]) for image in images])


def read_features(path, data):
    """`features` and absolute image paths of an npz file that `retune features` wrote for the folder `data`."""
    with numpy.load(path) as archive:
        return archive["features"], [pathlib.Path(data) / str(name) for name in archive["paths"]]


def run_features(binary, model, data, layer, output, options=()):
    """Run `retune features` and read what it wrote."""
    command = [binary, "features", "--model", model, "--data", data, "--layer", layer, "--out", output, *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\nexit status {done.returncode}: {done.stderr.strip()}")
    return read_features(output, data)


def relative_difference(expected, actual):
    """Largest absolute difference over the largest absolute expected value; infinite for other shapes or NaN."""
    expected = numpy.asarray(expected, dtype=numpy.float64)
    actual = numpy.asarray(actual, dtype=numpy.float64)
    if expected.shape != actual.shape:
        return float("inf")
    difference = float(numpy.abs(expected - actual).max() / numpy.abs(expected).max())
    return difference if difference == difference else float("inf")
