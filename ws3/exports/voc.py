"""The layout of Pascal VOC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ws3.exports.item import Item, write_photograph
from ws3.files import write_bytes
from ws3.masks.png import write_mask


def write_voc(folder: Path, items: Iterable[Item], classes: Sequence[str]) -> list[str]:
    """Write images and masks as VOC has them, and return the splits that there are.

    `JPEGImages/<image>.jpg`, `SegmentationClass/<image>.png` in VOC's palette,
    `ImageSets/Segmentation/<split>.txt`, and `classes.txt` with the classes in the order of their
    mask values, from 1.

    Args:
        folder: Where to.
        items: The images; each is written before the next is asked for.
        classes: Class names without background.

    Raises:
        Ws3Error: An image can't be read, or a file can't be written.
    """
    lists: dict[str, list[str]] = {}
    for item in items:
        write_photograph(item, folder / "JPEGImages")
        write_mask(folder / "SegmentationClass" / f"{item.image}.png", item.mask, {})
        lists.setdefault(item.split, []).append(item.image)
    for split, images in lists.items():
        _write_lines(folder / "ImageSets" / "Segmentation" / f"{split}.txt", images)
    _write_lines(folder / "classes.txt", classes)
    return list(lists)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
