"""Functions of one's own that make classifiers, named by a configuration as `module:function`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ws3.config.classifier import OPEN_CLIP, TIMM
from ws3.errors import Ws3Error
from ws3.messages import reason
from ws3.registry import load_object

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def names_code(architecture: str) -> bool:
    """Return whether an architecture is a function to be imported, as `module:function`.

    Example:
        >>> names_code("my_package.networks:preact10"), names_code("timm:resnet18")
        (True, False)
    """
    package = architecture.startswith((TIMM, OPEN_CLIP))
    return not package and _FUNCTION.fullmatch(architecture) is not None


def imported(architecture: str) -> Callable[[Sequence[str]], Any]:
    """Import `module:function`; for names that a configuration gives, never for those of a file.

    Raises:
        Ws3Error: If there is no such module or function, or the module can't be imported.
    """
    try:
        function: Callable[[Sequence[str]], Any] = load_object(architecture)
    except Exception as error:
        # Any kind, as the module's own code runs.
        raise Ws3Error(
            f"classifier.architecture: {architecture} can't be imported ({reason(error)}); install "
            "the module, or put its folder into PYTHONPATH"
        ) from error
    if not callable(function):
        raise Ws3Error(f"classifier.architecture: {architecture} is no function of class names")
    return function
