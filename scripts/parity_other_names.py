"""Compare retune with torchvision, transformers and open_clip on whole-size models under their own tensor names.

    python scripts/parity_other_names.py target/release/retune [--names NAME ...]

Each model has seeded random weights and is written as its project writes it: a state dictionary beside timm's name of the
architecture, or what `save_pretrained` makes. `retune features` reads PNG images through it; its preprocessed images go
through the project's own model, and the logits (or the pooled features, where timm's model has no classifier) are compared.
`input` compares the preprocessed images with those of transformers' Pillow-based preprocessing, but for a pixel where an
odd number is cut off: transformers rounds half of it down, timm to an even number. A
difference is max|a - b| / max|a|. Exit status 1 if any exceeds 1e-4 or retune fails. Nothing is downloaded.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import open_clip
import torch
import torchvision
import transformers
from PIL import Image

import timm_reference
from parity_whole_size import IMAGE_SIZES, write_images


def randomize(model, seed):
    """Weights under which every tensor matters and activations stay near one; BatchNorm has real statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            leaf = name.rsplit(".", 1)[-1]
            if "embedding" in leaf or "token" in leaf:
                tensor.copy_(0.4 * noise)
            elif "scale" in leaf or leaf == "lambda1":
                tensor.copy_(0.3 + 0.05 * noise)
            elif tensor.ndim > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                tensor.copy_((1.0 if leaf == "weight" else 0.0) + 0.1 * noise)
        # As in parity_whole_size.py: at random weights deep networks with BatchNorm amplify rounding.
        for module in model.modules():
            if getattr(module, "use_res_connect", False):
                module.block[-1][1].weight.mul_(0.2)
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            model.train()
            model(torch.randn((4, 3, 96, 96), generator=generator))
    return model.eval()


def from_torchvision(make, architecture):
    def write(folder):
        model = randomize(make(), seed=3)
        path = folder / "weights.pth"
        torch.save(model.state_dict(), path)
        return ["--model", path, "--arch", architecture], "logits", model, None

    return write


def from_transformers(model_class, config, processor=None, pooled=None):
    def write(folder):
        model = randomize(model_class(config), seed=4)
        model.save_pretrained(folder / "model")
        if processor is not None:
            processor.save_pretrained(folder / "model")
        layer = "pooled" if pooled else "logits"
        compute = (lambda x: pooled(model(pixel_values=x))) if pooled else (lambda x: model(pixel_values=x).logits)
        return ["--model", folder / "model"], layer, compute, processor

    return write


def from_open_clip(name, architecture):
    def write(folder):
        model = randomize(open_clip.create_model(name), seed=5)
        path = folder / "weights.pth"
        torch.save(model.state_dict(), path)
        return ["--model", path, "--arch", architecture], "logits", model.visual, None

    return write


def cases():
    models, hf = torchvision.models, transformers
    labels = {"num_labels": 100}
    plain = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    short_side = hf.ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875, **plain)
    cropping = hf.BitImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, **plain)
    first = lambda output: output.last_hidden_state[:, 0]
    return {
        "torchvision resnet18": from_torchvision(models.resnet18, "resnet18"),
        "torchvision resnet50": from_torchvision(models.resnet50, "resnet50"),
        "torchvision vit_b_32": from_torchvision(models.vit_b_32, "vit_base_patch32_224"),
        "torchvision convnext_tiny": from_torchvision(models.convnext_tiny, "convnext_tiny"),
        "torchvision efficientnet_b0": from_torchvision(models.efficientnet_b0, "efficientnet_b0"),
        "torchvision efficientnet_b3": from_torchvision(models.efficientnet_b3, "efficientnet_b3"),
        "transformers resnet50": from_transformers(
            hf.ResNetForImageClassification, hf.ResNetConfig(**labels), short_side
        ),
        "transformers vit-base": from_transformers(
            hf.ViTForImageClassification, hf.ViTConfig(**labels), hf.ViTImageProcessorPil()
        ),
        "transformers deit-small": from_transformers(
            hf.DeiTForImageClassification,
            hf.DeiTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, **labels),
            hf.DeiTImageProcessorPil(),
        ),
        "transformers convnext-tiny": from_transformers(
            hf.ConvNextForImageClassification, hf.ConvNextConfig(**labels), short_side
        ),
        "transformers dinov2-small": from_transformers(
            hf.Dinov2Model,
            hf.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518),
            cropping, first,
        ),
        "transformers dinov2-registers-small": from_transformers(
            hf.Dinov2WithRegistersModel,
            hf.Dinov2WithRegistersConfig(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14),
            cropping, first,
        ),
        "open_clip ViT-B-32-quickgelu": from_open_clip("ViT-B-32-quickgelu", "vit_base_patch32_clip_quickgelu_224"),
    }  # fmt: skip


def compare(binary, write, data, folder):
    given, layer, model, processor = write(folder)
    options = given[2:]
    found, paths = timm_reference.run_features(binary, given[1], data, layer, folder / "found.npz", options)
    inputs, _ = timm_reference.run_features(binary, given[1], data, "input", folder / "input.npz", options)
    side = round((inputs.shape[1] / 3) ** 0.5)
    images = torch.from_numpy(inputs).reshape(-1, 3, side, side)
    with torch.no_grad():
        outputs = torch.cat([model(image[None]) for image in images])
    of_input = float("nan")
    if processor is not None:
        prepared = [processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"][0] for path in paths]
        of_input = max(input_difference(expected, found) for expected, found in zip(prepared, images))
    return of_input, timm_reference.relative_difference(outputs, found)


def input_difference(expected, found):
    """The largest difference of two images, the second shifted by one pixel to one side or not at all."""
    inner = (slice(None), slice(1, -1), slice(1, -1))
    shifted = [torch.roll(found, (down, right), (1, 2)) for down in (0, 1) for right in (0, 1)]
    return min(timm_reference.relative_difference(expected[inner], image[inner]) for image in shifted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=pathlib.Path, help="the retune binary")
    parser.add_argument("--names", nargs="+", help="parts of the models' names to compare")
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="retune-names-"))
    write_images(root / "images")
    failures = 0
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, transformers {transformers.__version__}")
    print(f"{'model':40} {'input':>10} {'output':>10}   ({len(IMAGE_SIZES)} images)")
    for name, write in cases().items():
        if options.names and not any(part in name for part in options.names):
            continue
        folder = root / "model"
        folder.mkdir()
        try:
            of_input, of_output = compare(options.binary.resolve(), write, root / "images", folder)
        except RuntimeError as error:
            failures += 1
            print(f"{name:40} FAILED {error}", flush=True)
            continue
        finally:
            shutil.rmtree(folder)
        passed = of_output <= timm_reference.TOLERANCE and not of_input > timm_reference.TOLERANCE
        failures += not passed
        print(f"{name:40} {of_input:10.1e} {of_output:10.1e}{'' if passed else '  DIFFERS'}", flush=True)
    shutil.rmtree(root)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
