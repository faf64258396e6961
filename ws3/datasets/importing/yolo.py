"""YOLO: a file of boxes or polygons per picture, classes by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ws3.config.load import read_yaml
from ws3.datasets.importing.found import SPLIT_NAMES, Found, Split
from ws3.datasets.importing.objects import Object, ObjectPictures, polygon
from ws3.datasets.importing.reading import counted, read_text, split_of
from ws3.datasets.importing.tree import Tree, is_mask_folder
from ws3.datasets.names import is_picture, without_suffix
from ws3.errors import Ws3Error
from ws3.messages import shortened

_YAML = (".yaml", ".yml")
_OWN_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_BOX = 5  # class, centre x and y, width, height


@dataclass
class _Names:
    """What a list of classes tells.

    Attributes:
        source: The file.
        classes: Names by number.
        is_pose: Whether what follows a box are keypoints.
        folders: Ends of pictures' folders, with their split.
        lists: Names of files that list pictures, with their split.
    """

    source: str
    classes: list[str]
    is_pose: bool = False
    folders: list[tuple[tuple[str, ...], Split]] = field(default_factory=list)
    lists: list[tuple[str, Split]] = field(default_factory=list)


def read(tree: Tree) -> Found | None:
    """Read Ultralytics' data.yaml, darknet's obj.names, or classes.txt beside labels/.

    Boxes give labels; polygons give masks too.

    Raises:
        Ws3Error: If a file is malformed, or has a number that no class bears.
    """
    files = _label_files(tree)
    names = _names(tree) if files else None
    if names is None:
        return None
    pictures = ObjectPictures(tree, str(tree.path(names.source)))
    listed = _listed(tree, names.lists)
    by_stem = {without_suffix(name): name for name in tree.pictures}
    used: set[str] = set()
    orphans = []
    for stem, name in files.items():
        own = by_stem.get(stem)
        path = tree.path(own) if own else tree.find(stem)
        if own is None and path is not None and path.is_relative_to(tree.root):
            own = path.relative_to(tree.root).as_posix()
            if without_suffix(own) in files:  # it has a label file of its own
                orphans.append(name)
                continue
        used.add(own or stem)
        place = own or stem
        split = listed.split(place) or _split_by(names.folders, place) or _split_of(place)
        objects = _objects(tree, name, names)
        pictures.add(place, objects, split or _split_of(name), file=name)
    silent = [
        name
        for name in tree.pictures
        if name not in used and not any(map(is_mask_folder, PurePosixPath(name).parts[:-1]))
    ]
    for name in silent:
        split = listed.split(name) or _split_by(names.folders, name) or _split_of(name)
        pictures.add(name, (), split)
    if silent:
        pictures.notes.append(
            f"{counted(len(silent), 'picture')} without a label file: taken to show none of the "
            "classes"
        )
    if orphans:
        pictures.notes.append(
            f"{counted(len(orphans), 'label file')} without a picture, left out: "
            f"{shortened(orphans[0], 80)}{' ...' if len(orphans) > 1 else ''}"
        )
    reason = f"{names.source} names the classes of the label files"
    return pictures.found("YOLO", reason, names.classes)


def _names(tree: Tree) -> _Names | None:
    found: _Names | None = None
    for name in tree.texts(*_YAML):
        data = _yaml(tree, name)
        if not isinstance(data, Mapping) or "names" not in data:
            continue
        classes = _name_list(tree, name, data["names"])
        if found is None:
            found = _Names(name, classes)
        elif classes != found.classes:
            raise Ws3Error(
                f"{tree.path(name)}: its names are others than those of {found.source}; import "
                "each of these datasets by itself, or make both lists the same"
            )
        found.is_pose |= data.get("kpt_shape") is not None
        for split in ("train", "val", "test"):
            places = data.get(split)
            for place in places if isinstance(places, list) else [places]:
                if isinstance(place, str):
                    _take(tree, found, place, split)
    if found is not None:
        return found
    for name in tree.files:
        if PurePosixPath(name).name in ("obj.names", "classes.txt", "classes.names"):
            lines = (line.strip() for line in read_text(tree, name).splitlines())
            return _Names(name, [line for line in lines if line])
    return None


def _take(tree: Tree, names: _Names, place: str, split: Split) -> None:
    """Take in a folder or a list of a split."""
    place = place.strip().replace("\\", "/")
    parts = tuple(part for part in place.split("/") if part not in ("", ".", ".."))
    if not parts:
        return
    if place.endswith(".txt"):
        wanted = "/".join(parts)
        names.lists += [
            (name, split) for name in tree.files if name == wanted or name.endswith(f"/{wanted}")
        ]
        return
    # Of a path of another machine, only the end can be found here.
    is_elsewhere = place.startswith("/") or ":" in parts[0]
    names.folders.append((parts[-2:] if is_elsewhere else parts, split))


def _yaml(tree: Tree, name: str) -> Any:
    try:
        return read_yaml(tree.path(name))
    except Ws3Error:
        if PurePosixPath(name).name in _OWN_YAML:
            raise
        return None


def _name_list(tree: Tree, name: str, names: Any) -> list[str]:
    if isinstance(names, Mapping) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise Ws3Error(f"{tree.path(name)}: names should list the classes, or number them from 0")
    return [str(one).strip() for one in names]


def _label_files(tree: Tree) -> dict[str, str]:
    """Return the label files by where their picture would be, without ending."""
    found = {}
    pictures = {without_suffix(name) for name in tree.pictures}
    for name in tree.files:
        path = PurePosixPath(name)
        if path.suffix != ".txt":
            continue
        stem = name.removesuffix(".txt")
        if stem in pictures:
            found[stem] = name
        elif "labels" in path.parts[:-1]:
            found[_beside(stem)] = name
    return found


def _beside(name: str) -> str:
    """Return where the picture of a label file lies: `images` in place of the last `labels`."""
    parts = list(PurePosixPath(name).parts)
    last = max(number for number, part in enumerate(parts[:-1]) if part == "labels")
    parts[last] = "images"
    return "/".join(parts)


def _split_of(name: str) -> Split | None:
    for part in reversed(PurePosixPath(name).parts[:-1]):
        for word in (part.lower(), *part.lower().split("_")):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return None


def _split_by(folders: Iterable[tuple[tuple[str, ...], Split]], name: str) -> Split | None:
    """Return the only split that has one of a picture's folders."""
    parents = PurePosixPath(name).parts[:-1]
    splits = {
        split
        for parts, split in folders
        if any(parents[i : i + len(parts)] == parts for i in range(len(parents)))
    }
    return splits.pop() if len(splits) == 1 else None


class _Lists:
    """Splits by lists such as train.txt, which name pictures with or without their folder."""

    def __init__(self) -> None:
        self._splits: dict[str, set[Split]] = {}

    def add(self, picture: str, split: Split) -> None:
        for key in _tails(picture):
            self._splits.setdefault(key, set()).add(split)

    def split(self, picture: str) -> Split | None:
        for key in _tails(picture):
            splits = self._splits.get(key, set())
            if len(splits) == 1:
                return next(iter(splits))
        return None


def _tails(picture: str) -> Iterator[str]:
    """Yield a picture's folder and name, and its name alone, without ending."""
    parts = PurePosixPath(without_suffix(picture)).parts
    if len(parts) > 1:
        yield "/".join(parts[-2:])
    yield parts[-1]


def _listed(tree: Tree, lists: Iterable[tuple[str, Split]]) -> _Lists:
    found = _Lists()
    named = dict(lists)
    for name in tree.files:
        by_name = split_of(name) if "/" not in name and name.endswith(".txt") else None
        split = named.get(name, by_name)
        if split is None:
            continue
        for line in read_text(tree, name).splitlines():
            picture = line.strip().replace("\\", "/")
            if is_picture(picture):
                found.add(picture, split)
    return found


def _objects(tree: Tree, name: str, names: _Names) -> Iterator[Object]:
    classes = names.classes
    for number, line in enumerate(read_text(tree, name).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            kind, *numbers = (float(word) for word in line.split())
            if kind != int(kind) or not 0 <= kind < len(classes):
                raise ValueError(f"there are {len(classes)} classes, numbered from 0")
            if len(numbers) < _BOX - 1:
                raise ValueError("expected are a class and the numbers of a box or a polygon")
        except (ValueError, OverflowError) as error:
            raise Ws3Error(
                f"{tree.path(name)}: line {number}: {shortened(line, 60)!r}: {error}"
            ) from error
        outline = None
        # Four numbers are a box, five a box with its probability.
        if not names.is_pose and len(numbers) > _BOX and len(numbers) % 2 == 0:
            outline = polygon(zip(numbers[::2], numbers[1::2], strict=True), scale=1)
        yield Object(classes[int(kind)], outline)
