"""Images as Python has them, as data that commands read.

Paths go to the library as they are. Everything else is lent to it under a location in memory, which is a hash of what is in
it: arrays and pixels, labels, and paths.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import _retune
from ._errors import Error

#: Names of columns, in the order in which they are looked for.
_PATHS = ("path", "file", "file_name", "filename", "filepath", "file_path", "image_path", "image")
_IMAGES = ("image", "img", "pixels", "pixel_values", "photo")
_LABELS = ("label", "labels", "class", "target", "fine_label", "category")
_SPLITS, _GROUPS = ("split",), ("group",)


@dataclass(frozen=True)
class Images:
    """Images with what is known of each.

    Parameters
    ----------
    images
        A uint8 array `[n, height, width]` or `[n, height, width, channels]` (1, 3 or 4 channels), or any sequence of PIL
        images, uint8 arrays, and paths. A C-contiguous array of 1 or 3 channels is not copied; it must not change while it
        is used.
    labels
        A class for each image: a name, or a number. None, or `None` for an image, where it is unknown.
    classes
        The names of the classes that numbers stand for, in order. Without them, names are sorted, and numbers become names.
    groups
        The group of each image (a patient, a place), for accuracy by group; None, NaN, or nothing for an image without one.
    names
        What each image is called in results; its number otherwise.
    """

    images: Any
    labels: Any = None
    classes: Sequence[str] | None = None
    groups: Sequence[str | None] | None = None
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class Located:
    """Data that a command can name, and what keeps it there."""

    path: str
    lent: Any = None
    #: How many images lack a label, and which is the first, if only some lack one.
    unlabeled: str | None = None
    #: Of images in memory, how many there are, and hashes of what is known of them.
    content: Mapping[str, Any] | None = None


def located(data: Any) -> Located:
    """Data under a name that commands read.

    Takes a path or the name of a hub data set; `Images`; a pair of images and labels; a mapping of such by split (`train`,
    `val`, `test`, …); a `datasets.Dataset` or `DatasetDict`; a `torch.utils.data.Dataset`; a pandas frame with a column of
    paths; and images without labels.
    """
    if isinstance(data, (str, os.PathLike)):
        return Located(os.fspath(data))
    if isinstance(data, Located):
        return data
    if _is_frame(data):
        found = _lent(_frame_splits(data))
        return replace(found, unlabeled=_unlabeled_rows(data))
    if isinstance(data, Mapping):
        return _lent({name: images(part) for name, part in data.items()})
    return _lent({"all": images(data)})


def images(data: Any) -> Images:
    """Images of any kind that `located` takes, but for paths and mappings."""
    if isinstance(data, Images):
        return data
    if isinstance(data, tuple) and len(data) == 2 and not _is_image(data[0]):
        return Images(*data)
    if _is_frame(data):
        return _frame_images(data)
    if hasattr(data, "features") and hasattr(data, "column_names"):
        return _hub_images(data)
    if _is_image(data):
        return Images([data])
    if isinstance(data, (list, tuple)) or hasattr(data, "__array_interface__"):
        return Images(data)
    if hasattr(data, "iloc"):
        # A pandas series has its own numbers.
        return Images(list(data))
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return _indexed_images(data)
    if isinstance(data, (str, os.PathLike)):
        raise Error("a path cannot be a split of data in memory; write a manifest with a column 'split' instead")
    if isinstance(data, Iterable):
        return Images(list(data))
    raise TypeError(f"{type(data).__name__} is not data that retune reads; see retune.Images")


def _lent(splits: Mapping[str, Images]) -> Located:
    classes = _classes(splits.values())
    position = {name: index for index, name in enumerate(classes)}
    parts = []
    unlabeled = None
    for name, split in splits.items():
        held = _retune.Held(_contiguous(split.images))
        labels: list[int | None] = []
        if split.labels is not None:
            labels = [_label(label, split, position) for label in split.labels]
        groups = [] if split.groups is None else [_group(group) for group in split.groups]
        names = [] if split.names is None else [str(name) for name in split.names]
        for what, values in (("labels", labels), ("groups", groups), ("names", names)):
            if len(values) not in (0, len(held)):
                raise Error(f"there are {len(values)} {what} for {len(held)} images")
        parts.append((name, held, labels, groups, names))
        unlabeled = unlabeled or _lacking(labels, range(len(labels)), "images lack a label", "image")
    lent = _retune.lend(parts, classes)
    content = {
        "images": sum(len(held) for _, held, *_ in parts),
        "classes": _hash(classes),
        "labels": _hash(labels for _, _, labels, _, _ in parts),
        "groups": _hash(groups for _, _, _, groups, _ in parts),
        "names": _hash([name, *names] for name, _, _, _, names in parts),
    }
    return Located(lent.path, lent, unlabeled, content)


def _hash(values: Iterable[Any]) -> str:
    found = hashlib.sha256()
    for value in values:
        found.update(f"{value!r}\n".encode())
    return found.hexdigest()


def _lacking(values: Sequence[Any], numbers: Iterable[Any], what: str, one: str) -> str | None:
    """How many values are None, and which is the first; None if all are, or none is."""
    missing = [number for number, value in zip(numbers, values) if value is None]
    if not 0 < len(missing) < len(values):
        return None
    return f"{len(missing):,} of {len(values):,} {what}; the first is {one} {missing[0]}"


def _classes(splits: Iterable[Images]) -> list[str]:
    """The names of all classes: those that are given, else sorted; numbers in their order."""
    splits = list(splits)
    given = [list(split.classes) for split in splits if split.classes is not None]
    if given:
        if any(classes != given[0] for classes in given):
            raise Error("the splits of one data set name different classes")
        return [str(name) for name in given[0]]
    labels = {label for split in splits for label in _plain(split.labels) if label is not None}
    if all(isinstance(label, int) for label in labels):
        return [str(label) for label in sorted(labels)]
    return sorted(str(label) for label in labels)


def _plain(labels: Any) -> list[Any]:
    """Labels as Python's strings and numbers."""
    if labels is None:
        return []
    plain = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    # -1 stands for an unknown class, as in feature files.
    return [None if _is_missing(label) or label == -1 else _unwrapped(label) for label in plain]


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or what pandas has for them."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        # pandas.NA is neither equal to itself nor not; an array is many values.
        return type(value).__name__ == "NAType"


def _group(group: Any) -> str | None:
    """The name of a group; None where it is missing or empty, as in a manifest."""
    return None if _is_missing(group) else str(_unwrapped(group)) or None


def _unwrapped(label: Any) -> Any:
    label = label.item() if hasattr(label, "item") else label
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _label(label: Any, split: Images, position: Mapping[str, int]) -> int | None:
    (label,) = _plain([label])
    if label is None:
        return None
    if isinstance(label, int) and split.classes is not None:
        if not 0 <= label < len(position):
            raise Error(f"the label {label} is none of the {len(position)} classes")
        return label
    try:
        return position[str(label)]
    except KeyError:
        raise Error(f"the label {label!r} is none of the classes {', '.join(position)}") from None


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "iloc")


def _is_image(data: Any) -> bool:
    """Whether something is a single image and not several."""
    if hasattr(data, "mode") and hasattr(data, "getbands"):
        return True
    shape = getattr(data, "shape", None)
    return shape is not None and (len(shape) == 2 or (len(shape) == 3 and shape[-1] in (3, 4)))


def _column(names: Iterable[Any], candidates: Sequence[str]) -> Any:
    """The first of the candidates that there is, as it is written."""
    written = {str(name).strip().lower(): name for name in reversed(list(names))}
    return next((written[name] for name in candidates if name in written), None)


def _fields(frame: Any, column: Any) -> list[Any]:
    """The values of a column as a manifest has them: without spaces around them, and None for what is missing or empty."""

    def field(value: Any) -> Any:
        if _is_missing(value):
            return None
        return (value.strip() or None) if isinstance(value, str) else value

    return [field(value) for value in frame[column].tolist()]


def _frame_splits(frame: Any) -> dict[str, Images]:
    split = _column(frame.columns, _SPLITS)
    names = [] if split is None else _fields(frame, split)
    if all(name is None for name in names):
        return {"all": _frame_images(frame)}
    lacking = _lacking(names, frame.index, "rows lack a split", "row")
    if lacking is not None:
        raise Error(lacking)
    return {str(name): _frame_images(frame[[own == name for own in names]]) for name in dict.fromkeys(names)}


def _frame_images(frame: Any) -> Images:
    path = _column(frame.columns, _PATHS)
    if path is None:
        raise Error(f"the frame has none of the columns {', '.join(_PATHS)}; it has {', '.join(map(str, frame.columns))}")
    label, group = _column(frame.columns, _LABELS), _column(frame.columns, _GROUPS)
    paths = _fields(frame, path)
    if any(path is None for path in paths):
        raise Error(_lacking(paths, frame.index, "rows lack a path", "row") or "no row has a path")
    return Images(
        paths,
        labels=None if label is None else _fields(frame, label),
        groups=None if group is None else _fields(frame, group),
        names=[os.fspath(path) for path in paths] if all(isinstance(path, (str, os.PathLike)) for path in paths) else None,
    )


def _unlabeled_rows(frame: Any) -> str | None:
    label = _column(frame.columns, _LABELS)
    return None if label is None else _lacking(_fields(frame, label), frame.index, "rows lack a label", "row")


def _hub_images(data: Any) -> Images:
    image, label = _column(data.column_names, _IMAGES), _column(data.column_names, _LABELS)
    if image is None:
        raise Error(f"the data set has none of the columns {', '.join(_IMAGES)}; it has {', '.join(data.column_names)}")
    names = None if label is None else getattr(data.features[label], "names", None)
    labels = None if label is None else list(data[label])
    return Images((data[index][image] for index in range(len(data))), labels=labels, classes=names)


def _indexed_images(data: Any) -> Images:
    """The images of anything with a length that gives pairs of an image and a label, such as torch's data sets."""
    labels: list[Any] = []

    def each() -> Iterator[Any]:
        for index in range(len(data)):
            item = data[index]
            if isinstance(item, Mapping):
                image, label = _column(item, _IMAGES), _column(item, _LABELS)
                if image is None:
                    raise Error(f"an item has none of {', '.join(_IMAGES)}; it has {', '.join(map(str, item))}")
                labels.append(None if label is None else item[label])
                yield item[image]
            elif isinstance(item, (tuple, list)):
                labels.append(item[1] if len(item) > 1 else None)
                yield item[0]
            else:
                labels.append(None)
                yield item

    arrays = [pixels(image) for image in each()]
    return Images(arrays, labels=labels, classes=_torch_classes(data))


def _torch_classes(data: Any) -> list[str] | None:
    """The classes that torchvision's data sets name, also behind a `Subset`."""
    while data is not None:
        classes = getattr(data, "classes", None)
        if classes is not None:
            # Those of some are tuples of synonyms.
            return [name if isinstance(name, str) else str(name[0]) for name in classes]
        data = getattr(data, "dataset", None)
    return None


def _contiguous(images: Any) -> Any:
    """One array as the library takes it, or an iterator over single images."""
    import numpy

    if hasattr(images, "__array_interface__") or isinstance(images, numpy.ndarray):
        array = numpy.asarray(images)
        if array.dtype.kind not in "OU":
            _check_bytes(array)
            channels = array.shape[-1] if array.ndim == 4 else 1
            if array.ndim not in (3, 4) or channels not in (1, 3, 4):
                raise Error(f"images are [n, height, width, channels], and not {list(array.shape)}")
            if channels != 4:
                return numpy.ascontiguousarray(array)
    return (pixels(image) for image in images)


def _check_bytes(array: Any) -> None:
    if array.dtype != "uint8":
        raise Error(
            f"images have values from 0 to 255 (uint8), and not {array.dtype}; retune prepares them as the model wants, so pass "
            "them before any transform"
        )


def pixels(image: Any) -> Any:
    """One image as the library takes it: an array `[height, width, 3]`, an encoded image, or a path."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if isinstance(image, bytes):
        return image
    import numpy

    if hasattr(image, "mode") and hasattr(image, "getbands"):
        return _of_pillow(image)
    if hasattr(image, "detach") and hasattr(image, "permute"):
        # torch has channels first.
        image = image.detach().cpu().numpy()
        image = numpy.moveaxis(image, 0, -1) if image.ndim == 3 else image
    array = numpy.asarray(image)
    _check_bytes(array)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 1):
        return numpy.repeat(array.reshape(*array.shape[:2], 1), 3, axis=-1)
    if array.ndim == 3 and array.shape[-1] == 4:
        from PIL import Image

        return _of_pillow(Image.fromarray(array, "RGBA"))
    if array.ndim != 3 or array.shape[-1] != 3:
        raise Error(f"an image is [height, width, channels], and not {list(array.shape)}")
    return array


def _of_pillow(image: Any) -> Any:
    import numpy

    if image.mode in ("RGB", "L", "1") and "transparency" not in image.info:
        return numpy.asarray(image.convert("RGB"))
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return numpy.asarray(image.convert("RGB"))
    # The library has its own way with opacity and 16 bits, which it finds in a PNG file.
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()
