"""Class values in masks: the ignored one, their colours, and which class wins a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IGNORED = 255
"""Mask value of pixels that belong to no class and count nowhere."""

CONFIDENCE_STEPS = 256
"""Values of a stored confidence: a pixel of value v is as sure as v / 256 at least, and less than
(v + 1) / 256, but for the last, which is up to 1."""


def checked_maps(
    maps: npt.NDArray[np.floating], class_values: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Check one image's score maps and the mask values that belong to them.

    Args:
        maps: floating point (C, H, W), C may be 0.
        class_values: The C mask values of the maps, distinct, each from 1 to 254.

    Returns:
        The maps as float32, the precision in which all scores are compared.

    Raises:
        ValueError: If the rank, dtype or number of maps is wrong, a score is NaN or outside
            [0, 1], or a class value is repeated or out of range.
    """
    # Imported here: a listing needs the values above, but no numpy.
    import numpy as np

    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"score maps must be (classes, height, width), not {maps.shape}")
    if not np.issubdtype(maps.dtype, np.floating):
        raise ValueError(f"score maps must be floating point, not {maps.dtype}")
    if len(class_values) != len(maps):
        raise ValueError(f"{len(maps)} score maps came with {len(class_values)} class values")
    if len(set(class_values)) != len(class_values):
        raise ValueError(f"class values must be distinct, not {list(class_values)}")
    if any(not 1 <= value <= 254 for value in class_values):
        raise ValueError(f"class values must lie in 1 to 254, not {list(class_values)}")
    maps = maps.astype(np.float32, copy=False)
    # Written so that NaN, which min() and max() hand on, fails it too.
    if len(maps) and not (maps.min() >= 0 and maps.max() <= 1):
        raise ValueError("score maps hold NaN or values outside [0, 1]")
    return maps


def label_argmax(
    maps: npt.NDArray[np.floating], class_values: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return each pixel's highest-scoring class and its score; the first class wins ties.

    Args:
        maps: floating point (C, H, W) in [0, 1]; compared as float32.
        class_values: The C mask values of the maps.

    Returns:
        values: uint8 (H, W), the winner's class value; 0 everywhere if there is no map.
        score: float32 (H, W), the winner's score; 0 everywhere if there is no map.

    Raises:
        ValueError: See `checked_maps`.
    """
    # Imported here: a listing needs the values above, but no numpy.
    import numpy as np

    maps = checked_maps(maps, class_values)
    if not len(maps):
        return np.zeros(maps.shape[1:], np.uint8), np.zeros(maps.shape[1:], np.float32)
    values = np.full(maps.shape[1:], class_values[0], np.uint8)
    score = maps[0].copy()
    for value, candidate in zip(class_values[1:], maps[1:], strict=True):
        better = candidate > score
        # Arithmetic, which unlike a masked assignment takes the same short time for any mask.
        values *= ~better
        values += better * np.uint8(value)
        np.maximum(score, candidate, out=score)
    return values, score


@cache
def voc_palette() -> bytes:
    """Return the VOC colour map as a PNG palette.

    Value v gets its red, green and blue from the bits 0, 1, 2 (then 3, 4, 5, ...) of v, most
    significant first, as in the VOC development kit: 0 is black, 1 is (128, 0, 0), 255 is
    (224, 224, 192).

    Returns:
        768 bytes: red, green, blue of the values 0 to 255.
    """
    palette = bytearray()
    for value in range(256):
        for channel in range(3):
            palette.append(
                sum(((value >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
            )
    return bytes(palette)
