"""scikit-learn's interface."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy
import pytest
import retune

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.manifold import trustworthiness  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

#: Checks of scikit-learn that UMAP does not meet, and why.
EXPECTED = {
    "check_fit2d_1sample": "a map needs two points",
    "check_methods_subset_invariance": "a map is of all its points at once; there is no transform",
}


@pytest.fixture(scope="module")
def digits() -> numpy.ndarray:
    return load_digits().data[:500].astype(numpy.float32)


def test_umap_meets_scikit_learns_checks() -> None:
    results = check_estimator(retune.UMAP(n_epochs=20), expected_failed_checks=EXPECTED, on_fail=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed, failed
    assert len(results) > 40


def test_umap_keeps_neighborhoods_as_umap_learn_does(digits: numpy.ndarray) -> None:
    own = retune.UMAP(n_neighbors=15, min_dist=0.1, random_state=0).fit_transform(digits)
    assert own.shape == (500, 2) and own.dtype == numpy.float32
    score = trustworthiness(digits, own, n_neighbors=15)
    assert score > 0.95
    umap = pytest.importorskip("umap")
    other = umap.UMAP(n_neighbors=15, min_dist=0.1, random_state=0, n_jobs=1).fit_transform(digits)
    # Two layouts of one graph: neither is better by more than what another seed makes of it.
    assert score > trustworthiness(digits, other, n_neighbors=15) - 0.01


def test_umap_is_the_function_in_pipelines_and_clones(digits: numpy.ndarray) -> None:
    estimator = retune.UMAP(n_neighbors=10, n_epochs=50, random_state=3)
    points = estimator.fit_transform(digits)
    assert (points == numpy.asarray(retune.umap(digits, neighbors=10, epochs=50, seed=3))).all()
    assert (clone(estimator).fit_transform(digits) == points).all()
    pipeline = make_pipeline(StandardScaler(), retune.UMAP(n_epochs=20))
    assert pipeline.fit_transform(digits).shape == (500, 2)
    assert list(pipeline.get_feature_names_out()) == ["umap0", "umap1"]
    with pytest.raises(retune.Error, match="neighbors"):
        retune.UMAP(n_neighbors=1).fit(digits)


def test_cka_is_the_one_of_numpy(digits: numpy.ndarray) -> None:
    x, y = digits[:200, :20].astype(float), digits[:200, 15:].astype(float)

    def centered(values: numpy.ndarray) -> numpy.ndarray:
        kernel = values @ values.T
        n = len(kernel)
        center = numpy.eye(n) - numpy.ones((n, n)) / n
        return center @ kernel @ center

    k, other = centered(x), centered(y)
    # Kornblith et al. 2019, equation 3: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)).
    biased = (k * other).sum() / numpy.sqrt((k * k).sum() * (other * other).sum())
    assert retune.cka(x, y, estimator="biased") == pytest.approx(biased, abs=1e-6)

    def unbiased(k: numpy.ndarray, other: numpy.ndarray) -> float:
        # Song et al. 2012, equation 5.
        n = len(k)
        k, other = (m - numpy.diag(numpy.diag(m)) for m in (k, other))
        middle = k.sum() * other.sum() / ((n - 1) * (n - 2))
        return float((numpy.trace(k @ other) + middle - 2 / (n - 2) * (k.sum(0) @ other.sum(0))) / (n * (n - 3)))

    k, other = x @ x.T, y @ y.T
    debiased = unbiased(k, other) / numpy.sqrt(unbiased(k, k) * unbiased(other, other))
    assert retune.cka(x, y) == pytest.approx(debiased, abs=1e-6)
    assert retune.cka(x, x * 2.0) == pytest.approx(1)
    assert 0 < retune.cka(x, y, kernel="rbf", bandwidth=0.4) < 1
    with pytest.raises(retune.Error, match="same images"):
        retune.cka(x, y[:-1])
    with pytest.raises(retune.Error, match="linear or rbf"):
        retune.cka(x, y, kernel="cosine")


def test_classifier_fits_predicts_scores_and_clones(
    backbone: str, photos: Path, arrays: tuple[numpy.ndarray, list[str]]
) -> None:
    images, labels = arrays
    classifier = retune.Classifier(backbone, method="lp", val_fraction=0.25)
    assert classifier.get_params() == {"model": backbone, "method": "lp", "out": None, "val_fraction": 0.25}
    classifier.fit(images, labels)
    assert list(classifier.classes_) == ["green", "red"]
    assert classifier.score(images, labels) == 1.0
    paths = [str(path) for path in sorted(photos.glob("*/*.png"))]
    assert (classifier.predict(paths) == classifier.predict(images)).all()
    probabilities = classifier.predict_proba(images)
    assert probabilities.shape == (48, 2) and probabilities.sum(axis=1) == pytest.approx(1)
    rounded = classifier.predict_proba(images, precision="bfloat16")
    assert (rounded != probabilities).any() and rounded == pytest.approx(probabilities, abs=0.05)
    assert (classifier.predict(images, precision="bfloat16") == classifier.classes_[rounded.argmax(axis=1)]).all()
    numbers = [int(label == "red") for label in labels]
    other = clone(classifier).set_params(method="ft", epochs=1, lr=1e-3).fit(images, numbers)
    assert other.predict(images).dtype.kind == "i"
    again = pickle.loads(pickle.dumps(classifier))
    assert (again.predict_proba(images) == probabilities).all()
    with pytest.raises(TypeError, match="did you mean 'epochs'"):
        retune.Classifier(backbone, epoch=1)
    with pytest.raises(ValueError, match="no parameter 'epoch'"):
        classifier.set_params(epoch=1)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        retune.Classifier(backbone).predict(images)


def test_classifiers_hold_out_whole_groups(backbone: str, arrays: tuple[numpy.ndarray, list[str]]) -> None:
    images, labels = arrays
    groups = numpy.array([f"day {number % 6}" for number in range(48)])

    def held_out(**options: str) -> dict[str, int]:
        classifier = retune.Classifier(backbone, method="lp", val_fraction=0.34, **options).fit(images, labels, groups=groups)
        return {group["group"]: group["n"] for group in classifier.run_.splits["val"].groups}

    assert set(held_out().values()) == {8}
    assert set(held_out(split_by="image").values()) != {8}
    with pytest.raises(retune.Error, match="47 groups for 48 images"):
        retune.Classifier(backbone, method="lp").fit(images, labels, groups=groups[1:])


def test_classifiers_are_validated_across_folds(backbone: str, arrays: tuple[numpy.ndarray, list[str]]) -> None:
    images, labels = arrays
    scores = cross_val_score(retune.Classifier(backbone, method="lp"), images, labels, cv=3)
    assert scores.min() == 1.0
