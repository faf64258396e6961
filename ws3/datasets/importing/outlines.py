"""Outlines of objects, as tools write them, drawn as a mask of class values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ws3.datasets.coco_regions import encode_region
from ws3.labels import IGNORED


class Region(NamedTuple):
    """One object's region in a picture.

    Attributes:
        value: The class value, or 255 for pixels that are ignored.
        segmentation: As in COCO: polygons, each x, y, x, y, ... in pixels, or run lengths; or a
            bool array (H, W) of its pixels.
        layer: Regions of higher layers lie on top.
    """

    value: int
    segmentation: Any
    layer: int = 0


def paint(regions: Iterable[Region], height: int, width: int) -> NDArray[np.uint8]:
    """Return the mask of some regions: where they overlap, the smaller one of a layer is on top.

    Ignored regions (255) lie below all others.

    Args:
        regions: The regions.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Returns:
        uint8 (height, width), 0 where no region is.

    Raises:
        ValueError: If a region's numbers are wrong; see `encode_region`.
    """
    drawn = [
        (region.value, region.layer, region_pixels(region.segmentation, height, width))
        for region in regions
    ]
    drawn.sort(key=lambda entry: (entry[0] != IGNORED, entry[1], -int(entry[2].sum())))
    mask = np.zeros((height, width), np.uint8)
    for value, _, pixels in drawn:
        mask[pixels] = value
    return mask


def region_pixels(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels of a region, bool (height, width).

    Raises:
        ValueError: If its numbers are wrong; see `encode_region`.
    """
    from pycocotools import mask as rle

    if isinstance(segmentation, np.ndarray):
        if segmentation.shape != (height, width):
            raise ValueError(
                f"its mask has {segmentation.shape[1]} x {segmentation.shape[0]} pixels, but the "
                f"picture has {width} x {height}"
            )
        return segmentation.astype(np.bool_)
    decoded: NDArray[np.bool_] = rle.decode(encode_region(segmentation, height, width)).astype(bool)
    return decoded


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    """Return a rectangle as a polygon: x, y of its four corners.

    Example:
        >>> rectangle(0, 0, 2, 1)
        [0, 0, 2, 0, 2, 1, 0, 1]
    """
    return [left, top, right, top, right, bottom, left, bottom]


def flat(points: Sequence[Sequence[float]]) -> list[float]:
    """Return points [[x, y], ...] as x, y, x, y, ...

    Example:
        >>> flat([[0, 1], [2, 3]])
        [0, 1, 2, 3]
    """
    return [number for point in points for number in point]
