"""Masks that lie as files beside the pictures: whose each is, and what its values mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ws3.datasets.importing.found import Draw, Picture
from ws3.datasets.importing.tree import MASK_FOLDER, OTHER_MASK_FOLDER, Tree
from ws3.datasets.masks import read_label_mask, values_of
from ws3.datasets.names import is_background, without_suffix
from ws3.errors import Ws3Error
from ws3.labels import IGNORED

_OTHER_FILE = re.compile(r".*_(color|instanceids|instancetrainids|labeltrainids)", re.IGNORECASE)
_MARK = re.compile(r"[_-](masks?|labels?|gtfine_labelids|leftimg8bit|seg|gt)$", re.IGNORECASE)
_LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif")
_LISTS = ("classes.txt", "class_names.txt", "label_colors.txt", "labels.txt", "names.txt")


def mask_files(tree: Tree) -> dict[str, list[str]]:
    """Return the mask files of class values by the stem of the picture that they are of."""
    found: dict[str, list[str]] = {}
    for name in tree.files:
        path = PurePosixPath(name)
        if path.suffix.lower() not in _LOSSLESS or _OTHER_FILE.fullmatch(path.stem):
            continue
        folders = path.parts[:-1]
        if not any(map(MASK_FOLDER.fullmatch, folders)) or any(
            map(OTHER_MASK_FOLDER.fullmatch, folders)
        ):
            continue
        found.setdefault(bare_stem(path.name), []).append(name)
    return found


def bare_stem(name: str) -> str:
    """Return a file's name without ending and without what marks a mask.

    Example:
        >>> bare_stem("a01_gtFine_labelIds.png"), bare_stem("a01_leftImg8bit.jpg")
        ('a01', 'a01')
    """
    return _MARK.sub("", without_suffix(PurePosixPath(name).name))


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


def drawing(path: Path, values: Mapping[int, int], classes: int) -> Draw:
    """Return what draws a mask file, its values translated to class values.

    Args:
        path: The mask.
        values: Class value of each value of the file other than 0 and 255; others are refused.
        classes: Number of classes.
    """

    def draw(height: int, width: int) -> npt.NDArray[np.uint8]:
        mask = read_label_mask(path)
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
    tree: Tree, pictures: Sequence[Picture], classes: Sequence[str]
) -> tuple[tuple[Picture, ...], list[str]]:
    """Return labelled pictures with the mask files that lie beside them, if labels and values fit.

    Which value is which class is told by the pictures themselves: a value can only be a class that
    every picture with this value shows. Where that leaves a choice, or none, no mask is taken.

    Returns:
        The pictures, and notes.

    Raises:
        Ws3Error: If a mask can't be decoded.
    """
    files = mask_files(tree)
    own = {str(picture.path) for picture in pictures}
    paths: dict[int, Path] = {}
    for number, picture in enumerate(pictures):
        candidates = [
            tree.path(name)
            for name in files.get(bare_stem(picture.path.name), ())
            if str(tree.path(name)) not in own
        ]
        if len(candidates) == 1 and picture.draw is None:
            paths[number] = candidates[0]
    if not paths:
        return tuple(pictures), []
    folder = _folders(paths.values(), tree)
    possible: dict[int, set[str]] = {}
    try:
        for number, path in paths.items():
            for value in values_of(read_label_mask(path)):
                if value not in (0, IGNORED):
                    possible.setdefault(value, set(classes)).intersection_update(
                        pictures[number].labels
                    )
    except Ws3Error as error:
        return tuple(pictures), [f"the masks in {folder} aren't taken: {error}"]
    meanings = _meanings(possible, classes)
    if meanings is None:
        return tuple(pictures), [
            f"the masks in {folder} aren't taken, as their values contradict the labels or don't "
            f"tell the classes; write one number per class of the whole dataset"
        ]
    draws = {number: drawing(path, meanings, len(classes)) for number, path in paths.items()}
    taken = (
        Picture(p.path, p.labels, p.split, draws.get(number, p.draw))
        for number, p in enumerate(pictures)
    )
    told = ", ".join(f"{value} {classes[v - 1]}" for value, v in sorted(meanings.items()))
    note = f"{len(draws)} masks in {folder}; their values, told by the labels: {told}"
    return tuple(taken), [note]


def _folders(paths: Iterable[Path], tree: Tree) -> str:
    names = sorted({path.parent.relative_to(tree.root).as_posix() for path in paths})
    return ", ".join(names[:3])


def _meanings(possible: Mapping[int, set[str]], classes: Sequence[str]) -> dict[int, int] | None:
    """Return the only way to give each value a class of its own, or None if it isn't told."""
    left = {value: set(names) for value, names in possible.items()}
    told: dict[int, int] = {}
    while left:
        sure = [value for value, names in left.items() if len(names) == 1]
        if not sure:
            return None
        value = sure[0]
        (name,) = left.pop(value)
        told[value] = classes.index(name) + 1
        for names in left.values():
            names.discard(name)
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
