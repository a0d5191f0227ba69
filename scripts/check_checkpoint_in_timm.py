"""Check that timm loads a model that retune wrote, strictly, and computes the same logits.

    python scripts/check_checkpoint_in_timm.py RUN/model DATA --features F.npz
    python scripts/check_checkpoint_in_timm.py RUN/model DATA --retune target/release/retune

DATA is the folder of class folders whose logits `retune features --layer logits --out F.npz` wrote (the second form runs
that command itself). The difference is max|a - b| / max|a|; exit status 1 above 1e-4 or when timm refuses the checkpoint.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import timm

import timm_reference


def load(directory):
    """The model of a hub directory, every tensor of the file used and none missing, and its preprocessing."""
    configuration = json.loads((directory / "config.json").read_text())
    pretrained_cfg = configuration["pretrained_cfg"]
    model = timm.create_model(
        configuration["architecture"],
        pretrained=False,
        pretrained_cfg_overlay={"input_size": tuple(pretrained_cfg["input_size"])},
        num_classes=configuration["num_classes"],
        checkpoint_path=str(directory / "model.safetensors"),
        **configuration.get("model_args", {}),
    )
    return model, pretrained_cfg


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path, help="directory with config.json and model.safetensors")
    parser.add_argument("data", type=pathlib.Path, help="folder of class folders of images")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--features", type=pathlib.Path, help="npz file that retune wrote with --layer logits")
    source.add_argument("--retune", type=pathlib.Path, help="retune binary to write that file with")
    options = parser.parse_args()
    try:
        model, pretrained_cfg = load(options.model)
    except (RuntimeError, KeyError, OSError) as error:
        print(f"timm does not load {options.model}: {error}", file=sys.stderr)
        return 1
    if options.features:
        found, paths = timm_reference.read_features(options.features, options.data)
    else:
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "logits.npz"
            found, paths = timm_reference.run_features(
                options.retune.resolve(), options.model, options.data, "logits", output
            )
    if not paths:
        print("retune's file holds no image", file=sys.stderr)
        return 1
    expected = timm_reference.logits(model, timm_reference.inputs(paths, pretrained_cfg))
    difference = timm_reference.relative_difference(expected, found)
    print(f"{options.model}: {len(paths)} images, largest relative difference of logits {difference:.1e}")
    return 0 if difference <= timm_reference.TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
