"""Fine-tune pretrained image models so that they stay good when the data shifts.

>>> import retune
>>> run = retune.fit("timm/resnet18.a1_in1k", "photos/", eval={"deployed": "phone/"}, out="run")  # doctest: +SKIP
>>> run.model.predict(["cat.jpg"])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _arguments, demo, ray
from ._commands import (
    advise,
    audit,
    cka,
    compare,
    corrupt,
    estimate,
    evaluate,
    features,
    fit,
    lr_find,
    plan,
    predict,
    resize,
    resume,
    soup,
    umap,
    wise_ft,
)
from ._data import Images
from ._errors import Diverged, Error, NotFoundError
from ._features import Features, Map, Similarity
from ._model import Layer, Layers, Model, Tensor, from_torch, load
from ._results import (
    Advice,
    Audit,
    Comparison,
    Curve,
    Estimate,
    Evaluation,
    Evaluations,
    Plan,
    Predictions,
    RateFinder,
    Result,
    Run,
    Soup,
)
from ._retune import __version__
from ._tuning import Trial, Tuning, tune

if TYPE_CHECKING:
    from .estimators import UMAP, Classifier

__all__ = [
    "UMAP",
    "Advice",
    "Audit",
    "Classifier",
    "Comparison",
    "Curve",
    "Diverged",
    "Error",
    "Estimate",
    "Evaluation",
    "Evaluations",
    "Features",
    "Images",
    "Layer",
    "Layers",
    "Map",
    "Model",
    "NotFoundError",
    "Plan",
    "Predictions",
    "RateFinder",
    "Result",
    "Run",
    "Similarity",
    "Soup",
    "Tensor",
    "Trial",
    "Tuning",
    "__version__",
    "advise",
    "audit",
    "cka",
    "compare",
    "corrupt",
    "demo",
    "estimate",
    "evaluate",
    "features",
    "fit",
    "from_torch",
    "load",
    "lr_find",
    "plan",
    "predict",
    "ray",
    "resize",
    "resume",
    "soup",
    "tune",
    "umap",
    "wise_ft",
]

for _function, _command in [
    (advise, "advise"),
    (audit, "audit"),
    (cka, "cka"),
    (compare, "compare"),
    (estimate, "compare"),
    (evaluate, "eval"),
    (features, "features"),
    (fit, "fit"),
    (load, "layers"),
    (lr_find, "lr-find"),
    (plan, "plan"),
    (predict, "predict"),
    (soup, "soup"),
    (tune, "fit"),
    (umap, "umap"),
    (wise_ft, "wise-ft"),
]:
    _arguments.documented(_function, _command)


def __getattr__(name: str) -> Any:
    # scikit-learn takes a second to import, and only its estimators need it.
    if name in ("UMAP", "Classifier"):
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'retune' has no attribute {name!r}")
