"""Models in memory, without torch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _arguments, _retune
from ._data import located
from ._errors import Error
from ._features import Features
from ._html import table
from ._progress import progress

if TYPE_CHECKING:
    import numpy
    from typing_extensions import Unpack

    from ._options import LoadOptions

#: Options that say which model, and how it prepares images: those of `retune layers`.
_OF_MODEL = "layers"


@dataclass(frozen=True)
class Layer:
    """A block of a model; its `name`, and that of its `stage`, are what options such as `first`, `last` and `layer` take."""

    name: str
    stage: str
    #: Learnable scalars.
    parameters: int
    #: The shape of one image's output: channels × height × width, tokens × width, or the length of a vector.
    output: tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A learnable tensor, in the order of PyTorch's `named_parameters()`."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    #: The block that it belongs to.
    block: str
    #: weight, bias, norm-weight, …
    role: str


class Layers(tuple[Layer, ...]):
    """The blocks of a model from input to output."""

    @property
    def names(self) -> list[str]:
        """What options such as `first` and `layer` take: the names of blocks."""
        return [layer.name for layer in self]

    @property
    def stages(self) -> list[str]:
        """The names of stages, which the same options take."""
        return list(dict.fromkeys(layer.stage for layer in self))

    def _repr_html_(self) -> str:
        rows = [(layer.stage, layer.name, layer.parameters, " × ".join(map(str, layer.output))) for layer in self]
        return table(["stage", "block", "parameters", "output"], rows)


class Model:
    """A model in memory. `retune.load` makes one, and a finished run has one: `run.model`.

    It is loaded when it is first used.
    """

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        self.path = path
        #: How it was loaded: what `retune.load` was given besides the path.
        self.options = dict(options)

    @cached_property
    def _loaded(self) -> Any:
        return _retune.LoadedModel.load(self._line(), progress(self.options))

    def _line(self, **further: Any) -> list[str]:
        model = {"model": self.path} if self.path else {}
        return _arguments.line(_OF_MODEL, {**model, **self.options, **further}, "load")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "options": self.options}

    def __repr__(self) -> str:
        classes = f"{self.num_classes} classes" if self.num_classes else "no classifier"
        return f"Model({self.architecture}, {classes}, {self.path!r})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(repr(self))}</p>{self.layers._repr_html_()}"

    @property
    def architecture(self) -> str:
        """timm's name of the architecture."""
        return str(self._loaded.architecture)

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 without a classifier."""
        return int(self._loaded.num_classes)

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes in the order of the logits; None where the model has no names."""
        names: list[str] | None = self._loaded.classes
        return names

    @property
    def temperature(self) -> float | None:
        """What logits are divided by before the softmax, where `retune.fit` has measured it."""
        value: float | None = self._loaded.temperature
        return value

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How it prepares images: size in pixels, filter, crop, mean and standard deviation (of values from 0 to 1)."""
        found: dict[str, Any] = json.loads(self._loaded.preprocessing)
        return found

    @cached_property
    def _description(self) -> dict[str, Any]:
        document, _ = _retune.run(self._line(tensors=True), None)
        found: dict[str, Any] = json.loads(document)
        return found

    @property
    def layers(self) -> Layers:
        """The blocks from input to output. Features are also available at `input`, `pooled` and `logits`."""
        rows = self._description["layers"]
        return Layers(Layer(row["name"], row["stage"], row["parameters"], tuple(row["output"])) for row in rows)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The learnable tensors, in PyTorch's order. `first`, `last` and `layers` take their names, too."""
        rows = self._description["tensors"]
        return tuple(
            Tensor(row["name"], tuple(row["shape"]), row["parameters"], row["block"], row["role"]) for row in rows
        )

    def state_dict(self) -> dict[str, numpy.ndarray[Any, Any]]:
        """A copy of every tensor by timm's name, float32; running statistics included."""
        found: dict[str, Any] = self._loaded.state_dict()
        return found

    def save(self, folder: str | Path) -> Path:
        """Writes `config.json` and `model.safetensors`, which timm loads with `strict=True`."""
        folder = Path(folder)
        if folder.is_dir() and any(folder.iterdir()):
            raise Error(f"{folder} is not empty; choose another folder")
        self._loaded.save(folder)
        return folder

    def export(
        self,
        file: str | Path,
        *,
        output: str = "logits",
        with_preprocessing: bool = False,
        opset: int | None = None,
        external_data: bool = False,
    ) -> Path:
        """Writes the model as an ONNX file, and `preprocessor_config.json` beside it where the graph does not prepare images.

        The graph takes `pixel_values`, `[batch, channels, height, width]`, normalized; with its preprocessing it takes
        `pixels`, `[batch, height, width, channels]` of decoded bytes of any size. It gives the `logits`, the `probabilities`
        at the model's temperature, or the `features` that the head sees. `external_data` writes the weights to a file of
        their own.

        Raises `retune.Error` for an opset, a preprocessing, or an output that cannot be written.
        """
        file = Path(file)
        options = {"with_preprocessing": with_preprocessing, "opset": opset, "external_data": external_data}
        keywords = {**({"model": self.path} if self.path else {}), **self.options, "quiet": True}
        _retune.run(_arguments.line("export", {**keywords, "out": file, "output": output, **options}), None)
        return file

    def to_timm(self) -> Any:
        """The model as timm's `torch.nn.Module`, in evaluation mode; needs timm."""
        import timm

        with tempfile.TemporaryDirectory() as folder:
            self._loaded.save(folder)
            return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    def features(
        self,
        data: Any,
        layer: str = "pooled",
        *,
        split: str | None = None,
        batch_size: int = 32,
        precision: str = "float32",
        skip_bad: bool = False,
        quiet: bool = False,
    ) -> Features:
        """The features of images at a layer: a block or stage of `layers`, `input`, `pooled` (what the head sees), or
        `logits`. With `precision="bfloat16"`, the factors of matrix products are rounded; `"auto"` takes what is faster on
        this CPU. `retune.evaluate` says what rounding changes.

        Raises `retune.Error` for an unknown layer, with the closest known one.
        """
        found = located(data)
        options = {"layer": layer, "split": split, "batch_size": batch_size, "precision": precision}
        options |= {"skip_bad": skip_bad, "quiet": quiet}
        typed = _arguments.line("features", {"data": found.path, "out": _UNUSED, **options}, "features")
        return _features(self._loaded.features(typed, progress(options)), layer)

    def logits(
        self, images: Any, *, batch_size: int = 32, precision: str = "float32", quiet: bool = False
    ) -> numpy.ndarray[Any, Any]:
        """The logits of images, `[n, classes]`, float32; `precision` is that of `features`."""
        found = self.features(images, "logits", batch_size=batch_size, precision=precision, quiet=quiet)
        values: numpy.ndarray[Any, Any] = found.values
        return values

    def predict_proba(
        self,
        images: Any,
        *,
        temperature: float | None = None,
        batch_size: int = 32,
        precision: str = "float32",
        quiet: bool = False,
    ) -> numpy.ndarray[Any, Any]:
        """The probability of each class, `[n, classes]`, float64, at the model's temperature or at another."""
        logits = self.logits(images, batch_size=batch_size, precision=precision, quiet=quiet)
        found: numpy.ndarray[Any, Any] = self._loaded.probabilities(logits, temperature)
        return found

    def predict(
        self, images: Any, *, batch_size: int = 32, precision: str = "float32", quiet: bool = False
    ) -> numpy.ndarray[Any, Any]:
        """The most likely class of each image: its name, or its number where the model has no names. `[n]`."""
        import numpy

        best = self.logits(images, batch_size=batch_size, precision=precision, quiet=quiet).argmax(axis=1)
        found: numpy.ndarray[Any, Any] = best if self.classes is None else numpy.asarray(self.classes)[best]
        return found


#: The command wants a file to write; the same extraction in memory writes none.
_UNUSED = "features.npz"


def _features(found: Any, layer: str) -> Features:
    values, labels, paths, classes = found
    return Features(values, labels, tuple(paths), tuple(classes), layer)


def load(model: Any = None, **options: Unpack[LoadOptions]) -> Model:
    """Loads a model: a folder, a run, a checkpoint (.pth, .ckpt, .safetensors, …), or a name on the Hugging Face hub.

    Raises `retune.NotFoundError` if nothing is there, and `retune.Error` for anything missing, left over or inconsistent
    in it.
    """
    path, keywords = of_model(model, options)
    loaded = Model(path or "", keywords)
    loaded._loaded  # noqa: B018 (a mistake shows now)
    return loaded


def of_model(model: Any, options: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """What stands for a model on the command line, and the options with those that it was loaded with."""
    if isinstance(model, Model):
        return model.path or None, {**model.options, **options}
    if model is None or isinstance(model, (str, os.PathLike)):
        return None if model is None else os.fspath(model), dict(options)
    path = getattr(model, "path", None)
    if isinstance(path, Path):
        return os.fspath(path), dict(options)
    raise TypeError(f"a model is a path, a name, a Run or a Model, not {type(model).__name__}; see retune.from_torch")


def from_torch(
    module: Any,
    out: str | Path,
    *,
    arch: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    **options: Any,
) -> Model:
    """Writes the weights of a torch module to the folder `out`, as a model that `retune.fit` and timm take.

    timm's modules say what they are, and how they prepare images, but not the arguments that `timm.create_model` got besides
    the name: pass those as `model_args`. Of others, such as torchvision's, name the architecture with `arch` (timm's name).
    `classes` names the classes in the order of the logits. Further options are those of `retune.load`, such as `mean`, `std`
    and `size`.

    Raises `retune.Error` if the tensors are not those of the architecture.
    """
    out = Path(out)
    if out.is_dir() and any(out.iterdir()):
        raise Error(f"{out} is not empty; choose another folder")
    state = {
        name: tensor.detach().cpu().float().contiguous().numpy()
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point()
    }
    known = getattr(module, "pretrained_cfg", None)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.safetensors"
        _retune.write_tensors(weights, state)
        if arch is not None or known is None:
            load(weights, arch=arch, **options).save(out)
        else:
            config = {
                "architecture": known["architecture"],
                "num_classes": module.num_classes,
                "model_args": dict(model_args or {}),
                "pretrained_cfg": {name: value for name, value in dict(known).items() if _is_plain(value)},
            }
            (Path(folder) / "config.json").write_text(json.dumps(config))
            load(folder, **options).save(out)
    if classes is not None:
        path = out / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "label_names": list(classes)}, indent=2))
    return load(out)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value)
    )
