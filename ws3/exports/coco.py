"""The layout of MS COCO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from ws3.exports.item import Item, write_confidence, write_photograph
from ws3.files import write_json
from ws3.labels import IGNORED
from ws3.masks.png import write_mask


def write_coco(
    folder: Path,
    items: Iterable[Item],
    classes: Sequence[str],
    *,
    image_folder: bool = False,
    ignored: Literal["masks", "crowd"] = "masks",
) -> None:
    """Write images and masks in the layout of COCO.

    `<split>/<image>.jpg` and `annotations/instances_<split>.json`, with one annotation for each
    class of an image: a mask doesn't tell objects of one class apart. Regions are run lengths.

    Ignored pixels belong to no object, and COCO has no place for them that every reader leaves
    alone. They are written as `ignored/<split>/<image>.png`, 255 where the image is ignored and 0
    elsewhere; the image's entry names the file under the key `ignored`. Images without ignored
    pixels have neither.

    `confidence/<split>/<image>.png`, gray, is how sure the mask is of each pixel, where that is
    stored.

    Args:
        folder: Where to write.
        items: The images; each is written before the next is asked for.
        classes: Class names without background; class i has the category id i + 1.
        image_folder: Put photographs into `images/<split>/`.
        ignored: `crowd`: write ignored pixels as a crowd region instead, which COCO's own
            evaluation and `ws3 coco-masks` ignore, and many readers take for an object. It has to
            have a category, and gets the first that the image is labelled with; an image without
            labels has its ignored pixels as a mask all the same.

    Raises:
        Ws3Error: If an image can't be read, or a file can't be written.
    """
    images: dict[str, list[dict[str, Any]]] = {}
    annotations: dict[str, list[dict[str, Any]]] = {}
    photographs = folder / "images" if image_folder else folder
    for item in items:
        path = write_photograph(item, photographs / item.split)
        write_confidence(item, folder / "confidence" / item.split)
        height, width = item.mask.shape
        known = images.setdefault(item.split, [])
        entry = {"id": len(known) + 1, "file_name": path.name, "height": height, "width": width}
        known.append(entry)
        as_crowd = ignored == "crowd" and bool(item.class_values)
        if not as_crowd and (item.mask == IGNORED).any():
            entry["ignored"] = _write_ignored(folder, item)
        of_split = annotations.setdefault(item.split, [])
        for annotation in _annotations(item, as_crowd):
            of_split.append({"id": len(of_split) + 1, "image_id": entry["id"], **annotation})
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


def _write_ignored(folder: Path, item: Item) -> str:
    """Write which pixels of an image are ignored; return the file, relative to the folder."""
    name = f"ignored/{item.split}/{item.image}.png"
    write_mask(folder / name, np.where(item.mask == IGNORED, item.mask, 0), {}, palette=False)
    return name


def _annotations(item: Item, ignored_as_crowd: bool) -> Iterator[dict[str, Any]]:
    for value in np.unique(item.mask).tolist():
        if value == IGNORED and ignored_as_crowd:
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
