"""Results: values, frames, pictures, HTML, pickles."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import retune


def test_a_run_is_its_summary(run: retune.Run) -> None:
    assert run.method == "ft" and run.classes == ["green", "red"] and run.seed == 0
    found = run.splits["deployed"]
    assert found.n == 12 and found.accuracy_interval[0] <= found.accuracy <= found.accuracy_interval[1]
    frame = run.to_pandas()
    assert frame.loc["val", "accuracy"] == run.splits["val"].accuracy
    assert set(run.metrics_to_pandas()["split"]) >= {"train", "val"}
    assert retune.Run.read(run.path).document == run.document
    with pytest.raises(AttributeError):
        run.nothing
    html = run._repr_html_()
    assert "95 % interval" in html and "deployed" in html and "report.html" in html
    assert "<iframe" in run.report._repr_html_()


def test_results_are_pickled(run: retune.Run, backbone: str, photos: Path) -> None:
    again = pickle.loads(pickle.dumps(run))
    assert again.document == run.document and again.path == run.path
    assert (again.model.logits(photos) == run.model.logits(photos)).all()
    features = pickle.loads(pickle.dumps(retune.features(backbone, photos)))
    assert (features.values == retune.features(backbone, photos).values).all()
    plan = pickle.loads(pickle.dumps(retune.plan(backbone)))
    assert plan.toml == retune.plan(backbone).toml


def test_pictures_are_axes(run: retune.Run, backbone: str, photos: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    features = retune.features(backbone, photos)
    similarity = retune.cka(backbone, photos, layer=["layer1", "layer2"], interpolations=["nearest", "box"], size=40)
    for drawn in [run, retune.umap(features), similarity]:
        assert drawn.plot().figure is not None
    assert similarity.plot(layer="layer2").get_title().startswith("CKA at layer2")


def test_comparisons_curves_and_soups(backbone: str, photos: Path, shifted: Path, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    options = {"methods": ["lp", "ft"], "epochs": 1, "lr": 1e-3, "quiet": True, "no_report": True}
    estimate = retune.estimate(backbone, photos, seeds=2, **options)
    assert list(estimate.to_pandas()["runs"]) == [2, 2] and estimate.seconds > 0 and "About " in estimate._repr_html_()
    assert "dry_run" not in (retune.compare.__doc__ or "")
    with pytest.raises(TypeError, match="retune.estimate"):
        retune.compare(backbone, photos, dry_run=True)  # type: ignore[call-arg]
    comparison = retune.compare(backbone, photos, eval={"deployed": shifted}, out=tmp_path / "runs", seeds=2, **options)
    assert len(comparison.runs) == 4
    assert set(comparison.to_pandas()["method"]) == {"lp", "ft"}
    assert comparison.plot().figure is not None and "deployed" in comparison._repr_html_()
    fitted = [run for run in comparison.runs if run.method == "ft"]
    curve = retune.wise_ft(fitted[0], alphas=[0, 0.5, 1], quiet=True)
    assert list(curve.to_pandas().index) == [0, 0.5, 1] and "deployed" in curve.to_pandas()
    assert curve.plot().figure is not None
    soup = retune.soup(fitted, out=tmp_path / "soup", quiet=True)
    assert soup.model.num_classes == 2 and "<table" in soup._repr_html_()
    again = retune.resume(comparison, quiet=True)
    assert isinstance(again, retune.Comparison)


def test_advice_audits_and_rates(backbone: str, photos: Path) -> None:
    advice = retune.advise(backbone, photos, trial_epochs=1, trial_lr=1e-3, quiet=True)
    assert len(advice.to_pandas()) == len(advice.document["candidates"])
    assert "method" in advice.options and "retune.fit(model, data, method=" in repr(advice)
    audit = retune.audit(backbone, photos, interpolations=["nearest"], quiet=True)
    assert len(audit.to_pandas()) == 2
    rates = retune.lr_find(backbone, photos, steps=10, quiet=True)
    assert rates.plot().get_xscale() == "log"


def test_evaluations_are_of_the_models_classes(run: retune.Run, shifted: Path) -> None:
    found = retune.evaluate(run, shifted, quiet=True)
    assert found.splits["all"].accuracy == run.splits["deployed"].accuracy
    assert found.to_pandas().loc["all", "n"] == 12


def test_what_to_do_next_is_a_call(
    run: retune.Run, backbone: str, photos: Path, shifted: Path, arrays: tuple[numpy.ndarray, list[str]], tmp_path: Path
) -> None:
    options = {"epochs": 1, "lr": 1e-3, "quiet": True, "no_report": True}
    in_memory = retune.fit(backbone, arrays, out=tmp_path / "run", **options)
    found = [
        run,
        in_memory,
        retune.compare(backbone, photos, methods=["lp", "ft"], out=tmp_path / "runs", **options),
        retune.evaluate(run, shifted, quiet=True),
        retune.audit(backbone, photos, interpolations=["nearest"], quiet=True),
        retune.cka(run, photos, layers=True, quiet=True),
    ]
    for result in found:
        shown = [repr(result), result._repr_html_() if hasattr(result, "_repr_html_") else ""]
        assert not any(re.search(r"retune [a-z-]+ -|\B--[a-z]", text) for text in shown), shown
    assert "\nNext: " in repr(found[3])
    calls = [line.strip() for result in found for line in repr(result).splitlines() if line.startswith("  retune.")]
    assert f'retune.evaluate("{tmp_path / "run"}", new_images)' in calls and len(calls) >= 5
    images = [photos / "red" / "00.png"]
    for call in calls:
        if not call.startswith(("retune.compare", "retune.lr_find")):
            eval(call, {"retune": retune, "new_images": shifted, "images": images})


def test_importing_loads_nothing_that_takes_long() -> None:
    # How long it takes is measured in benches/python.py.
    code = (
        "import sys, retune;"
        "print(*{'numpy', 'pandas', 'PIL', 'tqdm', 'matplotlib', 'torch', 'timm', 'sklearn'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


def test_models_name_their_layers_and_tensors(backbone: str) -> None:
    model = retune.load(backbone)
    assert model.layers.names[0] == "stem" and model.layers.stages[-1] == "head"
    assert model.layers[0].output == (16, 28, 28) or len(model.layers[0].output) == 3
    assert sum(layer.parameters for layer in model.layers) == sum(tensor.parameters for tensor in model.tensors)
    assert model.tensors[0].name == "conv1.0.weight"
    state = model.state_dict()
    assert state["conv1.0.weight"].dtype == numpy.float32 and state["conv1.0.weight"].shape == model.tensors[0].shape
    assert model.classes is not None and len(model.classes) == model.num_classes == 10
    assert "<table" in model._repr_html_()
    other = retune.load(backbone, size=56, interpolation="nearest")
    assert other.preprocessing["width"] == 56 and other.preprocessing["interpolation"] == "nearest"


def test_models_are_saved_as_they_are(backbone: str, photos: Path, tmp_path: Path) -> None:
    model = retune.load(backbone)
    again = retune.load(model.save(tmp_path / "model"))
    assert (again.logits(photos) == model.logits(photos)).all()
    with pytest.raises(retune.Error, match="is not empty"):
        model.save(tmp_path / "model")


def test_resizing_is_pillows_and_corruptions_repeat() -> None:
    pil = pytest.importorskip("PIL.Image")
    image = pil.fromarray(numpy.arange(60 * 44 * 3, dtype=numpy.uint8).reshape(44, 60, 3))
    for name, filter in [("bicubic", pil.BICUBIC), ("lanczos", pil.LANCZOS), ("nearest", pil.NEAREST)]:
        expected = numpy.asarray(image.resize((31, 17), filter))
        assert (numpy.asarray(retune.resize(image, (31, 17), name)) == expected).all(), name
        assert (retune.resize(numpy.asarray(image), (31, 17), name) == expected).all()
    foggy = retune.corrupt(image, "fog:3")
    assert foggy.size == image.size
    assert (numpy.asarray(foggy) == numpy.asarray(retune.corrupt(image, "fog:3"))).all()
    assert (numpy.asarray(foggy) != numpy.asarray(retune.corrupt(image, "fog:3", index=1))).any()
    with pytest.raises(retune.Error, match="frost"):
        retune.corrupt(image, "frog:3")
    with pytest.raises(retune.Error, match="bicubic"):
        retune.resize(image, (8, 8), "cubic-ish")
