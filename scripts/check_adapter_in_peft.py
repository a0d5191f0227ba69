"""Check that PEFT reads a low-rank adapter that retune wrote, and that it makes the model that retune merged.

    python scripts/check_adapter_in_peft.py BASE RUN/adapter RUN/model

BASE is the directory of the pretrained model that the run began with, RUN/adapter holds adapter_model.safetensors and
adapter_config.json, RUN/model the merged model. The adapter must name exactly the tensors that PEFT expects, change the
logits, and give, on the base model in timm, the merged model's logits for seeded random inputs. The difference is
max|a - b| / max|a|; exit status 1 above 1e-4, or when timm or PEFT refuse what they are given. Merged weights are compared
as well where PEFT can merge (not in convolutions with groups).
"""

import argparse
import json
import pathlib
import sys

import peft
import timm
import torch
from safetensors.torch import load_file

import check_checkpoint_in_timm
import timm_reference

IMAGES = 8
# Less than this is a change that the comparison could hardly see missing.
LEAST_EFFECT = 10 * timm_reference.TOLERANCE


def load_base(directory, merged_directory):
    """The pretrained model with as many classes and as large an input as the merged one."""
    configuration = json.loads((merged_directory / "config.json").read_text())
    return timm.create_model(
        f"local-dir:{directory}",
        pretrained=True,
        num_classes=configuration["num_classes"],
        pretrained_cfg_overlay={"input_size": tuple(configuration["pretrained_cfg"]["input_size"])},
        **configuration.get("model_args", {}),
    )


def load_adapted(base, directory):
    """The base model with the adapter in it; every tensor of the file used and none missing."""
    adapted = peft.PeftModel.from_pretrained(base, str(directory)).eval()
    expected = {name: tuple(tensor.shape) for name, tensor in peft.get_peft_model_state_dict(adapted).items()}
    found = {name: tuple(tensor.shape) for name, tensor in load_file(directory / "adapter_model.safetensors").items()}
    wrong = sorted(set(expected.items()) ^ set(found.items()))
    if wrong:
        raise RuntimeError(f"tensors that only one of PEFT and the file has: {wrong[:6]}")
    return adapted


def largest_weight_difference(adapted, merged):
    """Over all tensors; None where PEFT cannot merge."""
    try:
        tensors = adapted.merge_and_unload().state_dict()
    except NotImplementedError:
        return None
    return max(
        timm_reference.relative_difference(tensor, tensors[name])
        for name, tensor in merged.state_dict().items()
        if tensor.is_floating_point() and tensor.any()
    )


def logits_without_changes(adapted, images):
    """The logits with the trained head but without the low-rank changes (disabling the adapter would drop both)."""
    for module in adapted.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.scaling["default"] = 0.0
    return timm_reference.logits(adapted, images)


def check(base, adapter, merged_directory):
    """Whether everything agrees; prints what does not."""
    merged, pretrained_cfg = check_checkpoint_in_timm.load(merged_directory)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((IMAGES, *pretrained_cfg["input_size"]), generator=generator)
    expected = timm_reference.logits(merged, images)
    adapted = load_adapted(load_base(base, merged_directory), adapter)
    found = timm_reference.logits(adapted, images)
    logits = timm_reference.relative_difference(expected, found)
    weights = largest_weight_difference(adapted, merged)
    without = logits_without_changes(load_adapted(load_base(base, merged_directory), adapter), images)
    effect = timm_reference.relative_difference(expected, without)
    known = "not compared (PEFT cannot merge)" if weights is None else f"{weights:.1e}"
    print(f"{adapter}: logits differ by {logits:.1e}, merged weights by {known}; without the changes by {effect:.1e}")
    if effect < LEAST_EFFECT:
        print("the adapter hardly changes anything, so this shows little; train longer", file=sys.stderr)
    agree = logits <= timm_reference.TOLERANCE and (weights is None or weights <= timm_reference.TOLERANCE)
    return agree and effect >= LEAST_EFFECT


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", type=pathlib.Path, help="directory of the pretrained model")
    parser.add_argument("adapter", type=pathlib.Path, help="directory of the adapter")
    parser.add_argument("merged", type=pathlib.Path, help="directory of the merged model")
    options = parser.parse_args()
    try:
        return 0 if check(options.base, options.adapter, options.merged) else 1
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        print(f"{options.adapter}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
