"""The XML of MIT's LabelMe: Annotations/, Images/ and Masks/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ws3.datasets import images
from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures, Outline, polygon
from ws3.datasets.importing.reading import read_xml, split_of_folders
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error


def read(tree: Tree) -> Found | None:
    """Read a file of objects per picture, outlined by polygons or by masks.

    Raises:
        Ws3Error: If a file is malformed.
    """
    files = tree.texts(".xml")
    if not files or not _is_label_me(read_xml(tree, files[0])):
        return None
    pictures = ObjectPictures(tree, str(tree.path(files[0])))
    for name in files:
        root = read_xml(tree, name)
        if not _is_label_me(root):
            continue
        reference = (root.findtext("filename") or PurePosixPath(name).stem).strip()
        beside = name.replace("Annotations", "Images")
        split = split_of_folders(name)
        pictures.add(reference, list(_objects(tree, name, root)), split, beside, name)
    return pictures.found("MIT LabelMe", f"{files[0]} and others are its XML")


def _is_label_me(root: Element) -> bool:
    return root.tag == "annotation" and (
        root.find("object/deleted") is not None or root.find("source/sourceAnnotation") is not None
    )


def _objects(tree: Tree, name: str, root: Element) -> Iterator[Object]:
    alive = [one for one in root.iterfind("object") if one.findtext("deleted", "").strip() != "1"]
    outlined = {(one.findtext("id"), one.findtext("name")) for one in alive if not _is_box(one)}
    try:
        for one in alive:
            label = (one.findtext("name") or "").strip()
            whole = (one.findtext("parts/ispartof"), one.findtext("name"))
            if label and not (_is_box(one) and whole[0] and whole in outlined):
                yield Object(label, _outline(tree, name, one))
    except ValueError as error:
        raise Ws3Error(f"{tree.path(name)}: a point is no pair of numbers ({error})") from error


def _outline(tree: Tree, name: str, one: Element) -> Outline | None:
    mask = one.findtext("segm/mask")
    if mask:
        folder = PurePosixPath(name).parent.as_posix().replace("Annotations", "Masks")
        return _mask(tree.path(f"{folder}/{PurePosixPath(mask.strip()).name}"))
    points = [
        (float(point.findtext("x", "")), float(point.findtext("y", "")))
        for point in one.iterfind("polygon/pt")
    ]
    return polygon(points) if len(points) >= 3 and not _is_box(one) else None


def _is_box(one: Element) -> bool:
    return one.findtext("type", "").strip() == "bounding_box"


def _mask(path: Path) -> Outline:
    def outline(height: int, width: int) -> Any:
        pixels = images.decode_rgb(images.read_bytes(path), path)
        return np.asarray(pixels.max(axis=2) > 0)

    return outline
