"""Pictures of one image: scores as heat over the photograph, masks as colours over it."""

from __future__ import annotations

from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from ws3.labels import voc_palette

UInt8 = NDArray[np.uint8]

PICTURE_SIDE = 320
"""Pixels of the longer side of a picture in a figure or gallery."""


def class_colours() -> UInt8:
    """Return the palette of Pascal VOC, so that the pictures agree with the mask files.

    Returns:
        (256, 3) uint8 RGB; row v is the colour of mask value v.
    """
    return np.frombuffer(voc_palette(), dtype=np.uint8).reshape(256, 3)


def class_hex(class_id: int) -> str:
    """Return the colour of a class, counted from 0 as in the class list, as "#rrggbb"."""
    red, green, blue = class_colours()[class_id + 1].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def fit(pixels: NDArray[Any], side: int, *, smooth: bool) -> NDArray[Any]:
    """Resize an array so that its longer side has `side` pixels.

    Args:
        pixels: (H, W) or (H, W, 3), uint8 or float32.
        side: Pixels of the longer side.
        smooth: Interpolate; masks must not, as the mean of two classes is a third.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_NEAREST
    if smooth:
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(pixels, size, interpolation=interpolation)


def heat_overlay(image: UInt8, scores: NDArray[np.floating[Any]]) -> UInt8:
    """Lay scores as heat over a dimmed grey photograph.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (H, W) in [0, 1]; what lies outside is clipped and NaN counts as 0.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes(image, scores)
    clipped = np.clip(np.nan_to_num(scores.astype(np.float32), nan=0.0), 0.0, 1.0)
    heat = matplotlib.colormaps["inferno"](clipped)[..., :3] * 255.0
    # Low scores let the photograph through, so that the eye finds the object under the heat.
    opacity = (0.25 + 0.6 * np.sqrt(clipped))[..., None]
    return _to_uint8(heat * opacity + _grey(image) * 0.85 * (1.0 - opacity))


def mask_overlay(image: UInt8, mask: UInt8) -> UInt8:
    """Lay a mask's colours over a dimmed grey photograph, with a light outline.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8; 0 is background, 255 is ignored.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes(image, mask)
    grey = _grey(image)
    colours = class_colours()[mask].astype(np.float32)
    blended = np.where((mask == 0)[..., None], grey * 0.6, colours * 0.75 + grey * 0.25)
    square = np.ones((3, 3), dtype=np.uint8)
    outline = cv2.dilate(mask, square) != cv2.erode(mask, square)
    blended[outline] = 255.0
    return _to_uint8(blended)


def _check_shapes(image: UInt8, pixels: NDArray[Any]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if pixels.shape != image.shape[:2]:
        raise ValueError(f"shape {pixels.shape} does not fit the image's {image.shape[:2]}")


def _grey(image: UInt8) -> NDArray[np.float32]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def _to_uint8(pixels: NDArray[Any]) -> UInt8:
    rounded: UInt8 = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return rounded
