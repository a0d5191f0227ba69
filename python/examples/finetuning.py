"""Fine-tunes the embedded model on embedded images, and compares it under shift: python python/examples/finetuning.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy
import retune


def main(folder: Path) -> float:
    """Fits, predicts, and maps; returns the accuracy under shift."""
    task = retune.demo.subpopulation_shift()
    model = retune.demo.backbone(folder / "backbone")
    print([layer.name for layer in model.layers])

    run = retune.fit(
        model, task.train, eval={"shifted": task.shifted}, method="lp-ft", epochs=2, lr=[1e-3, 3e-3], out=folder / "run"
    )
    print(run)
    shifted: retune.Evaluation = run.splits["shifted"]

    classes = run.model.predict(task.test.images[:8])
    probabilities = run.model.predict_proba(task.test.images[:8])
    print(list(zip(classes, probabilities.max(axis=1).round(3))))

    features = run.model.features(task.test)
    points = retune.UMAP(n_neighbors=15, n_epochs=100, random_state=0).fit_transform(numpy.asarray(features))
    similarity: float = retune.cka(model.features(task.test), features)
    print(f"map of {len(points)} images; CKA with the pretrained features: {similarity:.3f}")
    return shifted.accuracy


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        print(f"accuracy under shift: {main(Path(work)):.3f}")
