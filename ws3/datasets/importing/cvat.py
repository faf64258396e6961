"""CVAT for images: one XML of all pictures, with tags, boxes, polygons and masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures, Outline, polygon
from ws3.datasets.importing.reading import read_xml, split_of
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.outside import TEXT_BYTES


def read(tree: Tree) -> Found | None:
    """Read CVAT's XML; several files are splits.

    Raises:
        Ws3Error: If a file is malformed.
    """
    files = [name for name in tree.texts(".xml") if name.count("/") <= 1]
    # VOC has a file per picture.
    if not files or len(files) > 10:
        return None
    roots = {name: read_xml(tree, name, TEXT_BYTES) for name in files}
    roots = {name: root for name, root in roots.items() if _is_cvat(root)}
    if not roots:
        return None
    pictures = ObjectPictures(tree, ", ".join(str(tree.path(name)) for name in list(roots)[:2]))
    classes: dict[str, None] = {}
    for name, root in roots.items():
        for label in root.iterfind("meta//label/name"):
            classes[(label.text or "").strip()] = None
        split = split_of(name)
        for image in root.iterfind("image"):
            told = split_of(f"{image.get('subset', '')}/x") or split
            objects = list(_objects(tree, name, image))
            pictures.add(image.get("name", ""), objects, told, name)
    return pictures.found("CVAT for images", f"{', '.join(roots)} is its XML", classes)


def _is_cvat(root: Element) -> bool:
    return root.tag == "annotations" and root.find("image") is not None


def _objects(tree: Tree, name: str, image: Element) -> Iterator[Object]:
    outlined = {
        (shape.get("group_id"), shape.get("label"))
        for shape in image
        if shape.tag in ("polygon", "mask")
    }
    try:
        for shape in image:
            label = (shape.get("label") or "").strip()
            layer, group = int(shape.get("z_order") or 0), shape.get("group_id") or "0"
            if shape.tag == "tag":
                yield Object(label, whole=True)
            elif shape.tag == "polygon":
                pairs = (pair.split(",") for pair in shape.attrib["points"].split(";"))
                outline = polygon([(float(x), float(y)) for x, y in pairs])
                yield Object(label, outline, layer=layer)
            elif shape.tag == "mask":
                yield Object(label, _mask(shape), layer=layer)
            elif shape.tag == "box" and group != "0" and (group, shape.get("label")) in outlined:
                continue  # the box of an object that is outlined, too
            elif shape.tag in ("box", "polyline", "points", "ellipse", "cuboid", "skeleton"):
                yield Object(label)
    except (KeyError, ValueError) as error:
        raise Ws3Error(
            f"{tree.path(name)}: image {image.get('name')!r}: not as CVAT writes it "
            f"({type(error).__name__}: {error})"
        ) from error


def _mask(shape: Element) -> Outline:
    """Return a mask of run lengths, row by row within its box, background first."""
    runs = [int(run) for run in shape.attrib["rle"].split(",")]
    left, top, width, height = (
        round(float(shape.attrib[key])) for key in ("left", "top", "width", "height")
    )
    if min(runs) < 0 or width < 1 or height < 1 or sum(runs) != width * height:
        raise ValueError(f"a mask's runs don't sum to {width} x {height}")

    def outline(full_height: int, full_width: int) -> Any:
        if not (0 <= left <= full_width - width and 0 <= top <= full_height - height):
            raise ValueError("a mask leaves the picture")
        pixels = np.zeros((full_height, full_width), np.bool_)
        part = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        pixels[top : top + height, left : left + width] = part
        return pixels

    return outline
