"""Random timm models in which every tensor matters, and the directory layout in which the hub keeps them.

timm's own initialization leaves much of a model idle: layer scales of 1e-6, zero GRN parameters, zero last norms, unit
running statistics. A mistake in any of those would not show in the logits. `randomize` draws each tensor from a seeded
normal distribution of a scale that keeps activations near one.
"""

import json
import math

import torch
from safetensors.torch import save_file

CONFIGURATION_KEYS = (
    "tag", "num_classes", "input_size", "test_input_size", "fixed_input_size", "interpolation", "crop_pct",
    "test_crop_pct", "crop_mode", "mean", "std", "first_conv", "classifier",
)  # fmt: skip


def scale_residual_branches(model, factor):
    """Scale what each residual block with BatchNorm adds to its shortcut."""
    for module in model.modules():
        if getattr(module, "has_skip", False) or hasattr(module, "zero_init_last"):
            last = next(getattr(module, name) for name in ("bn3", "bn2", "bn1") if hasattr(module, name))
            last.weight.mul_(factor)


def randomize(model, seed, calibration_size, residual_scale=1.0, channels=3):
    """Give `model` seeded random weights.

    `calibration_size` (height, width) and `channels` are those of the input that sets BatchNorm statistics. `residual_scale` below one keeps deep
    models with BatchNorm well conditioned: at random weights each normalized layer amplifies a relative rounding error,
    and over a hundred of them it grows from 1e-7 to 1e-3, in timm itself between batches of one and of four.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(shape):
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for name, tensor in model.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            if leaf in ("pos_embed", "cls_token", "reg_token"):
                tensor.copy_(0.4 * normal(tensor.shape))
            elif tensor.ndim == 2 and tensor.shape[0] == getattr(model, "num_classes", None):
                # A head as small as a fresh one: larger makes plain SGD at common rates overshoot.
                tensor.copy_(0.5 * normal(tensor.shape) / math.sqrt(tensor.shape[1]))
            elif tensor.ndim > 1:
                fan_in = tensor[0].numel()
                tensor.copy_(normal(tensor.shape) / math.sqrt(fan_in))
            elif leaf == "gamma":
                tensor.copy_(0.5 + 0.1 * normal(tensor.shape))
            elif leaf == "weight" and not name.endswith("grn.weight"):
                tensor.copy_(1.0 + 0.2 * normal(tensor.shape))
            else:
                tensor.copy_(0.2 * normal(tensor.shape))
        scale_residual_branches(model, residual_scale)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        if norms:
            # Statistics of real activations, then shaken: with arbitrary ones a deep network's activations explode.
            for norm in norms:
                norm.momentum = 1.0
            model.train()
            model(normal((4, channels, *calibration_size)))
            for norm in norms:
                norm.momentum = 0.1
                spread = (norm.running_var + 1e-3).sqrt()
                norm.running_mean.add_(0.2 * spread * normal(norm.running_mean.shape))
                norm.running_var.add_(1e-3).mul_(torch.exp(0.2 * normal(norm.running_var.shape)))
                norm.num_batches_tracked.fill_(7)
    return model.eval()


def write_directory(model, directory, architecture, num_classes, model_args=None, pretrained_cfg=None):
    """Write `config.json` and `model.safetensors` as the hub keeps a timm model."""
    directory.mkdir(parents=True, exist_ok=True)
    source = dict(model.pretrained_cfg)
    source.update(pretrained_cfg or {})
    source["num_classes"] = num_classes
    configuration = {
        "architecture": architecture,
        "num_classes": num_classes,
        "num_features": model.num_features,
        "model_args": model_args or {},
        "pretrained_cfg": {key: source[key] for key in CONFIGURATION_KEYS if source.get(key) is not None},
    }
    (directory / "config.json").write_text(json.dumps(configuration, indent=2) + "\n")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
