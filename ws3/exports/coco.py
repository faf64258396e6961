"""The layout of MS COCO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from ws3.exports.item import Item, write_photograph
from ws3.files import write_json
from ws3.labels import IGNORED


def write_coco(folder: Path, items: Iterable[Item], classes: Sequence[str]) -> None:
    """Write images and masks in the layout of COCO.

    `<split>/<image>.jpg` and `annotations/instances_<split>.json`, with one annotation for each
    class of an image: a mask doesn't tell objects of one class apart. Regions are run lengths.
    Ignored pixels are a crowd region, which COCO's own evaluation ignores as well; a crowd has to
    have a category, and gets the first that the image is labelled with.

    Args:
        folder: Where to write.
        items: The images; each is written before the next is asked for.
        classes: Class names without background; class i has the category id i + 1.

    Raises:
        Ws3Error: If an image can't be read, or a file can't be written.
    """
    images: dict[str, list[dict[str, Any]]] = {}
    annotations: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        path = write_photograph(item, folder / item.split)
        height, width = item.mask.shape
        known = images.setdefault(item.split, [])
        number = len(known) + 1
        known.append({"id": number, "file_name": path.name, "height": height, "width": width})
        of_split = annotations.setdefault(item.split, [])
        for annotation in _annotations(item):
            of_split.append({"id": len(of_split) + 1, "image_id": number, **annotation})
    for split in images:
        write_json(
            folder / "annotations" / f"instances_{split}.json",
            {
                "info": {"description": "pseudo-masks made by ws3"},
                "images": images[split],
                "annotations": annotations[split],
                "categories": [
                    {"id": value, "name": name, "supercategory": ""}
                    for value, name in enumerate(classes, start=1)
                ],
            },
        )


def _annotations(item: Item) -> Iterator[dict[str, Any]]:
    for value in np.unique(item.mask).tolist():
        if value == IGNORED and item.class_values:
            yield _annotation(item.mask == value, item.class_values[0], crowd=True)
        elif value not in (0, IGNORED):
            yield _annotation(item.mask == value, value, crowd=False)


def _annotation(region: NDArray[np.bool_], category: int, *, crowd: bool) -> dict[str, Any]:
    encoded = rle.encode(np.asfortranarray(region, np.uint8))
    return {
        "category_id": category,
        "iscrowd": int(crowd),
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")},
        "area": int(rle.area(encoded)),
        "bbox": rle.toBbox(encoded).tolist(),
    }
