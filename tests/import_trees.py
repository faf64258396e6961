"""Six pictures with known labels and masks, for trees as other tools write them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dataset_files import write_image
from PIL import Image

from ws3.datasets.importing.found import Found

CLASSES = ("Red Fox", "traffic light", "Tree")
"""In the order of the masks' values, which is not the alphabet's."""

LABELS = {
    "a01.jpg": ("Red Fox",),
    "a02.jpg": ("traffic light",),
    "IMG (3).jpg": ("Tree",),
    "b.v2.jpg": ("Red Fox", "Tree"),
    "b05.png": (),
    "b06.JPG": ("traffic light", "Tree"),
}
"""The classes that each picture shows."""

SIZE = (24, 16)  # width, height


def write_pictures(folder: Path, names: Iterable[str] = LABELS) -> None:
    """Write pictures, each another one."""
    for name in names:
        write_image(folder / name, seed=list(LABELS).index(name), size=SIZE)


def true_mask(name: str) -> npt.NDArray[np.uint8]:
    """Return the mask of a picture: a rectangle per class."""
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for label in LABELS[name]:
        value = CLASSES.index(label) + 1
        mask[2:9, 8 * value - 7 : 8 * value - 2] = value
    return mask


def write_gray(path: Path, mask: npt.NDArray[np.uint8]) -> None:
    """Write class values as a gray PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def labels_of(found: Found) -> dict[str, tuple[str, ...]]:
    """Return the labels of each picture by its file's name, sorted."""
    return {picture.path.name: tuple(sorted(picture.labels)) for picture in found.pictures}


def expected(names: Iterable[str] = LABELS) -> dict[str, tuple[str, ...]]:
    """Return the true labels in the form of `labels_of`."""
    return {name: tuple(sorted(LABELS[name])) for name in names}


def drawn(found: Found, name: str) -> npt.NDArray[np.uint8]:
    """Return the mask of a picture, drawn with the values of `CLASSES`."""
    (picture,) = (one for one in found.pictures if one.path.name == name)
    assert picture.draw is not None
    mask = picture.draw(SIZE[1], SIZE[0])
    table = np.zeros(256, np.uint8)
    table[255] = 255
    for value, label in enumerate(found.classes, start=1):
        table[value] = CLASSES.index(label) + 1
    return table[mask]
