"""FiftyOne's own JSON: labels.json with classes, and numbers or boxes by picture, in data/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures
from ws3.datasets.importing.reading import look_at_json
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.messages import shown


def read(tree: Tree) -> Found | None:
    """Read labels.json.

    Raises:
        Ws3Error: If it is malformed.
    """
    for name in tree.texts(".json"):
        if PurePosixPath(name).name != "labels.json":
            continue
        data = look_at_json(tree, name)
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
        objects = []
        for item in some:
            is_box = isinstance(item, Mapping)
            one: object = item.get("label") if isinstance(item, Mapping) else item
            if isinstance(one, int) and not 0 <= one < len(classes):
                raise Ws3Error(
                    f"{tree.path(name)}: {image}: the label {one} isn't among the "
                    f"{len(classes)} classes"
                )
            if isinstance(one, bool) or not isinstance(one, int | str):
                raise Ws3Error(
                    f"{tree.path(name)}: {image}: {shown(one)} is no label; expected is the number "
                    "or the name of a class"
                )
            label = str(classes[one]) if isinstance(one, int) else one
            objects.append(Object(label, whole=not is_box))
        pictures.add(image, objects, beside=name)
    reason = f"{name} holds classes, and labels by picture"
    return pictures.found("FiftyOne's labels", reason, map(str, classes))
