"""VGG Image Annotator's JSON: one file of all pictures, regions with attributes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.objects import Object, ObjectPictures, Outline, polygon
from ws3.datasets.importing.reading import counted, look_at_json, split_of
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.messages import shown

_CORNERS = 72  # of a circle or an ellipse


def read(tree: Tree) -> Found | None:
    """Read annotations or whole projects of VIA; several files are splits.

    Raises:
        Ws3Error: If a file is malformed, or regions have several attributes that could be classes.
    """
    files = [name for name in tree.texts(".json") if name.count("/") <= 1]
    if not files or len(files) > 20:
        return None
    entries = {name: _entries(look_at_json(tree, name)) for name in files}
    entries = {name: found for name, found in entries.items() if found}
    if not entries:
        return None
    pictures = ObjectPictures(tree, str(tree.path(next(iter(entries)))))
    nameless = 0
    for name, found in entries.items():
        attribute = _attribute(tree, name, found)
        for entry in found:
            try:
                objects = list(_objects(entry, attribute))
                nameless += sum(not one.label for one in objects)
                pictures.add(entry["filename"], objects, split_of(name), name)
            except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
                raise Ws3Error(
                    f"{tree.path(name)}: not as VIA writes it ({type(error).__name__}: {error})"
                ) from error
    if nameless:
        pictures.notes.append(f"{counted(nameless, 'region')} without a class: left out")
    return pictures.found("VGG Image Annotator", f"{', '.join(entries)} holds its regions")


def _entries(data: Any) -> list[Mapping[str, Any]]:
    if isinstance(data, Mapping) and "_via_img_metadata" in data:
        data = data["_via_img_metadata"]
    found = list(data.values()) if isinstance(data, Mapping) else []
    keys = {"filename", "regions"}
    is_via = all(isinstance(one, Mapping) and keys <= one.keys() for one in found)
    return found if is_via else []


def _regions(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    regions = entry["regions"]
    # VIA 1 has them by number.
    return list(regions.values()) if isinstance(regions, Mapping) else list(regions)


def _attribute(tree: Tree, name: str, entries: list[Mapping[str, Any]]) -> str:
    try:
        keys = dict.fromkeys(
            key
            for entry in entries
            for region in _regions(entry)
            for key in region.get("region_attributes") or {}
        )
    except (AttributeError, TypeError) as error:
        raise Ws3Error(f"{tree.path(name)}: not as VIA writes it ({error})") from error
    usual = [key for key in keys if key.lower() in ("class", "label", "name", "type", "category")]
    if len(keys) == 1 or len(usual) == 1:
        return str((usual or list(keys))[0])
    raise Ws3Error(
        f"{tree.path(name)}: its regions have the attributes {shown(', '.join(keys))}; call the "
        "one that is the class label"
    )


def _objects(entry: Mapping[str, Any], attribute: str) -> Iterator[Object]:
    for region in _regions(entry):
        value = region["region_attributes"].get(attribute)
        # Check boxes are a mapping of those that are set.
        labels = [key for key in value if value[key]] if isinstance(value, Mapping) else [value]
        for label in labels or [None]:
            text = label.strip() if isinstance(label, str) else ""
            yield Object(text, _outline(region["shape_attributes"]))


def _outline(shape: Mapping[str, Any]) -> Outline | None:
    match shape["name"]:
        case "polygon":
            return polygon(zip(shape["all_points_x"], shape["all_points_y"], strict=True))
        case "circle" | "ellipse":
            wide = shape["r"] if "r" in shape else shape["rx"]
            high = shape["r"] if "r" in shape else shape["ry"]
            tilt = shape.get("theta", 0)
            turns = [2 * math.pi * number / _CORNERS for number in range(_CORNERS)]
            return polygon(
                [
                    (
                        shape["cx"]
                        + wide * math.cos(t) * math.cos(tilt)
                        - high * math.sin(t) * math.sin(tilt),
                        shape["cy"]
                        + wide * math.cos(t) * math.sin(tilt)
                        + high * math.sin(t) * math.cos(tilt),
                    )
                    for t in turns
                ]
            )
    return None  # rectangles, lines and points
