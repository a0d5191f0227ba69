"""Python and the command line do the same, to the bit, and take the same options."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy
import pytest
import retune
from conftest import program, program_json
from retune import _arguments


def test_a_run_has_the_bytes_of_the_command_lines(
    run: retune.Run, backbone: str, photos: Path, shifted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ["--epochs", "1", "--lr", "0.001", "--no-report", "--quiet"]
    program("fit", "--model", backbone, "--data", photos, "--eval", f"deployed={shifted}", "--out", out, *options)
    same = ["model/model.safetensors", "model/config.json", "plan.toml", "run.toml"]
    for name in same:
        assert (run.path / name).read_bytes() == (out / name).read_bytes(), name
    summary = json.loads((out / "summary.json").read_text())
    assert {**run.document, "seconds": 0} == {**summary, "seconds": 0}
    assert run.splits["deployed"].accuracy == summary["splits"]["deployed"]["accuracy"]


def test_features_are_those_of_the_file(backbone: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    program("features", "--model", backbone, "--data", photos, "--layer", "layer2", "--out", out)
    written = numpy.load(out)
    model = retune.load(backbone)
    for found in [
        retune.features(backbone, photos, layer="layer2"),
        retune.features(model, photos, layer="layer2"),
        model.features(photos, "layer2"),
        retune.features(backbone, photos, layer="layer2", out=tmp_path / "again.npz"),
    ]:
        assert (found.values == written["features"]).all()
        assert (found.labels == written["labels"]).all()
        assert list(found.paths) == list(written["paths"])
    assert (tmp_path / "again.npz").read_bytes() == out.read_bytes()


def test_precisions_are_those_of_the_command_line(run: retune.Run, backbone: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    program("features", "--model", backbone, "--data", photos, "--precision", "bfloat16", "--out", out)
    written = numpy.load(out)
    assert written["precision"].tolist() == ["bfloat16"]
    model = retune.load(backbone)
    exact = model.features(photos).values
    for found in [
        retune.features(backbone, photos, precision="bfloat16"),
        retune.features(model, photos, precision="bfloat16"),
        model.features(photos, precision="bfloat16"),
        retune.features(backbone, photos, precision="bfloat16", out=tmp_path / "again.npz"),
    ]:
        assert (found.values == written["features"]).all()
    assert (tmp_path / "again.npz").read_bytes() == out.read_bytes()
    assert (exact != written["features"]).any()
    # The model itself stays as it is.
    assert (model.features(photos).values == exact).all() and (model.features(photos, precision="float32").values == exact).all()
    with pytest.raises(retune.Error, match="expected float32, bfloat16, or auto"):
        model.logits(photos, precision="float16")

    document = program_json("eval", "--model", run.path, "--data", photos, "--precision", "bfloat16")
    assert retune.evaluate(run, photos, precision="bfloat16").document == document
    loss = document["precision"]
    logits, rounded = run.model.logits(photos), run.model.logits(photos, precision="bfloat16")
    assert loss["images"] == len(logits)
    assert loss["largest_logit_difference"] == pytest.approx(numpy.abs(logits - rounded).max(), rel=1e-6)
    assert loss["logit_range"] == pytest.approx(numpy.ptp(logits), rel=1e-6)
    assert loss["changed_predictions"] == (logits.argmax(axis=1) != rounded.argmax(axis=1)).sum()
    classes = numpy.asarray(run.model.classes)
    assert (run.model.predict(photos, precision="bfloat16") == classes[rounded.argmax(axis=1)]).all()
    assert (run.model.predict_proba(photos, precision="bfloat16").argmax(axis=1) == rounded.argmax(axis=1)).all()


def test_predictions_are_the_same(run: retune.Run, photos: Path) -> None:
    document = program_json("predict", photos / "green" / "00.png", photos / "red" / "03.png", "--model", run.path)
    images = [photos / "green" / "00.png", photos / "red" / "03.png"]
    assert retune.predict(run, images).document == document
    best = [image["classes"][0]["class"] for image in document]
    assert run.model.predict(images).tolist() == best
    probabilities = run.model.predict_proba(images)
    assert probabilities.max(axis=1).tolist() == [image["classes"][0]["probability"] for image in document]


def test_maps_and_similarities_are_the_same(backbone: str, photos: Path, tmp_path: Path) -> None:
    features = retune.features(backbone, photos)
    document = program_json("umap", "--model", backbone, "--data", photos, "--out", tmp_path / "map.json")
    found = retune.umap(features)
    assert numpy.asarray(found).tolist() == [[numpy.float32(point["x"]), numpy.float32(point["y"])] for point in document["points"]]
    assert found.trustworthiness == document["trustworthiness"]
    assert found.labels == tuple(point["label"] for point in document["points"])
    again = retune.umap(backbone, photos, out=tmp_path / "map.html")
    assert (numpy.asarray(again) == numpy.asarray(found)).all()
    assert "<script" in again.page.html
    saved = retune.umap(features, out=tmp_path / "map.csv")
    assert (numpy.asarray(saved) == numpy.asarray(found)).all()

    document = program_json("cka", "--model", backbone, "--data", photos, "--interpolations", "nearest,lanczos", "--size", "48")
    similarity = retune.cka(backbone, photos, interpolations=["nearest", "lanczos"], size=48)
    assert similarity.document == document
    frame = similarity.to_pandas()
    assert frame.loc["nearest", "nearest"] == pytest.approx(1) and list(frame.columns) == document["names"]


@pytest.mark.parametrize("command", sorted(set(_arguments.commands()) - {"demo", "completions"}))
def test_every_option_is_in_the_help(command: str) -> None:
    text = program(command, "--help")
    for option in _arguments.commands()[command].options.values():
        assert option.positional or f"--{option.name}" in text


def test_signatures_show_every_option() -> None:
    shown = inspect.signature(retune.fit).parameters
    assert {"model", "data", "lr", "warmup_epochs", "epochs", "method", "overwrite"} <= set(shown)
    assert (shown["epochs"].default, shown["method"].default, shown["no_shuffle"].default) == (10, "ft", False)
    assert "warmup_epochs: Number of warm-up epochs" in (retune.fit.__doc__ or "")


def test_keywords_become_options() -> None:
    line = _arguments.line
    assert line("fit", {"size": (64, 256), "mean": [0.5, 0.25, 0.0]}) == ["fit", "--size", "64x256", "--mean", "0.5,0.25,0.0"]
    assert line("fit", {"lr": numpy.float32(0.5), "epochs": numpy.int64(3)}) == ["fit", "--lr", "0.5", "--epochs", "3"]
    assert line("fit", {"eval": {"a": "x", "b": Path("y")}}) == ["fit", "--eval", "a=x", "--eval", "b=y"]
    assert line("fit", {"no_shuffle": False, "lr": None}) == ["fit"]
    assert line("fit", {"lr": -1}) == ["fit", "--lr=-1"]
    assert line("lr-find", {"from_": 1e-5}) == ["lr-find", "--from", "1e-05"]
    assert line("fit", {"lr_range": (1e-5, 1e-3)}) == ["fit", "--lr-range", "1e-05..0.001"]
    for wrong in [{"lr": True}, {"no_shuffle": 1}, {"lr": object()}]:
        with pytest.raises(TypeError):
            line("fit", wrong)


def test_every_function_of_the_command_line_has_a_python_one() -> None:
    functions = {name.replace("_", "-") for name in retune.__all__}
    without = {"demo", "completions", "models", "layers", "report", "verify", "knn", "probe", "merge-features", "eval", "export", "man"}
    assert set(_arguments.commands()) - without <= functions


def test_plans_are_the_same_and_can_be_edited(backbone: str, photos: Path, tmp_path: Path) -> None:
    plan = retune.plan(backbone, method="surgical", first="stem", last="layer1", epochs=1, lr=1e-3)
    line = ["--method", "surgical", "--first", "stem", "--last", "layer1", "--epochs", "1", "--lr", "0.001"]
    assert plan.toml.strip() == program("plan", "--model", backbone, *line, "--toml").strip()
    assert plan.document == program_json("plan", "--model", backbone, *line)
    run = retune.fit(backbone, photos, plan=plan, out=tmp_path / "run", no_report=True, quiet=True)
    assert run.plan.strip() == plan.toml.strip()


def test_a_run_goes_on_from_another(run: retune.Run, tmp_path: Path) -> None:
    options = ["--from", run.path, "--epochs", "1", "--no-report", "--quiet"]
    program("fit", *options, "--out", tmp_path / "typed")
    further = retune.fit(from_=run, epochs=1, out=tmp_path / "run", no_report=True, quiet=True)
    model = "model/model.safetensors"
    assert (further.path / model).read_bytes() == (tmp_path / "typed" / model).read_bytes()
