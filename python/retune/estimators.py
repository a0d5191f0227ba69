"""scikit-learn's interface: `UMAP` under umap-learn's names, and `Classifier`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data
except ImportError as error:
    raise ImportError("retune.UMAP and retune.Classifier need scikit-learn: pip install scikit-learn") from error

from . import _arguments, _retune
from ._commands import fit
from ._data import Images, images
from ._results import Run

__all__ = ["UMAP", "Classifier"]


class UMAP(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """UMAP in two dimensions (McInnes et al. 2018), with umap-learn's names.

    The same bytes come from any number of threads. Points that were not fitted cannot be added to a map, so there is
    `fit_transform` and no `transform`.

    Parameters
    ----------
    n_neighbors
        Size of a neighborhood, each point itself among it. Smaller ones show finer structure.
    min_dist
        Minimum distance of points on the map, from 0 to 1.
    metric
        `euclidean` or `cosine`.
    n_epochs
        Passes over the graph; 500, or 200 for more than 10,000 points.
    random_state
        A seed. None is seed 0: the map is always the same.

    Attributes
    ----------
    embedding_
        The map, `[n, 2]`, float32.
    n_features_in_
        Values of each point.
    """

    def __init__(
        self,
        n_neighbors: int = 15,
        *,
        min_dist: float = 0.1,
        metric: str = "euclidean",
        n_epochs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.min_dist = min_dist
        self.metric = metric
        self.n_epochs = n_epochs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> UMAP:
        """Maps the rows of X, `[n, width]`; y is ignored."""
        values = validate_data(self, X, dtype=numpy.float32, order="C", ensure_min_samples=2)
        seed = self.random_state
        if seed is None:
            seed = 0
        elif not isinstance(seed, (int, numpy.integer)):
            seed = check_random_state(seed).randint(2**31)
        self.embedding_ = _retune.umap(
            values, int(self.n_neighbors), float(self.min_dist), self.metric, int(seed), self.n_epochs
        )
        return self

    def fit_transform(self, X: Any, y: Any = None) -> numpy.ndarray[Any, Any]:
        """Maps the rows of X and returns the map, `[n, 2]`, float32."""
        found: numpy.ndarray[Any, Any] = self.fit(X).embedding_
        return found

    @property
    def _n_features_out(self) -> int:
        return 2


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A pretrained model that is fine-tuned on images.

    X is whatever `retune.Images` takes as images: an array `[n, height, width, channels]` of uint8, a list of PIL images, or
    a list of paths. Further keywords are the options of `retune.fit`, and take part in `get_params`, `set_params` and
    `clone`.

    Parameters
    ----------
    model
        A folder, a run, a checkpoint, a hub name, or a `Model`.
    method
        How to fine-tune.
    out
        The run directory to keep. Without it, a temporary one lives as long as the estimator.

    Attributes
    ----------
    classes_
        The classes, sorted, of the type that `fit` was given.
    run_
        The run.
    """

    def __init__(self, model: Any = None, *, method: str = "ft", out: Any = None, **options: Any) -> None:
        known = _arguments.commands()["fit"].options
        for name in options:
            if name not in known:
                raise _arguments.unknown("Classifier", name, [*known, "model", "method", "out"])
        self.model = model
        self.method = method
        self.out = out
        self.options = options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by their names, with the options."""
        return {"model": self.model, "method": self.method, "out": self.out, **self.options}

    def set_params(self, **params: Any) -> Classifier:
        """Changes parameters and options."""
        known = _arguments.commands()["fit"].options
        for name, value in params.items():
            if name in ("model", "method", "out"):
                setattr(self, name, value)
            elif name in known:
                self.options = {**self.options, name: value}
            else:
                raise ValueError(f"Classifier has no parameter {name!r}")
        return self

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Classifier:
        """Fine-tunes on images with their labels `[n]`.

        With the `groups` of images `[n]` (a patient, a place), the validation images are of other groups than the training
        images, unless `split_by` says otherwise.
        """
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        labels = numpy.asarray(y)
        check_classification_targets(labels)
        self.classes_, positions = numpy.unique(labels, return_inverse=True)
        data = Images(images(X).images, positions, [str(name) for name in self.classes_], groups)
        folder = Path(self.out) if self.out is not None else self._folder()
        options: Any = {"quiet": True, "no_report": self.out is None, "method": self.method}
        if groups is not None:
            options["split_by"] = "group"
        options |= self.options
        self.run_: Run = fit(self.model, data, out=folder, **options)
        return self

    def _folder(self) -> Path:
        self._temporary = tempfile.TemporaryDirectory(prefix="retune-")
        return Path(self._temporary.name) / "run"

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        # A temporary run stays behind, and its model comes along.
        temporary = state.pop("_temporary", None)
        if temporary is not None:
            model = self.run_.path / "model"
            state["_files"] = {file.name: file.read_bytes() for file in model.iterdir()}
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        files = dict(state).pop("_files", None)
        super().__setstate__({name: value for name, value in state.items() if name != "_files"})
        if files is not None:
            folder = self._folder()
            (folder / "model").mkdir(parents=True)
            for name, content in files.items():
                (folder / "model" / name).write_bytes(content)
            self.run_ = Run(self.run_.document, self.run_.text, folder)

    def predict_proba(self, X: Any, *, precision: str = "float32") -> numpy.ndarray[Any, Any]:
        """The probability of each of `classes_`, `[n, classes]`; `precision` is that of `Model.features`."""
        check_is_fitted(self, "run_")
        return self.run_.model.predict_proba(_unlabeled(X), precision=precision, quiet=True)

    def predict(self, X: Any, *, precision: str = "float32") -> numpy.ndarray[Any, Any]:
        """The most likely class of each image, `[n]`; `precision` is that of `Model.features`."""
        check_is_fitted(self, "run_")
        logits = self.run_.model.logits(_unlabeled(X), precision=precision, quiet=True)
        found: numpy.ndarray[Any, Any] = self.classes_[logits.argmax(axis=1)]
        return found


def _unlabeled(X: Any) -> Images:
    return Images(images(X).images)
