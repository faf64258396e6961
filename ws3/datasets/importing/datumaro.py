"""Datumaro's own JSON, one file per subset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures, Outline, polygon
from ws3.datasets.importing.reading import look_at_json, split_of
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error

_OUTLINES = ("polygon", "mask")


def read(tree: Tree) -> Found | None:
    """Read Datumaro's annotations.

    Raises:
        Ws3Error: If a file is malformed.
    """
    # What each tool calls its file tells most of them apart without reading them.
    files = [name for name in tree.texts(".json") if name.count("/") <= 1]
    if not files or len(files) > 20:
        return None
    data = {name: look_at_json(tree, name) for name in files}
    data = {name: one for name, one in data.items() if _is_datumaro(one)}
    if not data:
        return None
    pictures = ObjectPictures(tree, str(tree.path(next(iter(data)))))
    classes: dict[str, None] = {}
    for name, one in data.items():
        try:
            labels = [label["name"] for label in one["categories"]["label"]["labels"]]
            classes |= dict.fromkeys(labels)
            for item in one["items"]:
                image = item.get("image") or item.get("media") or {}
                # The subset's folder tells pictures of the same name apart.
                subset = PurePosixPath(name).stem
                reference = f"images/{subset}/{image.get('path') or item['id']}"
                pictures.add(reference, list(_objects(item, labels)), split_of(name), name)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise Ws3Error(
                f"{tree.path(name)}: not as Datumaro writes it ({type(error).__name__}: {error})"
            ) from error
    reason = f"{', '.join(data)} holds categories and items"
    return pictures.found("Datumaro", reason, classes)


def _is_datumaro(data: Any) -> bool:
    return isinstance(data, Mapping) and {"categories", "items"} <= data.keys()


def _objects(item: Mapping[str, Any], labels: list[str]) -> Iterator[Object]:
    outlined = {
        (annotation.get("group"), annotation.get("label_id"))
        for annotation in item["annotations"]
        if annotation["type"] in _OUTLINES
    }
    for annotation in item["annotations"]:
        number = annotation.get("label_id")
        if number is None:
            continue
        if not 0 <= number < len(labels):
            raise ValueError(f"the label_id {number} isn't among {len(labels)} labels")
        kind, group = annotation["type"], annotation.get("group")
        if kind == "bbox" and group and (group, number) in outlined:
            continue  # the box of an object that is outlined, too
        layer = int(annotation.get("z_order") or 0)
        yield Object(labels[number], _outline(kind, annotation), kind == "label", layer)


def _outline(kind: str, annotation: Mapping[str, Any]) -> Outline | None:
    if kind == "polygon":
        points = annotation["points"]
        return polygon(zip(points[::2], points[1::2], strict=True))
    if kind == "mask":
        runs = annotation["rle"]
        return lambda height, width: runs
    return None
