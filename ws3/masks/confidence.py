"""How sure a pseudo-mask is of each pixel, in 256 steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.labels import CONFIDENCE_STEPS


def in_steps(confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return confidence as whole steps, rounded down.

    A pixel reaches the cut k / 256 if and only if its value is at least k, exactly: 256 is a power
    of two.

    Args:
        confidence: float32 in [0, 1]; what a rounding has put above 1 is 1.

    Returns:
        uint8 of the same shape.

    Example:
        >>> in_steps(np.array([0, 0.4999999, 0.5, 0.99, 1], np.float32)).tolist()
        [0, 127, 128, 253, 255]
    """
    # Assigning to uint8 cuts the fraction off.
    steps = np.minimum(confidence * np.float32(CONFIDENCE_STEPS), CONFIDENCE_STEPS - 1)
    return np.asarray(steps, np.uint8)


__all__ = ["in_steps"]
