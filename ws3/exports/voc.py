"""The layout of Pascal VOC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ws3.exports.item import Item, write_photograph
from ws3.files import write_bytes
from ws3.masks.png import write_mask


def write_voc(folder: Path, items: Iterable[Item], classes: Sequence[str]) -> None:
    """Write images and masks in the layout of Pascal VOC.

    `JPEGImages/<image>.jpg`, `SegmentationClass/<image>.png` in VOC's palette,
    `ImageSets/Segmentation/<split>.txt`, and `classes.txt` with the classes in the order of their
    mask values, from 1.

    Args:
        folder: Where to write.
        items: The images; each is written before the next is asked for.
        classes: Class names without background.

    Raises:
        Ws3Error: If an image can't be read, or a file can't be written.
    """
    lists: dict[str, list[str]] = {}
    for item in items:
        write_photograph(item, folder / "JPEGImages")
        write_mask(folder / "SegmentationClass" / f"{item.image}.png", item.mask, {})
        lists.setdefault(item.split, []).append(item.image)
    for split, images in lists.items():
        _write_lines(split_file(folder, split), images)
    _write_lines(folder / "classes.txt", classes)


def split_file(folder: Path, split: str) -> Path:
    """Return the file that lists the images of a split."""
    return folder / "ImageSets" / "Segmentation" / f"{split}.txt"


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
