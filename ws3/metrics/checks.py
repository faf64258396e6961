"""What every metric asks of its inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED


def check_classes(classes: int) -> None:
    """Raise ValueError unless there are 1 to 254 classes, the background not counted."""
    if not 1 <= classes <= 254:
        raise ValueError(f"there must be 1 to 254 classes, not {classes}")


def check_masks(**masks: npt.NDArray[np.uint8]) -> None:
    """Raise ValueError unless all are uint8 (H, W) of one shape; the keywords name them."""
    first = next(iter(masks.values()))
    for name, mask in masks.items():
        if mask.dtype != np.uint8 or mask.ndim != 2:
            raise ValueError(f"{name} must be uint8 (height, width), not {mask.dtype} {mask.shape}")
        if mask.shape != first.shape:
            raise ValueError(f"{name} has shape {mask.shape}, the ground truth {first.shape}")


def check_values(name: str, mask: npt.NDArray[np.uint8], classes: int) -> None:
    """Raise ValueError if a pixel is neither 0 to `classes` nor 255."""
    strange = (mask > classes) & (mask != IGNORED)
    if strange.any():
        raise ValueError(
            f"{name} holds the value {mask[strange][0]}; 0 to {classes} and 255 (ignored) are legal"
        )


def check_class_values(class_values: npt.ArrayLike, classes: int) -> None:
    """Raise ValueError unless all values are those of classes, 1 to `classes`, and distinct."""
    values = np.asarray(class_values)
    if values.size and (values.min() < 1 or values.max() > classes):
        raise ValueError(f"class values must lie in 1 to {classes}, not {values.tolist()}")
    if len(np.unique(values)) != values.size:
        raise ValueError(f"class values must be distinct, not {values.tolist()}")


def check_bins(bins: int) -> None:
    """Raise ValueError unless `bins` is a power of two.

    Only then is score * bins exact in float32, and a histogram's edges are the very thresholds
    that a mask is made with.
    """
    if not 2 <= bins <= 32768 or bins & (bins - 1):
        raise ValueError(f"bins must be a power of two from 2 to 32768, not {bins}")


__all__ = [
    "IGNORED",
    "check_bins",
    "check_class_values",
    "check_classes",
    "check_masks",
    "check_values",
]
