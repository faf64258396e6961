"""YOLO: a file of boxes or polygons per picture, classes by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ws3.config.load import read_yaml
from ws3.datasets.importing.found import SPLIT_NAMES, Found, Split
from ws3.datasets.importing.objects import Object, ObjectPictures, polygon
from ws3.datasets.importing.reading import counted, read_text, split_of
from ws3.datasets.importing.tree import Tree
from ws3.datasets.names import is_picture, without_suffix
from ws3.errors import Ws3Error
from ws3.messages import shortened

_YAML = (".yaml", ".yml")
_BOX = 5  # class, centre x and y, width, height


def read(tree: Tree) -> Found | None:
    """Read Ultralytics' data.yaml, darknet's obj.names, or classes.txt beside labels/.

    Boxes give labels; polygons give masks too.

    Raises:
        Ws3Error: If a file is malformed, or has a number that no class bears.
    """
    names = _names(tree)
    if names is None:
        return None
    source, classes = names
    files = _label_files(tree)
    if not files:
        return None
    pictures = ObjectPictures(tree, str(tree.path(source)))
    splits = _listed(tree)
    done = set()
    for stem, name in files.items():
        done.add(stem)
        split = splits.get(stem.rpartition("/")[2]) or _split_of(name)
        # The name of the label file, without its ending, is the picture's.
        reference = PurePosixPath(name).stem
        pictures.add(reference, _objects(tree, name, classes), split, _beside(name))
    silent = [
        name
        for name in tree.pictures
        if without_suffix(PurePosixPath(name).name) not in {one.rpartition("/")[2] for one in done}
    ]
    for name in silent:
        pictures.add(name, (), _split_of(name))
    if silent:
        pictures.notes.append(
            f"{counted(len(silent), 'picture')} without a label file: taken to show none of the "
            "classes"
        )
    return pictures.found("YOLO", f"{source} names the classes of the label files", classes)


def _names(tree: Tree) -> tuple[str, list[str]] | None:
    for name in tree.texts(*_YAML):
        data = _yaml(tree, name)
        if isinstance(data, Mapping) and "names" in data:
            return name, _name_list(tree, name, data["names"])
    for name in tree.files:
        if PurePosixPath(name).name in ("obj.names", "classes.txt", "classes.names"):
            lines = (line.strip() for line in read_text(tree, name).splitlines())
            return name, [line for line in lines if line]
    return None


def _yaml(tree: Tree, name: str) -> Any:
    try:
        return read_yaml(tree.path(name))
    except Ws3Error:
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
        beside = stem in pictures
        if "labels" in path.parts[:-1] or beside:
            found[stem] = name
    return found


def _beside(name: str) -> str:
    """Return where the picture of a label file lies: `images` in place of `labels`."""
    parts = ["images" if part == "labels" else part for part in PurePosixPath(name).parts]
    return "/".join(parts)


def _split_of(name: str) -> Split | None:
    for part in reversed(PurePosixPath(name).parts[:-1]):
        for word in (part.lower(), *part.lower().split("_")):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return None


def _listed(tree: Tree) -> dict[str, Split]:
    """Return the split of each picture's stem, by lists such as train.txt."""
    splits: dict[str, Split] = {}
    for name in tree.files:
        split = split_of(name) if "/" not in name and name.endswith(".txt") else None
        if split is None:
            continue
        for line in read_text(tree, name).splitlines():
            if is_picture(line.strip()):
                splits[without_suffix(PurePosixPath(line.strip()).name)] = split
    return splits


def _objects(tree: Tree, name: str, classes: list[str]) -> Iterator[Object]:
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
        if len(numbers) > _BOX and len(numbers) % 2 == 0:
            outline = polygon(zip(numbers[::2], numbers[1::2], strict=True), scale=1)
        yield Object(classes[int(kind)], outline)
