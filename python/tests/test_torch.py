"""Models to and from torch."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import retune

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")


def pixels(model: retune.Model, photos: Path) -> object:
    size = model.preprocessing
    values = model.features(photos, "input").values
    channels = values.shape[1] // (size["height"] * size["width"])
    return torch.tensor(values.reshape(-1, channels, size["height"], size["width"]))


def test_a_fitted_model_is_a_timm_module_with_the_same_logits(run: retune.Run, photos: Path) -> None:
    module = run.model.to_timm()
    with torch.no_grad():
        logits = module(pixels(run.model, photos)).numpy()
    # Sums of a few thousand products in another order.
    assert numpy.abs(logits - run.model.logits(photos)).max() < 1e-4
    state = module.state_dict()
    assert all((state[name].numpy() == values).all() for name, values in run.model.state_dict().items())


def test_a_module_becomes_a_model_with_the_same_logits(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=3).eval()
    model = retune.from_torch(module, tmp_path / "model")
    assert model.architecture == "test_resnet" and model.num_classes == 3
    assert model.preprocessing["mean"] == pytest.approx(list(module.pretrained_cfg["mean"]))
    with torch.no_grad():
        logits = module(pixels(model, photos)).numpy()
    assert numpy.abs(logits - model.logits(photos)).max() < 1e-4
    with pytest.raises(retune.Error, match="is not empty"):
        retune.from_torch(module, tmp_path / "model")
    with pytest.raises(TypeError, match="from_torch"):
        retune.load(module)


def test_torchvisions_modules_need_their_architecture(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    module = torchvision.models.resnet18(num_classes=4)
    model = retune.from_torch(module, tmp_path / "model", arch="resnet18")
    assert model.num_classes == 4
    assert (model.state_dict()["layer4.1.conv2.weight"] == module.layer4[1].conv2.weight.detach().numpy()).all()
