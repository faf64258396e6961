"""The annotation of one image in the layout of Pascal VOC."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from ws3.exports.item import Item

_HEAD = """\
<annotation>
  <folder>JPEGImages</folder>
  <filename>{name}</filename>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
  <segmented>1</segmented>
"""
_OBJECT = """\
  <object>
    <name>{name}</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>{difficult}</difficult>
    <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
  </object>
"""


def annotation(item: Item, filename: str, classes: Sequence[str]) -> str:
    """Return the XML that lists the classes which an image is labelled with.

    Each class is one object with the box of its region in the mask. One that has no pixel there
    gets the whole image as its box, and is marked as difficult: readers such as supervision stop
    at an object without a box, and all that is known is that it is somewhere in the image.

    Args:
        item: The image.
        filename: Name of its photograph's file.
        classes: Class names without background.
    """
    height, width = item.mask.shape
    objects = []
    for value in item.class_values:
        box = box_of(item.mask == value)
        name = escape(classes[value - 1])
        whole = (1, 1, width, height)
        objects.append(_OBJECT.format(*(box or whole), name=name, difficult=int(box is None)))
    head = _HEAD.format(name=escape(filename), width=width, height=height)
    return "".join([head, *objects, "</annotation>\n"])


def box_of(region: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return the box of a region in VOC's terms: first and last column and row, counted from 1.

    Args:
        region: bool (H, W).

    Returns:
        xmin, ymin, xmax, ymax, all inside the region's box; None if there is no pixel.

    Example:
        >>> box_of(np.array([[False, False], [True, True]]))
        (1, 2, 2, 2)
        >>> box_of(np.zeros((2, 2), bool)) is None
        True
    """
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]) + 1, int(rows[0]) + 1, int(columns[-1]) + 1, int(rows[-1]) + 1
