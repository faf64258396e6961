"""Resizing and normalisation of RGB pixels: one rule for all that a classifier sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = tuple[float, float, float]
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
"""Mean of ImageNet's RGB in [0, 1], which torchvision's weights expect to be subtracted."""
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's RGB in [0, 1], by which the rest is divided."""


def resize(array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize an (h, w) or (h, w, channels) array: area average down, bilinear up.

    Example:
        >>> resize(np.arange(4, dtype=np.float32).reshape(2, 2), 1, 1)
        array([[1.5]], dtype=float32)
    """
    if array.shape[:2] == (height, width):
        return array
    shrinks = height * width < array.shape[0] * array.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(array, (width, height), interpolation=how)


MOST_ASPECT = 8
"""Longest side of an image that a network sees whole, in shorter sides."""


def resize_short_side(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize an image (H, W, 3) so that its shorter side has `side` pixels, its aspect kept.

    Of an image that is longer than `MOST_ASPECT` times its width, or the other way round, the long
    side is squeezed to that: memory is bounded by `side`, whatever the image.

    Example:
        >>> resize_short_side(np.zeros((300, 400, 3), np.uint8), 96).shape
        (96, 128, 3)
        >>> resize_short_side(np.zeros((3000, 1, 3), np.uint8), 96).shape
        (768, 96, 3)
    """
    height, width = image.shape[:2]
    factor = side / min(height, width)
    longest = MOST_ASPECT * side
    return resize(
        image,
        min(longest, max(1, round(height * factor))),
        min(longest, max(1, round(width * factor))),
    )


def to_unit(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image of bytes as float32 in [0, 1], of the same shape."""
    return image.astype(np.float32) / np.float32(255)


def normalise(
    pixels: NDArray[np.float32], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Return RGB (H, W, 3) in [0, 1] minus the mean, divided by the standard deviation.

    Example:
        >>> normalise(np.ones((1, 1, 3), np.float32), (0.5, 0.5, 1.0), (0.5, 0.25, 1.0)).tolist()
        [[[1.0, 2.0, 0.0]]]
    """
    centred = pixels - np.asarray(mean, np.float32)
    return np.asarray(centred / np.asarray(std, np.float32), np.float32)


def channels_first(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (H, W, C) as (C, H, W), contiguous in memory."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
