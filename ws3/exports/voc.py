"""The layout of Pascal VOC."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from ws3.exports.item import Item, write_confidence, write_photograph
from ws3.exports.voc_xml import annotation
from ws3.files import write_bytes
from ws3.labels import IGNORED, voc_palette
from ws3.masks.png import write_mask

DEVKIT = Path("VOCdevkit", "VOC2012")
"""Where torchvision's `VOCSegmentation` and other readers of the devkit look for the tree."""

_IGNORED_NAMES = ("ignored", "void", *(f"ignored_{number}" for number in range(256)))
_NO_PIXELS = np.zeros((0, 0), np.uint8)
_log = logging.getLogger(__name__)


def write_voc(
    folder: Path,
    items: Iterable[Item],
    classes: Sequence[str],
    *,
    mask_mode: Literal["P", "L"] = "P",
    devkit: bool = False,
) -> None:
    """Write images and masks in the layout of Pascal VOC.

    - `JPEGImages/<image>.jpg`, and `SegmentationClass/<image>.png`, the masks;
    - `Annotations/<image>.xml`: the classes that the image is labelled with;
    - `ImageSets/Segmentation/` and `ImageSets/Main/`: `<split>.txt`, and `trainval.txt` of all;
      `Main` also has `<class>_<split>.txt`, each image with 1 or -1;
    - `classes.txt`: the classes in the order of their mask values, from 1;
    - `labelmap.txt`: the same with their colours, background first, as datumaro and CVAT write it,
      and last the ignored pixels, if there are any: datumaro refuses a colour that isn't listed;
    - `Confidence/<image>.png`: how sure the mask is of each pixel, gray, where that is stored.

    Args:
        folder: Where to write.
        items: The images; each is written before the next is asked for.
        classes: Class names without background.
        mask_mode: P has VOC's palette; L is gray, the class values as they are.
        devkit: Put the tree into `VOCdevkit/VOC2012`.

    Raises:
        Ws3Error: If an image can't be read, or a file can't be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     write_voc(Path(name), [], ["cat"])
        ...     print(Path(name, "labelmap.txt").read_text(), end="")
        # label:color_rgb:parts:actions
        background:0,0,0::
        cat:128,0,0::
    """
    root = folder / DEVKIT if devkit else folder
    lists: dict[str, list[Item]] = {}
    has_ignored = False
    for item in items:
        photograph = write_photograph(item, root / "JPEGImages")
        mask_file = root / "SegmentationClass" / f"{item.image}.png"
        write_mask(mask_file, item.mask, {}, palette=mask_mode == "P")
        write_confidence(item, root / "Confidence")
        facts = annotation(item, photograph.name, classes)
        write_bytes(root / "Annotations" / f"{item.image}.xml", facts.encode())
        has_ignored |= bool((item.mask == IGNORED).any())
        # Without its pixels: all images together may be larger than the memory.
        lists.setdefault(item.split, []).append(replace(item, mask=_NO_PIXELS, confidence=None))
    lists["trainval"] = [item for items in lists.values() for item in items]
    for split, listed in lists.items():
        write_lines(split_file(root, split), [item.image for item in listed])
        _write_main(root / "ImageSets" / "Main", split, listed, classes)
    write_lines(root / "classes.txt", classes)
    _write_labelmap(root / "labelmap.txt", classes, has_ignored)


def split_file(folder: Path, split: str) -> Path:
    """Return the file that lists the images of a split."""
    return folder / "ImageSets" / "Segmentation" / f"{split}.txt"


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file, one line after the other."""
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def _write_main(folder: Path, split: str, items: Sequence[Item], classes: Sequence[str]) -> None:
    write_lines(folder / f"{split}.txt", [item.image for item in items])
    for value, name in enumerate(classes, start=1):
        if "/" in name:
            continue  # no file can have this name; the XML files say the same
        shown = [(item.image, 1 if value in item.class_values else -1) for item in items]
        write_lines(folder / f"{name}_{split}.txt", [f"{one} {sign:2d}" for one, sign in shown])


def _write_labelmap(path: Path, classes: Sequence[str], has_ignored: bool) -> None:
    odd = next((name for name in classes if ":" in name or name.startswith("#")), None)
    if odd is not None:
        _log.warning(
            "%s is left out: it can't hold the class %r (no colon, no # at the start)",
            path.name,
            odd,
        )
        return
    names = {0: "background", **dict(enumerate(classes, start=1))}
    if has_ignored:
        names[IGNORED] = next(name for name in _IGNORED_NAMES if name not in classes)
    colours = voc_palette()
    lines = ["# label:color_rgb:parts:actions"]
    for value, name in names.items():
        red, green, blue = colours[3 * value : 3 * value + 3]
        lines.append(f"{name}:{red},{green},{blue}::")
    write_lines(path, lines)
