"""ws3: weakly supervised semantic segmentation from saliency maps and class activation maps.

The names below are ws3 as a library (docs/library.md). They are imported when they are first used,
so that `import ws3` costs nothing: neither torch nor numpy is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ws3.api import (
        load_segmentation,
        methods,
        open_run,
        predict_mask,
        pseudo_mask,
        read_image,
        recipes,
        score_maps,
        score_samples,
    )
    from ws3.attribution.scorer import Scorer
    from ws3.classifier.checkpoints import load_classifier, save_classifier
    from ws3.classifier.model import Classifier
    from ws3.config.recipes import Recipe
    from ws3.errors import StaleResultError, Ws3Error

__version__ = "0.2.0"

__all__ = [
    "Classifier",
    "Recipe",
    "Scorer",
    "StaleResultError",
    "Ws3Error",
    "__version__",
    "load_classifier",
    "load_segmentation",
    "methods",
    "open_run",
    "predict_mask",
    "pseudo_mask",
    "read_image",
    "recipes",
    "save_classifier",
    "score_maps",
    "score_samples",
]

_ELSEWHERE = {
    "Classifier": "ws3.classifier.model",
    "Recipe": "ws3.config.recipes",
    "Scorer": "ws3.attribution.scorer",
    "StaleResultError": "ws3.errors",
    "Ws3Error": "ws3.errors",
    "load_classifier": "ws3.classifier.checkpoints",
    "save_classifier": "ws3.classifier.checkpoints",
}
"""Where the names lie that `ws3.api` doesn't define."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ws3' has no attribute {name!r}")
    value = getattr(import_module(_ELSEWHERE.get(name, "ws3.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
