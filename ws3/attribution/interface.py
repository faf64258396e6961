"""What goes into an attribution method, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

from ws3.attribution.network import AttributionNetwork


@dataclass(frozen=True, slots=True)
class Options:
    """The part of a recipe that a method sees.

    Attributes:
        reduction: How a pixel's channels become one number; see `ws3.attribution.channels`.
        sign: What happens to negative values before that.
        values: The method's own options.
    """

    reduction: Literal["max", "mean", "l2", "sum", "net"] = "max"
    sign: Literal["abs", "positive"] = "abs"
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Score maps of several samples of one image.

    Attributes:
        scores: float32 (classes, B, h, w), at least 0; h and w are those of the input, or of the
            last spatial features, which the caller enlarges.
        probabilities: float32 (B, classes), sigmoid of the same classes' logits (of
            their contrasts, hence the softmax, where those are explained).
    """

    scores: Tensor
    probabilities: Tensor


class Method(Protocol):
    """An attribution method.

    Args:
        network: The frozen classifier.
        inputs: float32 (B, 3, H, W), normalised (`AttributionNetwork.normalise`), on its device.
        classes: Logit indices to explain.
        options: The part of the recipe that concerns the method.
    """

    def __call__(
        self,
        network: AttributionNetwork,
        inputs: Tensor,
        classes: Sequence[int],
        options: Options,
    ) -> Attribution:
        """Return the score maps; see the class."""
        ...
