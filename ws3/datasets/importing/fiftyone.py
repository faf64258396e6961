"""FiftyOne's image classification: labels.json with classes and numbers, pictures in data/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures
from ws3.datasets.importing.reading import read_json
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error


def read(tree: Tree) -> Found | None:
    """Read labels.json.

    Raises:
        Ws3Error: If it is malformed.
    """
    for name in tree.texts(".json"):
        if PurePosixPath(name).name != "labels.json":
            continue
        data = read_json(tree, name)
        if isinstance(data, Mapping) and {"classes", "labels"} <= data.keys():
            return _read(tree, name, data)
    return None


def _read(tree: Tree, name: str, data: Mapping[str, object]) -> Found:
    pictures = ObjectPictures(tree, str(tree.path(name)))
    classes, labels = data["classes"], data["labels"]
    if not isinstance(labels, Mapping) or not isinstance(classes, list):
        raise Ws3Error(f"{tree.path(name)}: expected are a list of classes and labels by picture")
    for image, value in labels.items():
        some = value if isinstance(value, list) else [] if value is None else [value]
        names = []
        for one in some:
            is_number = isinstance(one, int) and not isinstance(one, bool)
            if is_number and not 0 <= one < len(classes):
                raise Ws3Error(
                    f"{tree.path(name)}: {image}: the label {one} isn't among the "
                    f"{len(classes)} classes"
                )
            names.append(str(classes[one]) if is_number else str(one))
        pictures.add(image, [Object(label, whole=True) for label in names], beside=name)
    reason = f"{name} holds classes, and labels by picture"
    return pictures.found("FiftyOne's image classification", reason, map(str, classes))
