"""A folder per class, as classification tools write them, with or without folders of splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from ws3.datasets.importing.found import SPLIT_NAMES, Found, Picture
from ws3.datasets.importing.reading import NO_LABEL, counted
from ws3.datasets.importing.tree import Tree, is_mask_folder
from ws3.datasets.names import is_background
from ws3.outside import PICTURE_BYTES, read_regular

# Folders that hold pictures of every class.
_CONTAINERS = {"images", "image", "imgs", "img", "data", "pictures", "photos", "jpegimages", "raw"}


def read(tree: Tree) -> Found | None:
    """Read a tree of `<class>/<picture>` or `<split>/<class>/<picture>`.

    A picture that lies in two classes' folders, under the same name and with the same bytes, shows
    both. `no_label` and its like are no classes: their pictures show none.

    Returns:
        None if pictures lie elsewhere too, or fewer than two folders hold any.
    """
    if tree.named is not None or not tree.pictures:
        return None
    siblings: dict[str, set[str]] = {}
    for name in tree.pictures:
        *above, folder, _ = ("", *PurePosixPath(name).parts)
        siblings.setdefault("/".join(above), set()).add(folder.lower())
    places = {name: _place(name, siblings) for name in tree.pictures}
    if not all(places.values()):
        return None
    folders = dict.fromkeys(place[1] for place in places.values() if place)
    classes = [name for name in folders if not _is_none(name)]
    if len(folders) < 2 or not classes:
        return None
    pictures: dict[tuple[str, str], Picture] = {}
    several = 0
    for name, place in places.items():
        split, folder = place or ("", "")
        path = tree.path(name)
        file = PurePosixPath(name).name
        key = (split, file)
        labels = () if _is_none(folder) else (folder,)
        before = pictures.get(key)
        if before is not None and not _same(before, path.stat().st_size, tree, name):
            key, before = (split, name), None
        if before is not None:
            several += 1
            path, labels = before.path, tuple(dict.fromkeys((*before.labels, *labels)))
        pictures[key] = Picture(path, labels, SPLIT_NAMES.get(split))
    notes = []
    if several:
        notes.append(
            f"{counted(several, 'picture')} in several classes' folders: taken to show all of them"
        )
    empty = [name for name in folders if _is_none(name)]
    if empty:
        notes.append(f"the folder {', '.join(empty)} is no class: its pictures show none")
    shown = ", ".join(classes[:5]) + (" ..." if len(classes) > 5 else "")
    return Found(
        "a folder per class",
        f"all pictures lie in {len(folders)} folders: {shown}",
        tuple(sorted(classes)),
        tuple(pictures.values()),
        tuple(notes),
    )


def _place(name: str, siblings: Mapping[str, set[str]]) -> tuple[str, str] | None:
    """Return the split ("" if none is told) and the class folder of a picture, or None."""
    folders = PurePosixPath(name).parts[:-1]
    # An outer folder of the whole dataset, as archives have it, doesn't matter.
    if not folders:
        return None
    label = folders[-1]
    if label.lower() in _CONTAINERS or any(map(is_mask_folder, folders)):
        return None
    # `train` is a class too, of vehicles: then other classes stand beside it.
    beside = siblings["/".join(("", *folders[:-1]))]
    if label.lower() in SPLIT_NAMES and beside <= SPLIT_NAMES.keys():
        return None
    above = [part.lower() for part in folders[:-1] if part.lower() in SPLIT_NAMES]
    return (above[-1] if above else "", label)


def _is_none(folder: str) -> bool:
    return folder.strip().lower() in NO_LABEL or is_background(folder)


def _same(before: Picture, size: int, tree: Tree, name: str) -> bool:
    if before.path.stat().st_size != size:
        return False
    return _digest(before.path) == _digest(tree.path(name))


def _digest(path: object) -> bytes:
    return hashlib.sha256(read_regular(str(path), PICTURE_BYTES)).digest()
