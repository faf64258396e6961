"""LabelMe's JSON beside each picture: flags are labels of the picture, shapes are objects."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ws3.datasets import images
from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures, Outline, polygon
from ws3.datasets.importing.reading import look_at_json, read_json, read_text
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.messages import shown

_CORNERS = 72  # of a circle
_LOOKED_AT = 20  # files, to find one of LabelMe's among others


def read(tree: Tree) -> Found | None:
    """Read LabelMe's JSON files.

    Raises:
        Ws3Error: If one is malformed.
    """
    files = tree.texts(".json")
    first = next((x for x in files[:_LOOKED_AT] if _is_labelme(look_at_json(tree, x))), None)
    if first is None:
        return None
    pictures = ObjectPictures(tree, str(tree.path(first)))
    for name in files:
        data = read_json(tree, name)
        if not _is_labelme(data):
            continue
        path = data.get("imagePath")
        # The picture may have been renamed together with its JSON.
        stem = name.removesuffix(PurePosixPath(name).suffix)
        reference = path if isinstance(path, str) and tree.find(path, name) else stem
        pictures.add(reference, _objects(tree, name, data), beside=name)
    lists = [name for name in tree.files if PurePosixPath(name).name == "labels.txt"]
    classes = None
    if lists:
        lines = (line.strip() for line in read_text(tree, lists[0]).splitlines())
        classes = [line for line in lines if line]
    reason = f"{first} and others hold imagePath, flags and shapes"
    return pictures.found("LabelMe", reason, classes)


def _is_labelme(data: Any) -> bool:
    return isinstance(data, Mapping) and "shapes" in data and "imagePath" in data


def _objects(tree: Tree, name: str, data: Mapping[str, Any]) -> Iterator[Object]:
    try:
        for flag, is_set in (data.get("flags") or {}).items():
            if is_set is True:
                yield Object(flag, whole=True)
        for shape in data["shapes"]:
            label = shape["label"]
            if not isinstance(label, str):
                raise ValueError(f"a label is {shown(label)}, not a text")
            yield Object(label.strip(), _outline(shape))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Ws3Error(
            f"{tree.path(name)}: not as LabelMe writes it ({type(error).__name__}: {error})"
        ) from error


def _outline(shape: Mapping[str, Any]) -> Outline | None:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "polygon" and len(points) >= 3:
        return polygon(points)
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return polygon([(left, top), (right, top), (right, bottom), (left, bottom)])
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = math.hypot(edge_x - x, edge_y - y)
        turns = [2 * math.pi * number / _CORNERS for number in range(_CORNERS)]
        return polygon([(x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns])
    if kind == "mask" and isinstance(shape.get("mask"), str):
        return _mask(shape["mask"], points)
    return None  # points and lines are nowhere but there


def _mask(text: str, points: Any) -> Outline:
    def outline(height: int, width: int) -> Any:
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"a mask is no base64 ({error})") from error
        try:
            part = images.decode_rgb(data, "a mask")[..., 0] > 0
        except Ws3Error as error:
            raise ValueError("a mask is truncated or not an image") from error
        try:
            left, top = (round(number) for number in points[0])
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise ValueError("a mask's corner is no pair of numbers") from error
        if not (left >= 0 and top >= 0 and top + part.shape[0] <= height):
            raise ValueError("a mask leaves the picture")
        if left + part.shape[1] > width:
            raise ValueError("a mask leaves the picture")
        pixels = np.zeros((height, width), np.bool_)
        pixels[top : top + part.shape[0], left : left + part.shape[1]] = part
        return pixels

    return outline
