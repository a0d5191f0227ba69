"""Full fine-tuning epochs of `retune fit` against a plain timm/PyTorch loop, in turn, on the same images and machine.

    python benches/epoch_against_pytorch.py target/release/retune [--models resnet18:64 tf_efficientnet_lite0:96 ...]

Each side trains the same randomly initialized timm model with AdamW at batch size 32, BatchNorm by running statistics,
on the same 256 images, in float32 on all cores. PyTorch's images wait in memory as a tensor, so that its loop is not
charged for loading; retune's time is that of its second epoch, as `metrics.jsonl` has it (validation not counted).
Printed: seconds an epoch (the least of the rounds), the ratio (above 1: retune is faster), and the peak memory of a
whole process of either side.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

IMAGES, CLASSES, BATCH = 256, 4, 32


def write_images(folder, side):
    random = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("val", 8)):
        for index in range(count):
            path = folder / split / f"class{index % CLASSES}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(path)


def measured(command):
    """Standard output and peak memory in MB of a process of its own."""
    wrapper = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "sys.stderr.write(done.stderr[-2000:])\n"
        "print(done.stdout)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(done.returncode)\n"
    )
    done = subprocess.run([sys.executable, "-c", wrapper, *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    *lines, peak = done.stdout.strip().splitlines()
    return "\n".join(lines), int(peak) / 1024


def retune_epoch(binary, name, side, images):
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        _, peak = measured([
            binary, "fit", "--arch", name, "--from-scratch", "--data", images, "--method", "ft", "--epochs", 2,
            "--lr", "1e-4", "--size", side, "--batch-size", BATCH, "--out", run, "--quiet",
        ])  # fmt: skip
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["seconds"] for row in rows if row["split"] == "train"][-1], peak


def pytorch_epoch(name, side):
    program = f"""
import time, timm, torch
extra = dict(img_size={side}) if 'vit' in '{name}' else dict()
model = timm.create_model('{name}', num_classes={CLASSES}, **extra).eval()
optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
images, labels = torch.randn({IMAGES}, 3, {side}, {side}), torch.arange({IMAGES}) % {CLASSES}
for epoch in range(2):
    started = time.perf_counter()
    for first in range(0, {IMAGES}, {BATCH}):
        optimizer.zero_grad()
        batch = slice(first, first + {BATCH})
        torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
print(time.perf_counter() - started)
"""
    seconds, peak = measured([sys.executable, "-c", program])
    return float(seconds), peak


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("retune")
    parser.add_argument("--models", nargs="+", default=["resnet18:64", "resnet18:224", "vit_tiny_patch16_224:224",
                                                        "convnext_atto:96", "tf_efficientnet_lite0:96"])  # fmt: skip
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print(f"{'model':32} {'retune s':>9} {'torch s':>9} {'ratio':>6} {'retune MB':>10} {'torch MB':>9}")
    for model in options.models:
        name, side = model.split(":")
        with tempfile.TemporaryDirectory() as folder:
            write_images(pathlib.Path(folder), int(side))
            rounds = [
                (retune_epoch(options.retune, name, int(side), folder), pytorch_epoch(name, int(side)))
                for _ in range(options.rounds)
            ]
        ours, theirs = (min(side[0] for side in sides) for sides in zip(*rounds))
        our_peak, their_peak = (max(side[1] for side in sides) for sides in zip(*rounds))
        print(f"{model:32} {ours:9.2f} {theirs:9.2f} {theirs / ours:6.2f} {our_peak:10.0f} {their_peak:9.0f}", flush=True)
