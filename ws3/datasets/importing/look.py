"""Looking: which tool wrote a folder, told by what lies in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.messages import shortened
from ws3.registry import deferred

_PLACE = "ws3.datasets.importing"

READERS: Mapping[str, Callable[[Tree], Found | None]] = {
    "coco": deferred(f"{_PLACE}.coco:read"),
    "yolo": deferred(f"{_PLACE}.yolo:read"),
    "voc": deferred(f"{_PLACE}.voc:read"),
    "label-me-xml": deferred(f"{_PLACE}.label_me_xml:read"),
    "cvat": deferred(f"{_PLACE}.cvat:read"),
    "fiftyone": deferred(f"{_PLACE}.fiftyone:read"),
    "datumaro": deferred(f"{_PLACE}.datumaro:read"),
    "labelme": deferred(f"{_PLACE}.labelme:read"),
    "via": deferred(f"{_PLACE}.via:read"),
    "segment-anything": deferred(f"{_PLACE}.segment_anything:read"),
    "label-studio": deferred(f"{_PLACE}.label_studio:read"),
    "open-images": deferred(f"{_PLACE}.open_images:read"),
    "imagenet-txt": deferred(f"{_PLACE}.imagenet_txt:read"),
    "table": deferred(f"{_PLACE}.tables:read"),
    "class-folders": deferred(f"{_PLACE}.class_folders:read"),
    "masks": deferred(f"{_PLACE}.mask_trees:read"),
}
"""Readers by format, the surest signs first. Each returns None for what isn't its own, and raises
`Ws3Error` for what is but can't be read."""

_CERTAIN_WITHOUT_JSON = {
    *("yolo", "voc", "label-me-xml", "cvat", "open-images", "imagenet-txt", "table"),
}
"""Readers that need no JSON and don't guess: what they read stays true beside a broken one."""

_NO_LABELS = (
    (
        ("label.png", "label_names.txt"),
        "labelme numbered the classes in each label.png by what this picture shows, so one number "
        "has several meanings; name the folder of its JSON files",
    ),
    (
        ("ImageSets/*/*.txt", "JPEGImages/*"),
        "has Pascal VOC's lists of pictures, but neither annotations, lists of each class nor "
        "masks; the tool that wrote it may have left out what isn't a box or a mask",
    ),
)
"""Files that tell what a folder is which no reader knows, and what is said of it."""


def look(path: str | Path, images: str | Path | None = None, reader: str | None = None) -> Found:
    """Return what a folder or file of labels holds, by the first reader that knows it.

    Args:
        path: The dataset's folder, or the file that tells its labels.
        images: Where the pictures lie, if not there.
        reader: A name of `READERS`, to try no other; None tries all.

    Raises:
        Ws3Error: If no reader knows it, it is damaged, or none of its pictures is found. A broken
            JSON file beside what needs none, such as a table, is a note.
    """
    tree = Tree(path, images)
    readers = READERS if reader is None else {reader: READERS[reader]}
    for name, read in readers.items():
        found = read(tree)
        if found is not None and (not tree.broken or name in _CERTAIN_WITHOUT_JSON):
            left_out = (f"left out: {error}" for error in tree.broken.values())
            return replace(found, notes=(*found.notes, *left_out))
        if found is not None:
            break
    if tree.broken:
        raise next(iter(tree.broken.values()))
    raise Ws3Error(_why_not(tree, path))


def _why_not(tree: Tree, path: str | Path) -> str:
    pickled = [name for name in tree.files if name.endswith((".npy", ".pkl", ".pickle"))]
    if pickled:
        return (
            f"{path}: {shortened(pickled[0])} may hold labels, but as Python objects, which ws3 "
            "doesn't load from files of others; write it as a table: "
            f"{{**np.load({PurePosixPath(pickled[0]).name!r}, allow_pickle=True).item()}} gives a "
            "row of 0 and 1 per picture, for a CSV with the columns image and one per class"
        )
    for names, what in _NO_LABELS:
        if all(any(PurePosixPath(file).match(name) for file in tree.files) for name in names):
            return f"{path}: {what}"
    known = f"known are {', '.join(READERS)}"
    if tree.pictures:
        return (
            f"{path}: {len(tree.pictures)} pictures, and nothing that tells their labels; {known}"
        )
    return f"{path}: neither pictures nor labels that ws3 knows; {known}"
