"""Compare retune with timm on whole-size architectures with seeded random weights.

    python scripts/parity_whole_size.py target/release/retune [--names NAME ...] [--size N] [--keep FOLDER]

For each architecture: a timm model with random weights (see random_timm_model.py) is written as a hub directory,
`retune features` reads a few PNG images through it, and both the preprocessed image (`--layer input`) and the logits are
compared with timm's transform and forward pass. The difference is max|a - b| / max|a|. Exit status 1 if any exceeds
1e-4 or retune fails. Nothing is downloaded.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
import time

import numpy
import timm
import torch
from PIL import Image

import timm_reference
from random_timm_model import randomize, write_directory

NAMES = (
    "resnet18", "resnet50", "resnet26d", "resnet26t", "resnext50_32x4d", "wide_resnet50_2", "test_resnet",
    "vit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "deit3_small_patch16_224",
    "deit_tiny_patch16_224", "vit_base_patch32_clip_224", "vit_base_patch16_clip_quickgelu_224",
    "vit_medium_patch16_gap_256", "test_vit", "test_vit2",
    "convnext_tiny", "convnext_atto", "convnextv2_atto", "convnextv2_nano", "convnext_tiny_hnf", "test_convnext",
    "efficientnet_b0", "efficientnet_b3", "efficientnet_lite0", "efficientnetv2_rw_t", "test_efficientnet",
    "tf_efficientnet_b0", "tf_efficientnet_b2", "tf_efficientnet_lite0", "tf_efficientnetv2_b0", "mobilenetv2_100",
)  # fmt: skip
CLASSES = 100
# Larger and smaller than the models' inputs, both orientations, odd sides.
IMAGE_SIZES = ((256, 256), (431, 300), (211, 333), (150, 97))


def write_images(folder):
    """Two class folders of seeded PNG images: smooth color waves under noise, so that resizing matters."""
    random = numpy.random.default_rng(7)
    for index, (width, height) in enumerate(IMAGE_SIZES):
        y, x = numpy.mgrid[0:height, 0:width]
        frequency, phase = random.uniform(0.01, 0.2, (2, 3)), random.uniform(0, 6.28, 3)
        waves = 127 + 90 * numpy.sin(x[..., None] * frequency[0] + y[..., None] * frequency[1] + phase)
        pixels = (waves + random.normal(0, 25, (height, width, 3))).clip(0, 255).astype(numpy.uint8)
        path = folder / ("cat", "dog")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def compare(binary, name, size, data, folder):
    """Differences of the input and the logits, and the seconds retune took for both."""
    cfg = timm.get_pretrained_cfg(name).to_dict()
    model_args = {}
    if size:
        cfg["input_size"] = (3, size, size)
        if cfg.get("fixed_input_size"):
            model_args["img_size"] = size
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES, **model_args)
    randomize(model, seed=11, calibration_size=cfg["input_size"][1:], residual_scale=0.2)
    write_directory(model, folder / name, name, CLASSES, model_args, {"input_size": cfg["input_size"]})
    started = time.monotonic()
    found, paths = timm_reference.run_features(binary, folder / name, data, "logits", folder / "logits.npz")
    found_inputs, input_paths = timm_reference.run_features(binary, folder / name, data, "input", folder / "input.npz")
    seconds = time.monotonic() - started
    if paths != input_paths or len(paths) != len(IMAGE_SIZES):
        raise RuntimeError(f"expected {len(IMAGE_SIZES)} images in one order, got {paths} and {input_paths}")
    images = timm_reference.inputs(paths, cfg)
    return (
        timm_reference.relative_difference(images.flatten(1), found_inputs),
        timm_reference.relative_difference(timm_reference.logits(model, images), found),
        seconds,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=pathlib.Path, help="the retune binary")
    parser.add_argument("--names", nargs="+", default=NAMES, help="architectures to compare")
    parser.add_argument("--size", type=int, help="square input size in place of each model's own")
    parser.add_argument("--keep", type=pathlib.Path, help="keep model directories and images here")
    options = parser.parse_args()
    root = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="retune-parity-"))
    root.mkdir(parents=True, exist_ok=True)
    data = root / "images"
    write_images(data)
    failures = 0
    print(f"timm {timm.__version__}, torch {torch.__version__}")
    print(f"{'architecture':40} {'input':>10} {'logits':>10} {'seconds':>8}")
    for name in options.names:
        try:
            of_input, of_logits, seconds = compare(options.binary.resolve(), name, options.size, data, root)
        except (RuntimeError, OSError, KeyError) as error:
            failures += 1
            print(f"{name:40} FAILED {error}", flush=True)
            continue
        finally:
            if not options.keep:
                shutil.rmtree(root / name, ignore_errors=True)
        passed = max(of_input, of_logits) <= timm_reference.TOLERANCE
        failures += not passed
        print(f"{name:40} {of_input:10.1e} {of_logits:10.1e} {seconds:8.1f}{'' if passed else '  DIFFERS'}", flush=True)
    if not options.keep:
        shutil.rmtree(root)
    print(f"{len(options.names) - failures} of {len(options.names)} within {timm_reference.TOLERANCE:g}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
