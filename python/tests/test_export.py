"""Models as ONNX files: what ONNX Runtime computes with them is what retune computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import retune
from PIL import Image

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FIXTURES = Path(__file__).parents[2] / "crates/retune/tests/fixtures/models"
#: At least one of every family; small, and with every option of its family in some of them.
MODELS = sorted(folder.parent.name for folder in FIXTURES.glob("*/config.json"))
OPSETS = [17, 18, 20, 22]
#: Both sides compute in single precision, with sums in another order.
TOLERANCE = 1e-4


def session(file: Path) -> object:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def outputs(file: Path, images: numpy.ndarray) -> numpy.ndarray:
    """What ONNX Runtime gives for a batch, after the file has passed ONNX's own checks."""
    onnx.checker.check_model(str(file), full_check=True)
    running = session(file)
    found: numpy.ndarray = running.run(None, {running.get_inputs()[0].name: images})[0]
    return found


def pixels(model: retune.Model, images: object) -> numpy.ndarray:
    """Images as the model takes them, `[n, channels, height, width]`."""
    size = model.preprocessing
    values = model.features(images, "input").values
    return values.reshape(len(values), -1, size["height"], size["width"])


def metadata(file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_there_are_models_of_every_family() -> None:
    prefixes = {"resnet", "vit", "convnext", "efficientnet"}
    assert {prefix for prefix in prefixes for name in MODELS if name.startswith(prefix)} == prefixes


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_gives_the_same_logits(name: str, photos: Path, tmp_path: Path) -> None:
    model = retune.load(FIXTURES / name)
    images = sorted(photos.glob("*/*.png"))[22:25]
    x, expected = pixels(model, images), model.logits(images)
    assert len(x) == 3
    for opset in OPSETS:
        file = model.export(tmp_path / "model.onnx", opset=opset)
        found = outputs(file, x)
        assert numpy.abs(found - expected).max() < TOLERANCE
        alone = session(file).run(None, {"pixel_values": x[:1]})[0]
        assert numpy.abs(alone - expected[:1]).max() < TOLERANCE


@pytest.mark.parametrize("name", ["resnet_basic", "vit_average_register", "convnext", "efficientnet_lite"])
def test_features_and_probabilities(name: str, photos: Path, tmp_path: Path) -> None:
    model = retune.load(FIXTURES / name)
    x = pixels(model, photos)
    features = outputs(model.export(tmp_path / "f.onnx", output="features"), x)
    expected = model.features(photos).values
    assert numpy.abs(features - expected).max() < TOLERANCE * max(1, numpy.abs(expected).max())
    probabilities = outputs(model.export(tmp_path / "p.onnx", output="probabilities"), x)
    assert numpy.abs(probabilities - model.predict_proba(photos)).max() < TOLERANCE


def test_a_run_keeps_its_classes_and_temperature(run: retune.Run, photos: Path, tmp_path: Path) -> None:
    file = run.model.export(tmp_path / "run.onnx", output="probabilities")
    found = outputs(file, pixels(run.model, photos))
    assert numpy.abs(found - run.model.predict_proba(photos)).max() < TOLERANCE
    told = metadata(file)
    assert json.loads(told["class_names"]) == run.classes and told["method"] == run.method
    assert told["retune_version"] == retune.__version__
    assert json.loads(told["mean"]) == pytest.approx(run.model.preprocessing["mean"])


def test_a_lora_run_is_exported_merged(photos: Path, tmp_path: Path) -> None:
    run = retune.fit(FIXTURES / "vit", photos, method="lora", epochs=1, lr=1e-2, out=tmp_path / "run", quiet=True)
    found = outputs(run.model.export(tmp_path / "m.onnx"), pixels(run.model, photos))
    assert numpy.abs(found - run.model.logits(photos)).max() < TOLERANCE


def test_another_image_size_resamples_the_position_embedding(photos: Path, tmp_path: Path) -> None:
    model = retune.load(FIXTURES / "vit", size=48)
    found = outputs(model.export(tmp_path / "m.onnx"), pixels(model, photos))
    assert numpy.abs(found - model.logits(photos)).max() < TOLERANCE


def test_weights_beside_the_graph_are_found(photos: Path, tmp_path: Path) -> None:
    model = retune.load(FIXTURES / "convnext")
    file = model.export(tmp_path / "m.onnx", external_data=True)
    assert (tmp_path / "m.onnx.data").stat().st_size > file.stat().st_size / 10
    assert numpy.abs(outputs(file, pixels(model, photos)) - model.logits(photos)).max() < TOLERANCE


def varied(channels: int) -> list[numpy.ndarray]:
    """Smooth images with noise, wider and higher than the model's, one of them smaller."""
    random = numpy.random.default_rng(0)
    images = []
    for height, width in [(64, 64), (97, 150), (201, 80), (20, 24)]:
        coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, channels), dtype=numpy.uint8)
        smooth = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].astype(int)
        images.append((smooth + random.integers(-20, 21, smooth.shape)).clip(0, 255).astype(numpy.uint8))
    return images


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "pytorch-bilinear", "pytorch-bicubic"])
@pytest.mark.parametrize("size", [32, (32, 48)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_the_graph_prepares_images_itself(
    interpolation: str, size: object, crop_mode: str, tmp_path: Path
) -> None:
    options = {"interpolation": interpolation, "size": size, "crop_mode": crop_mode, "crop_pct": 0.9}
    check_preprocessing(retune.load(FIXTURES / "resnet_basic", **options), tmp_path)


def test_gray_images_are_prepared_too(tmp_path: Path) -> None:
    check_preprocessing(retune.load(FIXTURES / "resnet_gray"), tmp_path)


def check_preprocessing(model: retune.Model, tmp_path: Path) -> None:
    file = model.export(tmp_path / "m.onnx", with_preprocessing=True)
    mean = model.preprocessing["mean"]
    # The preprocessing alone, which the first node of the model takes.
    whole = onnx.load(file)
    first = next(node for node in whole.graph.node if node.op_type == "Conv").input[0]
    whole.graph.output.insert(0, onnx.helper.make_tensor_value_info(first, onnx.TensorProto.FLOAT, [None] * 4))
    onnx.save(whole, tmp_path / "pixels.onnx")
    levels = 255 * numpy.array(model.preprocessing["std"]).reshape(1, -1, 1, 1)
    for number, image in enumerate(varied(len(mean))):
        saved = tmp_path / f"{number}.png"
        Image.fromarray(image if len(mean) > 1 else image[..., 0]).save(saved)
        found = outputs(tmp_path / "pixels.onnx", image[None])
        difference = numpy.abs(found - pixels(model, [saved])) * levels
        # ONNX Runtime resizes columns before rows for some shapes, and Pillow never does. Bytes are rounded and clipped in
        # between, which shows at the edges of these images. A crop that is off by a pixel differs by more than 5 on average.
        assert difference.max() < 10 and difference.mean() < 0.35, (image.shape, difference.max(), difference.mean())


def test_mistakes_are_errors(tmp_path: Path) -> None:
    model = retune.load(FIXTURES / "resnet_basic")
    with pytest.raises(retune.Error, match="must end with .onnx"):
        model.export(tmp_path / "model.pt")
    with pytest.raises(retune.Error, match="from 17 to 22"):
        model.export(tmp_path / "model.onnx", opset=7)
    with pytest.raises(retune.Error, match="cannot write"):
        model.export(tmp_path / "nowhere" / "model.onnx")
    assert list(tmp_path.iterdir()) == []
