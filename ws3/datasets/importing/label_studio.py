"""Label Studio's JSON, JSON-MIN, CSV and TSV, with choices or regions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures, polygon
from ws3.datasets.importing.reading import counted, read_json, read_text
from ws3.datasets.importing.tree import Tree
from ws3.datasets.names import is_picture
from ws3.errors import Ws3Error

_REGIONS = ("polygonlabels", "rectanglelabels", "brushlabels", "ellipselabels", "keypointlabels")
_COLUMNS = {"annotation_id", "annotator", "lead_time"}
_OWN_KEYS = {*_COLUMNS, "id", "created_at", "updated_at", "agreement", "image"}


def read(tree: Tree) -> Found | None:
    """Read what Label Studio exported: a list of tasks as JSON, or a table.

    Raises:
        Ws3Error: If it is malformed, or of masks alone, which bear no picture's name.
    """
    masks = [name for name in tree.files if PurePosixPath(name).name.startswith("task-")]
    if masks and len(masks) == len(tree.files):
        raise Ws3Error(
            f"{tree.root}: Label Studio's masks ({masks[0]} and others) name no picture; export as "
            "JSON or COCO"
        )
    for name in tree.texts(".json"):
        data = read_json(tree, name)
        if _is_tasks(data):
            return _read(tree, name, data)
    for name in tree.texts(".csv", ".tsv"):
        rows = _table(tree, name)
        if rows:
            return _read(tree, name, rows)
    return None


def _is_tasks(data: Any) -> bool:
    if not isinstance(data, list) or not data or not all(isinstance(x, Mapping) for x in data):
        return False
    return all(("annotations" in x and "data" in x) or _COLUMNS & x.keys() for x in data)


def _table(tree: Tree, name: str) -> list[dict[str, str]] | None:
    lines = read_text(tree, name).splitlines(keepends=True)
    # The TSV is called result.csv, too.
    for separator in (",", "\t"):
        header = next(csv.reader(lines[:1], delimiter=separator), [])
        if set(header) >= _COLUMNS:
            try:
                return list(csv.DictReader(lines, delimiter=separator, strict=True))
            except csv.Error as error:
                raise Ws3Error(f"{tree.path(name)}: no table ({error})") from error
    return None


def _read(tree: Tree, name: str, tasks: list[Any]) -> Found:
    pictures = ObjectPictures(tree, str(tree.path(name)))
    empty = 0
    for task in tasks:
        try:
            reference = _image(task)
            objects = list(_objects(task))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise Ws3Error(
                f"{tree.path(name)}: not as Label Studio writes it "
                f"({type(error).__name__}: {error})"
            ) from error
        empty += not objects
        pictures.add(reference, objects, beside=name)
    if empty:
        pictures.notes.append(
            f"{counted(empty, 'task')} without a label: taken to show none of the classes"
        )
    pictures.notes.append("the export doesn't tell the order of the classes: they are sorted")
    return pictures.found("Label Studio", f"{name} holds its tasks and annotations")


def _image(task: Mapping[str, Any]) -> str:
    data = task.get("data", task)
    values = [data["image"]] if "image" in data else list(data.values())
    for value in values:
        if isinstance(value, str) and is_picture(value.split("?")[0]):
            return value
    raise ValueError(f"the task {task.get('id')} names no picture")


def _objects(task: Mapping[str, Any]) -> Iterator[Object]:
    if "annotations" in task:
        for annotation in task["annotations"]:
            if not annotation.get("was_cancelled"):
                for result in annotation["result"]:
                    yield from _of_value(result.get("value", {}))
        return
    for key, value in task.items():
        if key in _OWN_KEYS or value in (None, ""):
            continue
        if isinstance(value, str) and value[:1] in "[{":
            value = json.loads(value)
        if isinstance(value, str) and not is_picture(value):
            yield Object(value, whole=True)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                yield from _of_value(one)


def _of_value(value: Mapping[str, Any]) -> Iterator[Object]:
    choices = value.get("choices", [])
    for label in [choices] if isinstance(choices, str) else choices:
        yield Object(label, whole=True)
    for key in _REGIONS:
        for label in value.get(key, []):
            is_polygon = key == "polygonlabels" and len(value["points"]) >= 3
            yield Object(label, polygon(value["points"], scale=100) if is_polygon else None)
