"""COCO JSON with categories of one's own: instances, labels alone, stuff and panoptic."""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ws3.datasets import images
from ws3.datasets.coco_files import CocoId, check_id, items_of, malformed, naming, pictures_of
from ws3.datasets.coco_regions import (
    Layer,
    area_of,
    checked_crowd,
    checked_size,
    encode_region,
    stacked,
)
from ws3.datasets.importing.found import Draw, Found, Split
from ws3.datasets.importing.reading import Gathering, counted, split_of
from ws3.datasets.importing.tree import Tree
from ws3.datasets.names import is_background
from ws3.errors import Ws3Error
from ws3.labels import IGNORED
from ws3.messages import shown
from ws3.outside import open_regular

_KINDS = ("instances", "panoptic", "stuff", "labels")
"""The first words of COCO's own files' names that tell labels, those with most to tell first."""

_OTHERS = ("captions", "person_keypoints", "image_info")
_HEAD = 1 << 16
_KEY = re.compile(rb'"(images|annotations|categories|info|licenses)"\s*:')


def read(tree: Tree) -> Found | None:
    """Read COCO JSON files, wherever they lie: one, or one per split.

    Raises:
        Ws3Error: If a file is malformed, or several of one split could be meant.
    """
    files = [name for name in tree.texts(".json") if _is_coco(tree, name)]
    if not files:
        return None
    chosen = _chosen(tree, files)
    sources = [_Source(tree, name, split) for name, split in chosen.items()]
    gathered = Gathering(tree, str(tree.path(sources[0].name)))
    classes = _classes(sources, gathered.notes)
    for source in sources:
        source.gather(gathered, classes)
    names = ", ".join(source.name for source in sources[:3])
    kind = f"COCO {sources[0].kind}"
    verb = "holds" if len(sources) == 1 else "hold"
    reason = f"{names} {verb} images, annotations and categories"
    return gathered.found(kind, reason, classes)


def _is_coco(tree: Tree, name: str) -> bool:
    stem = PurePosixPath(name).stem.lower()
    if stem.startswith(_OTHERS):
        return False
    try:
        with open_regular(tree.path(name), 1 << 40) as file:
            head = file.read(_HEAD)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _HEAD, _HEAD))
            tail = file.read()
    except OSError:
        return False
    if head.startswith((BOM_UTF16_BE, BOM_UTF16_LE)):
        head = head.decode("utf-16", errors="replace").encode()
        if {b"images", b"annotations"} <= set(_KEY.findall(head)):
            raise Ws3Error(f"{tree.path(name)}: not UTF-8 text; save it as UTF-8")
    found = set(_KEY.findall(head))
    if b"images" not in found and not (found >= {b"info", b"licenses"}):
        return False
    # Of a long file the other lists lie further on, the last of them as a rule near its end.
    if found >= {b"images", b"annotations", b"categories"} or (
        tail and found | set(_KEY.findall(tail)) >= {b"images", b"categories"}
    ):
        return True
    return all(
        next(items_of(tree.path(name), key), None) is not None for key in ("images", "categories")
    )


def _chosen(tree: Tree, files: Sequence[str]) -> dict[str, Split | None]:
    """Return one file per split, those with outlines before those with labels alone."""
    by_split: dict[Split | None, list[str]] = {}
    for name in files:
        by_split.setdefault(split_of(name), []).append(name)
    if len(by_split) > 1:
        by_split.pop(None, None)
    chosen: dict[str, Split | None] = {}
    for split, names in by_split.items():
        best = min(map(_rank, names))
        same = [name for name in names if _rank(name) == best]
        if len(same) > 1:
            raise Ws3Error(
                f"{tree.root}: {', '.join(same[:3])} are all COCO files"
                f"{f' of {split}' if split else ''}; name the one that is meant"
            )
        chosen[same[0]] = split
    return chosen


def _rank(name: str) -> int:
    return _KINDS.index(_kind(name))


def _kind(name: str) -> str:
    stem = PurePosixPath(name).stem.lower()
    return next((kind for kind in _KINDS if stem.startswith(f"{kind}_")), _KINDS[0])


class _Region(NamedTuple):
    """An object's region: encoded for a picture of `size`, or as it was found if that is None."""

    crowd: bool
    category: CocoId
    outline: Any
    size: tuple[int, int] | None = None

    def layer(self, value: int, height: int, width: int) -> Layer:
        if self.size is None:
            encoded = encode_region(self.outline, height, width)
        elif self.size == (height, width):
            encoded = self.outline
        else:
            raise ValueError(
                f"its file says {self.size[1]} x {self.size[0]} pixels, but the picture has "
                f"{width} x {height}"
            )
        return Layer(value, area_of(encoded), encoded)


@dataclass
class _Source:
    """One file: its categories and, once gathered, what its annotations say."""

    tree: Tree
    name: str
    split: Split | None
    kind: str = "instances"
    categories: dict[CocoId, str] = field(default_factory=dict)
    groups: set[CocoId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.path = self.tree.path(self.name)
        supers = Counter[str]()
        for item in items_of(self.path, "categories"):
            identity: Any = item.get("id") if isinstance(item, dict) else None
            with naming(self.path, "category", identity):
                check_id(identity, self.categories)
                if not isinstance(item.get("name"), str):
                    raise ValueError(f"its name is {shown(item.get('name'))}, not a text")
            self.categories[identity] = item["name"].strip()
            parent = item.get("supercategory")
            if isinstance(parent, str) and parent.strip() != item["name"].strip():
                supers[parent.strip()] += 1
        if not self.categories:
            raise malformed(self.path, ValueError("it has no categories"))
        self.categories = dict(sorted(self.categories.items(), key=lambda entry: str(entry[0])))
        if all(isinstance(identity, int) for identity in self.categories):
            self.categories = dict(sorted(self.categories.items()))
        try:
            self.pictures = {str(item["id"]): item for item in pictures_of(self.path)}
        except (KeyError, TypeError) as error:
            raise malformed(self.path, error) from error
        self.used = Counter[CocoId]()
        self.groups = {one for one, name in self.categories.items() if supers[name]}
        self.kind = _kind(self.name)
        self._read_annotations()

    def _read_annotations(self) -> None:
        self.labels: dict[str, dict[str, None]] = {}
        self.regions: dict[str, list[_Region]] = {}
        self.unoutlined: set[str] = set()
        self.boxes = self.strangers = 0
        self.panoptic: dict[str, tuple[str, dict[int, tuple[CocoId, bool]]]] = {}
        runs = crowd_runs = 0
        try:
            for number, item in enumerate(items_of(self.path, "annotations"), start=1):
                image = str(item["image_id"])
                if image not in self.pictures:
                    self.strangers += 1
                    continue
                with naming(self.path, "annotation", item.get("id", f"number {number}")):
                    if "segments_info" in item:
                        self._read_segments(image, item)
                        continue
                    category = self._category(item["category_id"])
                    crowd = checked_crowd(item.get("iscrowd"))
                    self._label(image, category)
                    outline = item.get("segmentation")
                    if not outline:
                        self.boxes += "bbox" in item
                        self.unoutlined.add(image)
                        continue
                    if isinstance(outline, dict):
                        runs += 1
                        crowd_runs += crowd
                    region = self._region(image, crowd, category, outline)
                    self.regions.setdefault(image, []).append(region)
        except (KeyError, TypeError, AttributeError) as error:
            raise malformed(self.path, error) from error
        # Datumaro and CVAT write every brushed mask as a crowd.
        # Those of MS COCO itself are crowds.
        is_ms_coco = self.categories.get(90) == "toothbrush"
        self.crowds_are_objects = runs > 0 and runs == crowd_runs and not is_ms_coco

    def _category(self, identity: Any) -> CocoId:
        if isinstance(identity, bool) or not isinstance(identity, int | str):
            raise ValueError(f"its category_id is {shown(identity)}")
        if identity not in self.categories:
            raise ValueError(f"its category {shown(identity)} isn't in the file's categories")
        self.used[identity] += 1
        return identity

    def _label(self, image: str, category: CocoId) -> None:
        self.labels.setdefault(image, {})[self.categories[category]] = None

    def _region(self, image: str, crowd: bool, category: CocoId, outline: Any) -> _Region:
        """Return a region, as run lengths, which are small, if the picture's size is told."""
        picture = self.pictures[image]
        size = (picture.get("height"), picture.get("width"))
        try:
            height, width = checked_size(*size)
        except ValueError:  # Label Studio writes null where nothing was drawn
            return _Region(crowd, category, outline)
        return _Region(crowd, category, encode_region(outline, height, width), (height, width))

    def _read_segments(self, image: str, item: Mapping[str, Any]) -> None:
        table: dict[int, tuple[CocoId, bool]] = {}
        for segment in item["segments_info"]:
            category = self._category(segment["category_id"])
            if isinstance(segment["id"], bool) or not isinstance(segment["id"], int):
                raise ValueError(f"a segment's id is {shown(segment['id'])}, not a number")
            table[segment["id"]] = (category, checked_crowd(segment.get("iscrowd")))
            self._label(image, category)
        if not isinstance(item["file_name"], str):
            raise ValueError(f"its file_name is {shown(item['file_name'])}")
        self.panoptic[image] = (item["file_name"], table)

    def gather(self, gathered: Gathering, classes: Sequence[str]) -> None:
        """Hand all pictures on, with their labels and what draws their masks."""
        values = {
            identity: classes.index(name) + 1
            for identity, name in self.categories.items()
            if name in classes
        }
        without = unpainted = 0
        for image, picture in self.pictures.items():
            labels = [name for name in self.labels.get(image, ()) if name in classes]
            draw = self._draw(image, values)
            without += draw is None and image in self.regions
            unpainted += draw is None and image in self.panoptic
            if not labels and image not in self.unoutlined:
                draw = _nothing if self.regions or self.panoptic else None
            gathered.add(picture["file_name"], labels, self.split, draw, self.name)
        notes = gathered.notes
        if self.boxes:
            notes.append(
                f"{self.name}: {counted(self.boxes, 'object')} with a box alone: a label, no mask"
            )
        if without:
            notes.append(
                f"{self.name}: {counted(without, 'picture')} gets no mask, as one of its objects "
                "has no outline"
            )
        if unpainted:
            notes.append(
                f"{self.name}: {counted(unpainted, 'picture')} gets no mask, as the PNG of its "
                f"segments isn't in {PurePosixPath(self.name).with_suffix('')}"
            )
        if self.strangers:
            notes.append(
                f"{self.name}: {counted(self.strangers, 'annotation')} left out, of images that "
                "aren't in the file"
            )
        if self.crowds_are_objects:
            notes.append(
                f"{self.name}: all its run lengths are marked iscrowd, as some tools mark brushed "
                "masks; they are taken for objects"
            )

    def _draw(self, image: str, values: Mapping[CocoId, int]) -> Draw | None:
        if image in self.panoptic:
            return self._panoptic_draw(image, values)
        if image not in self.regions or image in self.unoutlined:
            return None
        regions = [one for one in self.regions[image] if one.category in values]
        as_object = self.crowds_are_objects
        path = self.path

        def draw(height: int, width: int) -> npt.NDArray[np.uint8]:
            with naming(path, "image", image):
                layers = [
                    one.layer(
                        IGNORED if one.crowd and not as_object else values[one.category],
                        height,
                        width,
                    )
                    for one in regions
                ]
            return stacked(layers, height, width)

        return draw

    def _panoptic_draw(self, image: str, values: Mapping[CocoId, int]) -> Draw | None:
        file, table = self.panoptic[image]
        beside = PurePosixPath(self.name).with_suffix("") / file
        path = self.tree.path(str(beside))
        if not path.is_file():
            return None

        def draw(height: int, width: int) -> npt.NDArray[np.uint8]:
            pixels = images.decode_rgb(images.read_bytes(path), path).astype(np.int64)
            if pixels.shape[:2] != (height, width):
                raise Ws3Error(f"{path}: isn't of its picture's size, {width} x {height}")
            ids = pixels @ np.array([1, 256, 256 * 256])
            mask = np.zeros((height, width), np.uint8)
            for identity, (category, crowd) in table.items():
                mask[ids == identity] = IGNORED if crowd else values.get(category, 0)
            return mask

        return draw


def _nothing(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.zeros((height, width), np.uint8)


def _classes(sources: Sequence[_Source], notes: list[str]) -> tuple[str, ...]:
    """Return the classes of all files, by name, without groups and the background."""
    used = Counter(
        source.categories[identity] for source in sources for identity in source.used.elements()
    )
    names: dict[str, None] = {}
    dropped: dict[str, None] = {}
    for source in sources:
        for identity, name in source.categories.items():
            is_group = not used[name] and identity in source.groups
            target = dropped if is_group or (is_background(name) and not used[name]) else names
            target[name] = None
            if is_background(name) and used[name]:
                names.pop(name, None)
                dropped[name] = None
    if dropped:
        notes.append(f"no class, but a group or the background: {', '.join(dropped)}")
    lists = {tuple(source.categories.values()) for source in sources}
    if len(lists) > 1:
        notes.append("the files' categories differ; they are matched by name")
    return tuple(names)
