"""Outlines of objects, as tools write them, drawn as a mask of class values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from ws3.datasets.coco_regions import Layer, area_of, encode_region, stacked


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
    layers = []
    for value, segmentation, layer in regions:
        encoded = _encoded(segmentation, height, width)
        layers.append(Layer(value, area_of(encoded), encoded, layer))
    return stacked(layers, height, width)


def _encoded(segmentation: Any, height: int, width: int) -> Any:
    if not isinstance(segmentation, np.ndarray):
        return encode_region(segmentation, height, width)
    if segmentation.shape != (height, width):
        raise ValueError(
            f"its mask has {segmentation.shape[1]} x {segmentation.shape[0]} pixels, but the "
            f"picture has {width} x {height}"
        )
    return rle.encode(np.asfortranarray(segmentation, np.uint8))
