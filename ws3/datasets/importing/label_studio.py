"""Label Studio's JSON, JSON-MIN, CSV and TSV, with choices or regions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures, polygon
from ws3.datasets.importing.reading import counted, look_at_json, read_text
from ws3.datasets.importing.tree import Tree
from ws3.datasets.names import is_picture
from ws3.errors import Ws3Error

_OUTLINED = ("polygonlabels", "labels")
# Shapes come once more, with their labels.
_UNLABELLED = {"polygon", "rectangle", "ellipse", "brush", "keypoint", "textarea"}
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
    exports: dict[str, list[Any]] = {}
    for name in tree.texts(".json"):
        data = look_at_json(tree, name)
        if _is_tasks(data):
            exports[name] = data
    for name in () if exports else tree.texts(".csv", ".tsv"):
        rows = _table(tree, name)
        if rows:
            exports[name] = rows
    if len(exports) > 1:
        raise Ws3Error(
            f"{tree.root}: {', '.join(list(exports)[:3])} are each an export of Label Studio; name "
            "the file that is meant"
        )
    for name, tasks in exports.items():
        return _read(tree, name, tasks)
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
    _check_columns(tree, name, tasks)
    empty = unknown = 0
    silent: dict[str, int] = {}
    for task in tasks:
        try:
            reference = _image(task)
            before = sum(silent.values())
            objects = list(_objects(task, silent))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise Ws3Error(
                f"{tree.path(name)}: not as Label Studio writes it "
                f"({type(error).__name__}: {error})"
            ) from error
        if not objects and sum(silent.values()) > before:
            unknown += 1
            continue
        empty += not objects
        pictures.add(reference, objects, beside=name)
    if empty:
        pictures.notes.append(
            f"{counted(empty, 'task')} without a label: taken to show none of the classes"
        )
    for kind, count in silent.items():
        pictures.notes.append(f"{counted(count, 'result')} of the kind {kind} left out: no labels")
    if unknown:
        pictures.notes.append(f"{counted(unknown, 'task')} with nothing but such results left out")
    pictures.notes.append("the export doesn't tell the order of the classes: they are sorted")
    return pictures.found("Label Studio", f"{name} holds its tasks and annotations")


def _image(task: Mapping[str, Any]) -> str:
    data = task.get("data", task)
    values = [data["image"]] if "image" in data else list(data.values())
    for value in values:
        if isinstance(value, str) and is_picture(_address(value)):
            return _address(value)
    raise ValueError(f"the task {task.get('id')} names no picture")


def _address(value: str) -> str:
    """Return a picture's path; that of local storage stands behind a question mark."""
    local = parse_qs(urlsplit(value).query).get("d") if "?d=" in value or "&d=" in value else None
    return local[0] if local else value.split("?")[0]


def _check_columns(tree: Tree, name: str, tasks: list[Any]) -> None:
    """Refuse a flat export whose labels can't be told from other data of its tasks."""
    told: dict[str, bool] = {}  # by column, whether it holds regions or choices as such
    for task in tasks:
        if "annotations" in task:
            continue
        for key, value in task.items():
            if key in _OWN_KEYS or value in (None, "") or key is None:
                continue
            is_text = isinstance(value, str) and value[:1] not in ("[", "{")
            if is_text and is_picture(_address(value)):
                continue
            told[key] = told.get(key, False) or not is_text
    texts = [key for key, is_told in told.items() if not is_told]
    if texts and len(told) > 1:
        raise Ws3Error(
            f"{tree.path(name)}: nothing tells which of the columns {', '.join(sorted(told))} hold "
            "labels; export as JSON, or take out what are none"
        )


def _objects(task: Mapping[str, Any], silent: dict[str, int]) -> Iterator[Object]:
    if "annotations" in task:
        for annotation in task["annotations"]:
            if not annotation.get("was_cancelled"):
                for result in annotation["result"]:
                    objects = list(_of_value(result.get("value", {})))
                    if not objects and result.get("type") not in _UNLABELLED:
                        kind = str(result.get("type"))
                        silent[kind] = silent.get(kind, 0) + 1
                    yield from objects
        return
    for key, value in task.items():
        if key in _OWN_KEYS or value in (None, ""):
            continue
        if isinstance(value, str) and value[:1] in "[{":
            value = json.loads(value)
        if isinstance(value, str) and not is_picture(value):
            yield Object(value, whole=True)
        for one in value if isinstance(value, list) else [value]:
            objects = list(_of_value(one)) if isinstance(one, Mapping) else []
            if isinstance(one, str) and isinstance(value, list):
                objects = [Object(one, whole=True)]
            if not objects and not isinstance(one, str):
                silent[key] = silent.get(key, 0) + 1
            yield from objects


def _of_value(value: Mapping[str, Any]) -> Iterator[Object]:
    choices = value.get("choices", [])
    for label in [choices] if isinstance(choices, str) else choices:
        yield Object(label, whole=True)
    for key, labels in value.items():
        # rectanglelabels, brushlabels and so on; labels for any shape.
        for label in labels if key.endswith("labels") and isinstance(labels, list) else []:
            is_polygon = key in _OUTLINED and len(value.get("points", ())) >= 3
            yield Object(label, polygon(value["points"], scale=100) if is_polygon else None)
