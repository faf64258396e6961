"""Masks that lie as files beside the pictures: whose each is, and what its values mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ws3.datasets.colors import read_colors
from ws3.datasets.importing.found import Draw, Picture
from ws3.datasets.importing.tree import MASK_FOLDER, OTHER_MASK_FOLDER, Tree
from ws3.datasets.masks import Colors, read_label_mask, values_of
from ws3.datasets.names import is_background, without_suffix
from ws3.errors import Ws3Error
from ws3.labels import IGNORED

_OTHER_FILE = re.compile(r".*_(color|instanceids|instancetrainids|labeltrainids)", re.IGNORECASE)
_MARK = re.compile(r"[_-](masks?|labels?|gtfine_labelids|seg|gt|l)$", re.IGNORECASE)
_PICTURES_MARK = re.compile(r"_leftimg8bit$", re.IGNORECASE)
_LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif")
_COLOR_TABLES = ("class_dict.csv", "labelmap.txt", "label_colors.txt", "colors.csv", "colors.txt")
_THREE_NUMBERS = re.compile(r"\d+\s*[,\s]\s*\d+\s*[,\s]\s*\d+")
# Pictures whose labels and mask were drawn by different people contradict now and then.
_NEARLY_ALL = 0.9
_LISTS = ("classes.txt", "class_names.txt", "label_colors.txt", "labels.txt", "names.txt")


def mask_files(tree: Tree) -> MaskFiles:
    """Return the mask files of class values, by the pictures that they are of."""
    files = MaskFiles()
    for name in tree.files:
        path = PurePosixPath(name)
        if path.suffix.lower() not in _LOSSLESS or _OTHER_FILE.fullmatch(path.stem):
            continue
        folders = path.parts[:-1]
        of_classes = any(map(MASK_FOLDER.fullmatch, folders))
        if not of_classes or any(map(OTHER_MASK_FOLDER.fullmatch, folders)):
            continue
        files.exact.setdefault(path.stem, []).append(name)
        bare = _MARK.sub("", path.stem)
        if bare != path.stem:
            files.marked.setdefault(bare, []).append(name)
    return files


@dataclass
class MaskFiles:
    """Mask files by stem, as it is and without what marks a mask, such as _mask."""

    exact: dict[str, list[str]] = field(default_factory=dict)
    marked: dict[str, list[str]] = field(default_factory=dict)

    def of(self, picture: str) -> list[str]:
        """Return the files that can be a picture's mask; more than one if it isn't told which."""
        stem = _PICTURES_MARK.sub("", without_suffix(PurePosixPath(picture).name))
        return self.exact.get(stem) or self.marked.get(stem, [])


def color_table(tree: Tree) -> tuple[str, dict[str, tuple[int, int, int]]] | None:
    """Return a file that gives each class a colour, and the colours; None if there is none."""
    from ws3.datasets.importing.reading import read_text

    for name in tree.files:
        path = PurePosixPath(name)
        is_one = path.name.lower() in _COLOR_TABLES and len(path.parts) <= 2
        # A list of names alone is another thing.
        if is_one and _THREE_NUMBERS.search(read_text(tree, name)):
            return name, read_colors(tree.path(name))
    return None


def class_list(tree: Tree) -> tuple[str, tuple[str, ...]] | None:
    """Return a file that lists class names, one per line, and the names; None if there is none."""
    from ws3.datasets.importing.reading import read_text

    for name in tree.files:
        path = PurePosixPath(name)
        if path.name.lower() in _LISTS and len(path.parts) <= 2:
            lines = (line.strip() for line in read_text(tree, name).splitlines())
            names = tuple(line for line in lines if line and not line.startswith("#"))
            if names:
                return name, names
    return None


def drawing(
    path: Path, values: Mapping[int, int], classes: int, colors: Colors | None = None
) -> Draw:
    """Return what draws a mask file, its values translated to class values.

    Args:
        path: The mask.
        values: Class value of each value of the file other than 0 and 255; others are refused.
        classes: Number of classes.
        colors: The value of each colour, for masks of colours.
    """

    def draw(height: int, width: int) -> npt.NDArray[np.uint8]:
        mask = read_label_mask(path, "" if colors is None else "colors", colors)
        if mask.shape != (height, width):
            raise Ws3Error(
                f"{path}: {mask.shape[1]} x {mask.shape[0]} pixels, but the picture has "
                f"{width} x {height}"
            )
        table = np.zeros(256, np.uint8)
        table[IGNORED] = IGNORED
        unknown = [v for v in values_of(mask) if v not in (0, IGNORED) and v not in values]
        if unknown:
            raise Ws3Error(f"{path}: holds the value {unknown[0]}, but there are {classes} classes")
        for value, meaning in values.items():
            table[value] = meaning
        return table[mask]

    return draw


def with_masks(
    tree: Tree,
    pictures: Sequence[Picture],
    classes: Sequence[str],
) -> tuple[tuple[Picture, ...], list[str]]:
    """Return labelled pictures with the mask files that lie beside them; see `explained`."""
    files = mask_files(tree)
    own = {str(picture.path) for picture in pictures}
    paths: dict[int, Path] = {}
    for number, picture in enumerate(pictures):
        candidates = [
            tree.path(name)
            for name in files.of(picture.path.name)
            if str(tree.path(name)) not in own
        ]
        if len(candidates) == 1 and picture.draw is None:
            paths[number] = candidates[0]
    return explained(tree, pictures, paths, classes)


def explained(
    tree: Tree,
    pictures: Sequence[Picture],
    paths: Mapping[int, Path],
    classes: Sequence[str],
    tables: Sequence[Colors | None] = (None,),
    *,
    ordered: bool = False,
) -> tuple[tuple[Picture, ...], list[str]]:
    """Return labelled pictures with their masks, if labels and values fit.

    Which value is which class is told by the pictures themselves: a value can only be a class that
    every picture with this value shows. Where that leaves a choice, or none, no mask is taken.

    Args:
        tree: Where the masks lie.
        pictures: With their labels.
        paths: The mask of each picture that has one, by the picture's number.
        classes: Names of the classes.
        tables: The value of each colour, or None for masks that hold values: the first one that
            fits a mask is taken.
        ordered: Whether values are as a rule numbered in the order of `classes`: they are taken so
            unless the labels contradict.

    Returns:
        The pictures, and notes.
    """
    if not paths:
        return tuple(pictures), []
    folder = _folders(paths.values(), tree)
    try:
        colors = _fitting(next(iter(paths.values())), tables)
        held = {number: _class_values_of(path, colors) for number, path in paths.items()}
    except Ws3Error as error:
        return tuple(pictures), [f"the masks in {folder} aren't taken: {error}"]
    shown = {number: {classes.index(x) + 1 for x in pictures[number].labels} for number in paths}
    if ordered and _agree(held, shown):
        meanings: dict[int, int] | None = {value: value for value in range(1, len(classes) + 1)}
    else:
        meanings = _meanings(held, shown)
        ordered = False
    if meanings is None:
        return tuple(pictures), [
            f"the masks in {folder} aren't taken, as their values contradict the labels or don't "
            f"tell the classes; write one number per class of the whole dataset"
        ]
    draws = {
        number: drawing(path, meanings, len(classes), colors) for number, path in paths.items()
    }
    taken = (
        Picture(p.path, p.labels, p.split, draws.get(number, p.draw))
        for number, p in enumerate(pictures)
    )
    told = ", ".join(f"{value} {classes[v - 1]}" for value, v in sorted(meanings.items()))
    how = "in the order of the classes" if ordered else f"told by the labels: {told}"
    return tuple(taken), [f"{len(draws)} masks in {folder}; their values, {how}"]


def _fitting(path: Path, tables: Sequence[Colors | None]) -> Colors | None:
    """Return the first table by which a mask can be read, or the last one."""
    for table in tables[:-1]:
        try:
            _class_values_of(path, table)
        except Ws3Error:
            continue
        return table
    return tables[-1]


def _class_values_of(path: Path, colors: Colors | None) -> tuple[int, ...]:
    mask = read_label_mask(path, "" if colors is None else "colors", colors)
    return tuple(value for value in values_of(mask) if value not in (0, IGNORED))


def _agree(held: Mapping[int, Iterable[int]], shown: Mapping[int, set[int]]) -> bool:
    """Return whether the values of nearly all masks are classes that their pictures show."""
    right = [value in shown[number] for number, values in held.items() for value in values]
    return sum(right) >= _NEARLY_ALL * len(right)


def _folders(paths: Iterable[Path], tree: Tree) -> str:
    names = sorted({path.parent.relative_to(tree.root).as_posix() for path in paths})
    return ", ".join(names[:3])


def _meanings(
    held: Mapping[int, Iterable[int]], shown: Mapping[int, set[int]]
) -> dict[int, int] | None:
    """Return the only way to give each value a class of its own, or None if it isn't told."""
    left: dict[int, set[int]] = {}
    for number, values in held.items():
        for value in values:
            left.setdefault(value, set(shown[number])).intersection_update(shown[number])
    told: dict[int, int] = {}
    while left:
        sure = [value for value, meanings in left.items() if len(meanings) == 1]
        if not sure:
            return None
        value = sure[0]
        (meaning,) = left.pop(value)
        told[value] = meaning
        for meanings in left.values():
            meanings.discard(meaning)
    return told


def values_of_list(
    names: Sequence[str], found: set[int], source: str
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the classes that a list names, and the class value of each value in its masks.

    Args:
        names: The list, in order of the masks' values.
        found: The values that the masks hold.
        source: The list's file, for messages.

    Raises:
        Ws3Error: If the numbering can't be told.
    """
    highest = max(found - {IGNORED}, default=0)
    if is_background(names[0]):
        classes = tuple(names[1:])
        numbers = {value: value for value in range(1, len(classes) + 1)}
    elif 0 in found and highest == len(names) - 1:
        raise Ws3Error(
            f"{source}: names {len(names)} classes, and the masks hold 0 to {highest}, so 0 may be "
            f"{names[0]!r} or the background; put a line with background at the head of the list, "
            "or number the classes from 1"
        )
    else:
        classes = tuple(names)
        numbers = {value: value for value in range(1, len(classes) + 1)}
    if highest > len(classes):
        raise Ws3Error(
            f"{source}: names {len(classes)} classes, but the masks hold the value {highest}"
        )
    return classes, numbers
