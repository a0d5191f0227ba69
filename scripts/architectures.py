"""Write `crates/retune/src/models/architectures.json`, the table of architectures that retune can build.

    python scripts/architectures.py [OUTPUT]

Every entry is read off the model that the installed timm builds (written with timm 1.0.31 and torch 2.15, on torch's
meta device, so nothing is allocated or downloaded). Names that need an operator retune does not have are listed under
`unsupported` with the reason, so that the error a user sees can name it.

Schema
------
    {
      "timm": "1.0.31",
      "defaults": {FAMILY: {ARG: VALUE}, "pretrained_cfg": {KEY: VALUE}},
      "architectures": {NAME: {
          "family": "resnet" | "vit" | "convnext" | "efficientnet",
          "args": {ARG: VALUE},            only what differs from defaults[family]
          "cfg": {KEY: VALUE},             timm's default pretrained_cfg, what differs from defaults.pretrained_cfg
          "parameters": INTEGER,           learnable scalars with cfg.num_classes classes (buffers not counted)
          "tags": [TAG]                    weights on the Hugging Face hub, the default first: "timm/NAME.TAG";
                                           a tag holding a "/" is itself the whole repository id
      }},
      "aliases": {OLD_NAME: NAME},         timm's deprecated names
      "unsupported": {NAME: REASON}
    }

`args` of "resnet", "vit" and "convnext" carry the names of timm's constructor arguments (`norm_eps` stands for the
epsilon inside timm's `norm_layer`; activations are timm's names: gelu, gelu_tanh, quick_gelu, relu, relu6, silu). Any
of them may stand in the `model_args` of a `config.json`. `args` of "efficientnet" are the *resolved* sizes, read off the
built modules, because timm's entry points round and scale a textual definition:

    stem_size       channels of conv_stem, as built
    num_features    channels of conv_head; 0 means neither conv_head nor bn2
    pad_type        "" pads symmetrically by ((stride - 1) + (kernel - 1)) // 2; "same" pads as TensorFlow does
    act_layer       activation after stem, blocks and conv_head
    norm_eps        epsilon of every BatchNorm
    stages          list (blocks.S) of lists of rows; a row stands for `repeats` consecutive equal blocks (blocks.S.B):
        type        "ds" depthwise separable, "ir" inverted residual, "er" edge residual (fused MBConv), "cn" convolution
        kernel      size of the depthwise (ds, ir), expanding (er) or only (cn) convolution
        stride      its stride; 1 when missing
        expanded    channels between expansion and projection (ir, er)
        out         channels that leave the block
        squeeze     channels of the squeeze-and-excitation bottleneck; missing means no such module
        skip        true where the block's input is added to its output; missing means it is not
        repeats     1 when missing
"""

import inspect
import json
import pathlib
import sys
import warnings

warnings.filterwarnings("ignore")

import timm
import torch
from timm.models import convnext, efficientnet, resnet, vision_transformer
from timm.models import _efficientnet_blocks as efficientnet_blocks
from timm.models._registry import (
    _deprecated_models,
    _model_pretrained_cfgs,
    _module_to_models,
    get_pretrained_cfg,
)

OUTPUT = pathlib.Path(__file__).parent.parent / "crates/retune/src/models/architectures.json"

MODULES = {
    "resnet": ("resnet", resnet.ResNet),
    "vision_transformer": ("vit", vision_transformer.VisionTransformer),
    "deit": ("vit", vision_transformer.VisionTransformer),
    "convnext": ("convnext", convnext.ConvNeXt),
    "efficientnet": ("efficientnet", efficientnet.EfficientNet),
}

DEFAULTS = {
    "resnet": {
        "block": "bottleneck",
        "layers": [3, 4, 6, 3],
        "channels": [64, 128, 256, 512],
        "cardinality": 1,
        "base_width": 64,
        "stem_width": 64,
        "stem_type": "",
        "avg_down": False,
    },
    "vit": {
        "img_size": [224, 224],
        "patch_size": 16,
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "init_values": None,
        "class_token": True,
        "no_embed_class": False,
        "reg_tokens": 0,
        "pre_norm": False,
        "final_norm": True,
        "fc_norm": None,
        "global_pool": "token",
        "act_layer": "gelu",
        "norm_eps": 1e-6,
    },
    "convnext": {
        "depths": [3, 3, 9, 3],
        "dims": [96, 192, 384, 768],
        "kernel_sizes": [7, 7, 7, 7],
        "ls_init_value": 1e-6,
        "stem_type": "patch",
        "patch_size": 4,
        "head_norm_first": False,
        "head_hidden_size": None,
        "conv_mlp": False,
        "conv_bias": True,
        "use_grn": False,
        "act_layer": "gelu",
        "norm_eps": 1e-6,
    },
    "efficientnet": {
        "stem_size": 32,
        "num_features": 1280,
        "pad_type": "",
        "act_layer": "silu",
        "norm_eps": 1e-5,
    },
    "pretrained_cfg": {
        "num_classes": 1000,
        "input_size": [3, 224, 224],
        "test_input_size": None,
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "test_crop_pct": None,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "pool_size": None,
        "classifier": None,
        "first_conv": None,
    },
}

# Entries of the table for architectures that timm does not have, by name. Count their parameters by hand.
BESIDES_TIMM = {}

# Constructor arguments that change training alone, or that the model's own settings already express.
NEUTRAL = {
    "self", "num_classes", "drop_rate", "drop_path_rate", "drop_block_rate", "proj_drop_rate", "attn_drop_rate",
    "pos_drop_rate", "patch_drop_rate", "weight_init", "fix_init", "zero_init_last", "head_init_scale",
    "dynamic_img_size", "dynamic_img_pad", "norm_layer", "act_layer", "block_args", "round_chs_fn", "fix_stem",
    "stem_size", "num_features", "pad_type", "device", "dtype",
}  # fmt: skip

ACTIVATIONS = {
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SiLU": "silu",
    "Swish": "silu",
}

REASONS = {
    "aa_layer": "an anti-aliasing filter",
    "replace_stem_pool": "a strided convolution in place of the stem's max pooling",
    "block_reduce_first": "a reduced first convolution in each block",
    "proj_bias": "projections without bias",
    "scale_attn_norm": "a normalization inside attention",
    "qk_norm": "normalized queries and keys",
    "pool_include_prefix": "pooling over prefix tokens",
    "mlp_layer": "SwiGLU",
    "attn_layer": "differential attention",
    "block_fn": "parallel or post-normalized blocks",
}


class Unsupported(Exception):
    """The architecture needs something that retune does not build."""


def record_arguments(model_class):
    """Make `model_class` keep the arguments it is constructed with in `constructor_arguments`."""
    construct = model_class.__init__
    signature = inspect.signature(construct)

    def recording(self, *args, **kwargs):
        construct(self, *args, **kwargs)
        self.constructor_arguments = dict(signature.bind(self, *args, **kwargs).arguments)

    recording.__signature__ = signature
    model_class.__init__ = recording
    return {name: parameter.default for name, parameter in signature.parameters.items()}


def activation_name(module):
    name = ACTIVATIONS.get(type(module).__name__)
    if name is None:
        raise Unsupported(f"activation {type(module).__name__}")
    return name


def plain(value):
    """The value as JSON holds it."""
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, type) and value in (resnet.BasicBlock, resnet.Bottleneck):
        return "basic" if value is resnet.BasicBlock else "bottleneck"
    return value


def kept_arguments(family, model, declared):
    """Arguments that retune knows, as given; an argument it does not know must have timm's default."""
    kept = {}
    for name, value in model.constructor_arguments.items():
        if name in NEUTRAL:
            continue
        if name == "in_chans":
            if value != 3:
                raise Unsupported(f"{value} input channels")
        elif name in DEFAULTS[family]:
            kept[name] = plain(value)
        elif value != declared[name]:
            raise Unsupported(REASONS.get(name) or f"{name} {getattr(value, '__name__', value)}")
    return kept


def only(kind, values):
    """The one value that all modules share."""
    found = set(values)
    if len(found) != 1:
        raise Unsupported(f"several values of {kind}: {sorted(map(str, found))}")
    return found.pop()


def modules_of(model, *types):
    return [module for module in model.modules() if isinstance(module, types)]


def refuse_modules(model, **suspects):
    for module in model.modules():
        if type(module).__name__ in suspects:
            raise Unsupported(suspects[type(module).__name__])


def resnet_arguments(model, declared):
    if model.constructor_arguments.get("block_args"):
        raise Unsupported("channel attention")
    args = kept_arguments("resnet", model, declared)
    if any(module.eps != 1e-5 for module in modules_of(model, torch.nn.BatchNorm2d)):
        raise Unsupported("an unusual epsilon of batch normalization")
    if not modules_of(model, torch.nn.BatchNorm2d):
        raise Unsupported("a normalization other than batch normalization")
    if activation_name(model.act1) != "relu":
        raise Unsupported("an activation other than ReLU")
    if isinstance(args["block"], list) and len(set(args["block"])) == 1:
        args["block"] = args["block"][0]
    return args


def vit_arguments(model, declared):
    args = kept_arguments("vit", model, declared)
    if args.get("global_pool", "token") not in ("token", "avg"):
        raise Unsupported(f"{args['global_pool']} pooling")
    refuse_modules(model, RmsNorm="RMS normalization", SwiGLU="SwiGLU", GluMlp="SwiGLU", SwiGLUPacked="SwiGLU")
    args["act_layer"] = activation_name(model.blocks[0].mlp.act)
    args["norm_eps"] = only("normalization epsilon", (m.eps for m in modules_of(model, torch.nn.LayerNorm)))
    if isinstance(args.get("img_size"), int):
        args["img_size"] = [args["img_size"]] * 2
    return args


def convnext_arguments(model, declared):
    args = kept_arguments("convnext", model, declared)
    refuse_modules(
        model, RmsNorm="RMS normalization", RmsNorm2d="RMS normalization",
        SimpleNorm="SimpleNorm", SimpleNorm2d="SimpleNorm",
    )  # fmt: skip
    args["act_layer"] = activation_name(model.stages[0].blocks[0].mlp.act)
    args["norm_eps"] = only("normalization epsilon", (m.eps for m in modules_of(model, torch.nn.LayerNorm)))
    if isinstance(args.get("kernel_sizes"), int):
        args["kernel_sizes"] = [args["kernel_sizes"]] * 4
    return args


def efficientnet_row(block, activation):
    """One block as a row, sizes read off its modules."""
    kinds = {
        efficientnet_blocks.DepthwiseSeparableConv: ("ds", "conv_dw", "conv_pw", "bn1"),
        efficientnet_blocks.InvertedResidual: ("ir", "conv_dw", "conv_pwl", "bn1"),
        efficientnet_blocks.EdgeResidual: ("er", "conv_exp", "conv_pwl", "bn1"),
        efficientnet_blocks.ConvBnAct: ("cn", "conv", "conv", "bn1"),
    }
    if type(block) not in kinds:
        raise Unsupported(f"block {type(block).__name__}")
    kind, spatial, last, norm = kinds[type(block)]
    if getattr(block, "conv_s2d", None) is not None:
        raise Unsupported("space to depth")
    if getattr(block, "has_pw_act", False):
        raise Unsupported("an activation after the pointwise convolution")
    if not isinstance(getattr(block, "aa", torch.nn.Identity()), torch.nn.Identity):
        raise Unsupported("an anti-aliasing filter")
    spatial, last = getattr(block, spatial), getattr(block, last)
    for convolution in modules_of(block, torch.nn.Conv2d):
        depthwise = kind in ("ds", "ir") and convolution is spatial
        if convolution.groups != (convolution.in_channels if depthwise else 1):
            raise Unsupported("grouped convolution")
        if convolution.kernel_size != (1, 1) and convolution is not spatial:
            raise Unsupported("a projection wider than one pixel")
        if convolution.dilation != (1, 1):
            raise Unsupported("dilation")
    if activation_name(getattr(block, norm).act) != activation:
        raise Unsupported("activations that differ between blocks")
    row = {"type": kind, "kernel": spatial.kernel_size[0], "stride": spatial.stride[0]}
    if kind in ("ir", "er"):
        row["expanded"] = last.in_channels
    row["out"] = last.out_channels
    attention = getattr(block, "se", torch.nn.Identity())
    if isinstance(attention, efficientnet_blocks.SqueezeExcite):
        if activation_name(attention.act1) != activation or not isinstance(attention.gate, torch.nn.Sigmoid):
            raise Unsupported("an unusual squeeze-and-excitation")
        row["squeeze"] = attention.conv_reduce.out_channels
    elif not isinstance(attention, torch.nn.Identity):
        raise Unsupported(f"attention {type(attention).__name__}")
    if block.has_skip:
        row["skip"] = True
    if row["stride"] == 1:
        del row["stride"]
    return row


def efficientnet_arguments(model, declared):
    given = model.constructor_arguments
    if any("condconv" in type(m).__name__.lower() or "mixed" in type(m).__name__.lower() for m in model.modules()):
        raise Unsupported("conditional or mixed convolution")
    if model.conv_stem.kernel_size != (3, 3):
        raise Unsupported("a stem kernel other than 3x3")
    norms = modules_of(model, torch.nn.BatchNorm2d)
    if not norms or any("Norm" in type(m).__name__ and not isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()):
        raise Unsupported("a normalization other than batch normalization")
    kept_arguments("efficientnet", model, declared)
    activation = activation_name(model.bn1.act)
    stages = []
    for stage in model.blocks:
        rows = []
        for block in stage:
            row = efficientnet_row(block, activation)
            if rows and {k: v for k, v in rows[-1].items() if k != "repeats"} == row:
                rows[-1]["repeats"] = rows[-1].get("repeats", 1) + 1
            else:
                rows.append(row)
        stages.append(rows)
    return {
        "stem_size": model.conv_stem.out_channels,
        "num_features": getattr(model.conv_head, "out_channels", 0),
        "pad_type": given.get("pad_type", ""),
        "act_layer": activation,
        "norm_eps": only("normalization epsilon", (m.eps for m in norms)),
        "stages": stages,
    }


ARGUMENTS = {
    "resnet": resnet_arguments,
    "vit": vit_arguments,
    "convnext": convnext_arguments,
    "efficientnet": efficientnet_arguments,
}


def differing(values, defaults):
    return {k: v for k, v in values.items() if k not in defaults or v != defaults[k]}


def pretrained_configuration(name):
    cfg = get_pretrained_cfg(name).to_dict(remove_null=False)
    values = {key: plain(cfg.get(key)) for key in DEFAULTS["pretrained_cfg"]}
    # Newer SigLIP and DINOv3 entries say the same with integers; one type for each key keeps readers simple.
    values["mean"] = [float(x) for x in values["mean"]]
    values["std"] = [float(x) for x in values["std"]]
    return differing(values, DEFAULTS["pretrained_cfg"])


def hub_tags(name):
    """Tags with weights on the hub, timm's default first."""
    tags = []
    default = get_pretrained_cfg(name).tag or ""
    for full_name in timm.list_models(f"{name}.*", pretrained=True) + timm.list_models(name, pretrained=True):
        tag = full_name.partition(".")[2]
        cfg = _model_pretrained_cfgs.get(full_name)
        if full_name.partition(".")[0] != name or not tag or cfg is None or not cfg.hf_hub_id or cfg.hf_hub_filename:
            continue
        conventional = cfg.hf_hub_id in ("timm/", f"timm/{full_name}")
        tags.append(tag if conventional else cfg.hf_hub_id)
    return sorted(set(tags), key=lambda tag: (tag != default, tag))


def table():
    declared = {}
    for _, model_class in MODULES.values():
        if model_class not in declared:
            declared[model_class] = record_arguments(model_class)
    architectures, unsupported, aliases = {}, {}, {}
    deprecated = {old: new for old, new in _deprecated_models.items() if new}
    for module, (family, model_class) in MODULES.items():
        for name in sorted(_module_to_models[module]):
            if name in deprecated:
                aliases[name] = deprecated[name].partition(".")[0]
                continue
            try:
                if "pruned" in name:
                    raise Unsupported("pruned widths")
                with torch.device("meta"):
                    model = timm.create_model(name, pretrained=False)
                if type(model) is not model_class:
                    raise Unsupported("a distillation token" if "distilled" in name else type(model).__name__)
                args = ARGUMENTS[family](model, declared[model_class])
            except Unsupported as reason:
                unsupported[name] = str(reason)
                continue
            architectures[name] = {
                "family": family,
                "args": differing(args, DEFAULTS[family]),
                "cfg": pretrained_configuration(name),
                "parameters": sum(p.numel() for p in model.parameters()),
                "tags": hub_tags(name),
            }
    architectures.update(BESIDES_TIMM)
    aliases = {old: new for old, new in aliases.items() if new in architectures}
    return {
        "timm": timm.__version__,
        "defaults": DEFAULTS,
        "architectures": architectures,
        "aliases": aliases,
        "unsupported": unsupported,
    }


def written(value):
    """JSON with one architecture a line, so that a new timm release makes a readable diff."""
    lines = []
    for key, section in value.items():
        if isinstance(section, dict):
            rows = ",\n".join(
                f"  {json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in section.items()
            )
            lines.append(f"{json.dumps(key)}: {{\n{rows}\n}}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(section)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    result = table()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(written(result))
    families = [entry["family"] for entry in result["architectures"].values()]
    print({family: families.count(family) for family in sorted(set(families))}, output.stat().st_size, "bytes")
