"""What others read of a run: TensorBoard's event files, the model card, and a function called for each epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import retune


def test_tensorboard_reads_what_metrics_say(backbone: str, photos: Path, shifted: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = retune.fit(
        backbone, photos, eval={"dark": shifted}, method="ft", epochs=2, lr=1e-3, log_to="tensorboard", out=tmp_path, quiet=True
    )

    def series(name: str) -> Any:
        return accumulator.EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload()

    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    trained = series("fine-tuning/lr 0.001")
    for split in ("train", "val"):
        for measure in ("loss", "accuracy"):
            found = [(event.step, event.value) for event in trained.Scalars(f"{measure}/{split}")]
            expected = [(row["epoch"], row[measure]) for row in rows if row["split"] == split]
            # TensorBoard keeps single precision.
            assert [step for step, _ in found] == [step for step, _ in expected]
            assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)
    assert "learning rate/head" in trained.Tags()["scalars"]
    result = series("result")
    assert result.Scalars("accuracy/dark")[0].value == pytest.approx(run.splits["dark"].accuracy, rel=1e-6)
    (image,) = result.Images("confusion/dark")
    assert image.encoded_image_string.startswith(b"\x89PNG") and image.width > 300 and image.height > 200


def test_the_hub_reads_the_model_card(run: retune.Run) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(run.path / "model" / "README.md")
    assert card.data.library_name == "timm" and card.data.pipeline_tag == "image-classification"
    results = {result.dataset_split: result.metric_value for result in card.data.eval_results}
    assert results == {name: found.accuracy for name, found in run.splits.items()}
    assert "`green`, `red`" in card.text


def test_each_epoch_is_told(backbone: str, photos: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    retune.fit(backbone, photos, epochs=2, lr=1e-3, out=tmp_path / "run", quiet=True, on_epoch=told.append)
    assert told == [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def test_an_exception_in_an_epoch_leaves_a_run_to_resume(backbone: str, photos: Path, tmp_path: Path) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["phase"] == "fine-tuning" and row["epoch"] == 1:
            raise LookupError("enough")

    keywords: dict[str, Any] = dict(method="ft", epochs=3, lr=1e-3, quiet=True)
    with pytest.raises(LookupError, match="enough"):
        retune.fit(backbone, photos, out=tmp_path / "stopped", on_epoch=stop, **keywords)
    resumed = retune.resume(tmp_path / "stopped", quiet=True)
    whole = retune.fit(backbone, photos, out=tmp_path / "whole", **keywords)
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in (resumed.path, whole.path)]
    assert weights[0] == weights[1]
