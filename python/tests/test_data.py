"""Images in memory are the images of files."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import retune
from conftest import color
from PIL import Image
from retune._data import _group, located


def pillow(photos: Path) -> list[Image.Image]:
    return [Image.open(path) for path in sorted(photos.glob("*/*.png"))]


def test_every_way_to_hold_images_gives_the_same_features(
    backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]]
) -> None:
    pandas = pytest.importorskip("pandas")
    images, labels = arrays
    paths = sorted(photos.glob("*/*.png"))
    expected = retune.features(backbone, photos)
    numbers = [int(label == "red") for label in labels]
    frame = pandas.DataFrame({"path": paths, "label": labels})
    for data in [
        (images, labels),
        (list(images), labels),
        (pillow(photos), labels),
        (paths, labels),
        retune.Images(images, numbers, ["green", "red"]),
        retune.Images(numpy.asfortranarray(images), labels),
        retune.Images(images[:, :, ::-1][:, :, ::-1], labels),
        frame,
        Pairs(images, numbers),
    ]:
        found = retune.features(backbone, data)
        assert (found.values == expected.values).all(), type(data)
        assert found.class_names() == expected.class_names()
    assert (retune.features(backbone, images).labels == -1).all()


class Pairs:
    """What torchvision's data sets look like."""

    classes = ["green", "red"]

    def __init__(self, images: numpy.ndarray, labels: list[int]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), self.labels[index]


def test_data_sets_of_torch_and_the_hub(backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]]) -> None:
    images, labels = arrays
    expected = retune.features(backbone, photos)
    numbers = [int(label == "red") for label in labels]
    torch = pytest.importorskip("torch")
    subset = torch.utils.data.Subset(Pairs(images, numbers), range(48))
    tensors = torch.utils.data.TensorDataset(torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(numbers))
    for data in (subset, tensors):
        assert (retune.features(backbone, data).values == expected.values).all()
    assert retune.features(backbone, subset).classes == ("green", "red")
    assert retune.features(backbone, tensors).classes == ("0", "1")
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=["green", "red"])})
    hub = datasets.Dataset.from_dict({"img": pillow(photos), "fine_label": numbers}, features=features)
    assert (retune.features(backbone, hub).values == expected.values).all()
    both = datasets.DatasetDict({"train": hub, "test": hub.select(range(3))})
    assert len(retune.features(backbone, both, split="test")) == 3


def test_opacity_and_gray_are_those_of_files(backbone: str, tmp_path: Path) -> None:
    clear = Image.fromarray(numpy.dstack([color("red", 1), numpy.arange(1024).reshape(32, 32) % 256]).astype("uint8"), "RGBA")
    gray = Image.fromarray(color("green", 2)).convert("L")
    deep = Image.fromarray((numpy.arange(1024).reshape(32, 32) * 60).astype("uint16"))
    palette = Image.fromarray(color("green", 3)).convert("P")
    for number, image in enumerate((clear, gray, deep, palette)):
        path = tmp_path / f"{number}.png"
        image.save(path)
        from_file = retune.features(backbone, path, layer="input").values
        assert (retune.features(backbone, [image], layer="input").values == from_file).all(), image.mode
    grays = numpy.asarray(gray)[None]
    expected = retune.features(backbone, [gray], layer="input").values
    assert (retune.features(backbone, grays, layer="input").values == expected).all()
    assert (retune.features(backbone, grays[..., None], layer="input").values == expected).all()


def test_a_frame_is_the_manifest_that_it_writes(
    backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    _, labels = arrays
    spaced = [f"{label} " if number % 3 else f" {label}" for number, label in enumerate(labels)]
    columns = {
        " Path": [str(path) for path in sorted(photos.glob("*/*.png"))],
        "LABEL": spaced,
        "split": ["train ", "train", " val"] * 16,
        "group": ["a", " a", "b ", numpy.nan, None, " "] * 8,
    }
    frame = pandas.DataFrame(columns)
    frame.to_csv(tmp_path / "list.csv", index=False)
    options = {"method": "lp", "no_report": True, "quiet": True}
    one = retune.fit(backbone, frame, out=tmp_path / "one", **options)
    other = retune.fit(backbone, tmp_path / "list.csv", out=tmp_path / "other", **options)
    assert one.classes == other.classes == ["green", "red"]
    assert one.splits == other.splits and {group["group"] for group in one.splits["val"].groups} == {"b"}
    numbers = retune.Images(photos, groups=[3.0, numpy.nan, pandas.NA, None, ""]).groups
    assert [_group(number) for number in numbers] == ["3", None, None, None, None]


def test_rows_that_lack_something_are_counted(
    backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    images, labels = arrays
    paths = [str(path) for path in sorted(photos.glob("*/*.png"))]
    frame = pandas.DataFrame({"path": paths, "label": labels, "split": ["train", "val"] * 24})

    def without(column: str, rows: list[int], value: object) -> pandas.DataFrame:
        return frame.assign(**{column: [value if row in rows else old for row, old in enumerate(frame[column])]})

    known = [None if number in (7, 9) else label for number, label in enumerate(labels)]
    for data, sentence in [
        (without("label", [5, 9, 30], numpy.nan), r"3 of 48 rows lack a label; the first is row 5\b"),
        (without("label", [30, 40], " "), r"2 of 48 rows lack a label; the first is row 30\b"),
        (without("split", [4], None), "1 of 48 rows lack a split; the first is row 4"),
        (without("path", [7, 8], None), "rows lack a path; the first is row"),
        ((images, known), "2 of 48 images lack a label; the first is image 7"),
    ]:
        with pytest.raises(retune.Error, match=sentence):
            retune.fit(backbone, data, out=tmp_path / "run", quiet=True)
    # What needs no labels takes them as they are.
    assert retune.features(backbone, (images, known), quiet=True).class_names()[6:8] == ["green", None]


def test_what_is_known_of_images_comes_as_arrays_and_series(
    backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]]
) -> None:
    pandas = pytest.importorskip("pandas")
    images, labels = arrays
    names, groups = [f"{number}.png" for number in range(48)], [f"day {number % 5}" for number in range(48)]
    expected = located(retune.Images(images, labels, ["red", "green"], groups, names)).path
    for kind in (numpy.array, pandas.Series, pandas.Index, lambda values: pandas.Series(values, index=range(7, len(values) + 7))):
        found = retune.Images(images, kind(labels), kind(["red", "green"]), kind(groups), kind(names))
        assert located(found).path == expected
    unknown = retune.Images(images, pandas.Series(labels, dtype="string").where(lambda label: label != "red"))
    assert retune.features(backbone, unknown, quiet=True).class_names() == ["green"] * 24 + [None] * 24
    paths = [str(path) for path in sorted(photos.glob("*/*.png"))]
    values = retune.features(backbone, paths, quiet=True).values
    for several in (numpy.array(paths), pandas.Series(paths), pandas.Series(paths, index=range(7, 55))):
        assert (retune.features(backbone, several, quiet=True).values == values).all()


def test_splits_and_shifts_in_memory(backbone: str, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path) -> None:
    images, labels = arrays
    part = slice(None, None, 3)
    data = {"train": (images, labels), "val": (images[part], labels[part]), "test": (images[part], labels[part])}
    # A shift alone is one of the held-out images.
    shifted = {"flipped": ((images, labels), "@label_flip"), "foggy": ((images, labels), "@fog:3"), "own": "@label_flip"}
    run = retune.fit(backbone, data, eval=shifted, method="lp", out=tmp_path / "run", quiet=True)
    assert list(run.splits) == ["val", "test", "flipped", "foggy", "own"]
    assert run.splits["test"].n == 16 and run.splits["test"].accuracy == 1.0
    assert run.splits["flipped"].accuracy == 0.0
    assert run.splits["own"].n == 16 and run.splits["own"].accuracy == 0.0
    # All of these are training images.
    assert {caveat["set"] for caveat in run.caveats} == set(run.splits)
    assert retune.evaluate(run.model, ([255 - images[0], 255 - images[-1]], [labels[0], labels[-1]]), quiet=True).caveats == []


def test_a_fit_on_an_array_is_one_on_files(
    backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path
) -> None:
    options = {"method": "ft", "epochs": 1, "lr": 1e-3, "no_report": True, "quiet": True}
    files = retune.fit(backbone, photos, out=tmp_path / "files", **options)
    images, labels = arrays
    # What is held out depends on the images' names.
    names = [f"{label}/{number % 24:02}.png" for number, label in enumerate(labels)]
    memory = retune.fit(backbone, retune.Images(images, labels, names=names), out=tmp_path / "memory", **options)
    one, other = files.model.state_dict(), memory.model.state_dict()
    assert all((one[name] == other[name]).all() for name in one)


def test_an_array_is_not_copied() -> None:
    images = numpy.zeros((4_000, 64, 64, 3), numpy.uint8)
    before = resident()
    held = located(images)
    # 49 MB of pixels; what is kept of each image is its name and position.
    assert resident() - before < 12 << 20
    assert held.path.startswith("memory:")
    again = located(images)
    assert again.path == held.path
    images[17, 3, 5, 1] = 1
    assert located(images).path != held.path


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_what_is_wrong_with_data_is_said(backbone: str, arrays: tuple[numpy.ndarray, list[str]]) -> None:
    pandas = pytest.importorskip("pandas")
    images, labels = arrays
    for data, sentence in [
        (images.astype(numpy.float32), "uint8"),
        (images.transpose(0, 3, 1, 2).copy(), r"\[n, height, width, channels\]"),
        ((images, labels[:-1]), "47 labels for 48 images"),
        (retune.Images(images, labels, ["green", "blue"]), "'red' is none of the classes green, blue"),
        (retune.Images(images, [7] * 48, ["green", "red"]), "the label 7"),
        (pandas.DataFrame({"url": ["x"]}), "none of the columns path"),
    ]:
        with pytest.raises(retune.Error, match=sentence):
            retune.features(backbone, data)
    with pytest.raises(TypeError, match="Images"):
        retune.features(backbone, 3)
    with pytest.raises(retune.NotFoundError):
        retune.features(backbone, [Path("absent.png")])


