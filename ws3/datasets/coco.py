"""MS COCO instances (2014 or 2017) in its own layout."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

from ws3.config.dataset import Coco
from ws3.datasets.index import ImageRow, Listing, check_classes
from ws3.datasets.listing_files import names_in, row_stat_key
from ws3.errors import Ws3Error
from ws3.files import write_new
from ws3.labels import IGNORED, voc_palette


def list_coco(config: Coco, root: Path) -> Listing:
    """List COCO without opening any image.

    The labels of an image are the categories of its instances, crowd regions (`iscrowd`) left
    out; images without any are left out too, as is the custom for weak supervision. Classes are
    all categories in the order of their ids. Masks are `masks/<split>/<image>.png` where there are
    any: `draw_coco_masks` draws them.

    Returns:
        The rows, train first, in the order of the annotation files.

    Raises:
        Ws3Error: If a folder or annotation file is missing or malformed, or the two splits have
            different categories.
    """
    classes: tuple[str, ...] | None = None
    rows: list[ImageRow] = []
    for split, name in (("train", config.train), ("val", config.val)):
        if name is None:
            continue
        images = root / name
        if not images.is_dir():
            raise Ws3Error(f"{images}: no such folder; the images of {name} are expected here")
        path = root / "annotations" / f"instances_{name}.json"
        found, files, labels = _read(path)
        if classes is not None and found != classes:
            raise Ws3Error(
                f"{path}: its categories aren't those of instances_{config.train}.json; train and "
                "val must have the same"
            )
        classes = found
        masks = root / "masks" / name
        drawn = names_in(masks, "masks as PNGs") if masks.is_dir() else set()
        for image_id, file in files.items():
            if image_id not in labels:
                continue
            image = PurePath(file).stem
            image_path = f"{images}/{file}"
            mask = f"{masks}/{image}.png" if f"{image}.png" in drawn else ""
            stat_key = row_stat_key(image_path, mask)
            names = tuple(classes[index] for index in sorted(labels[image_id]))
            rows.append(ImageRow(image, split, names, image_path, mask, stat_key))
    return Listing(classes or (), tuple(rows))


def watched(config: Coco) -> list[str]:
    """Return the files and folders that tell of a change, relative to the dataset's folder."""
    return [
        path
        for split in (config.train, config.val)
        if split is not None
        for path in (f"annotations/instances_{split}.json", split, f"masks/{split}")
    ]


def draw_coco_masks(
    annotation_file: str | Path,
    out_dir: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Draw the instances of an annotation file as class masks in the VOC palette.

    Where instances overlap the one of the smaller area is on top. Crowd regions become 255
    (ignored) where no instance is. Each file is written whole or not at all, and none that is
    there already is replaced.

    Args:
        annotation_file: An `instances_<split>.json`.
        out_dir: Folder for the `<image>.png`; `list_coco` looks in `masks/<split>`.
        progress: Called with the masks drawn and the masks in all.

    Returns:
        The number of masks drawn: one for each image that has annotations.

    Raises:
        Ws3Error: If the annotation file is missing or malformed, or a mask can't be written or
            would replace another picture.
    """
    import numpy as np
    from PIL import Image
    from pycocotools import mask as rle

    path = Path(annotation_file)
    # Run lengths are a hundredth of the decoded polygons, which don't fit in memory together.
    drawn: dict[int, list[tuple[bool, float, int, Any]]] = {}
    try:
        categories = _categories(path)
        check_classes(list(categories.values()), str(path))
        values = {category: value for value, category in enumerate(categories, start=1)}
        images = {
            item["id"]: (int(item["height"]), int(item["width"]), item["file_name"])
            for item in _items(path, "images")
        }
        for item in _items(path, "annotations"):
            height, width, _ = images[item["image_id"]]
            region = item["segmentation"]
            if isinstance(region, list):
                encoded = rle.merge(rle.frPyObjects(region, height, width))
            elif isinstance(region["counts"], list):
                encoded = rle.frPyObjects(region, height, width)
            else:
                encoded = region
            crowd = bool(item.get("iscrowd"))
            value = IGNORED if crowd else values[item["category_id"]]
            entry = (crowd, float(item["area"]), value, encoded)
            drawn.setdefault(item["image_id"], []).append(entry)
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(path, error) from error
    for count, (image_id, regions) in enumerate(drawn.items(), start=1):
        height, width, file = images[image_id]
        mask = np.zeros((height, width), np.uint8)
        for _, _, value, encoded in sorted(regions, key=lambda entry: (not entry[0], -entry[1])):
            mask[rle.decode(encoded).astype(bool)] = value
        picture = Image.fromarray(mask)
        picture.putpalette(voc_palette())
        data = io.BytesIO()
        picture.save(data, "PNG")
        write_new(Path(out_dir) / f"{PurePath(file).stem}.png", data.getvalue())
        if progress is not None:
            progress(count, len(drawn))
    return len(drawn)


def _read(path: Path) -> tuple[tuple[str, ...], dict[int, str], dict[int, set[int]]]:
    """Return the classes, the file of each image id, and the class indices of each image id."""
    found: dict[int, set[int]] = {}
    try:
        categories = _categories(path)
        files = {item["id"]: item["file_name"] for item in _items(path, "images")}
        for item in _items(path, "annotations"):
            if not item.get("iscrowd"):
                found.setdefault(item["image_id"], set()).add(item["category_id"])
        index = {category: position for position, category in enumerate(categories)}
        labels = {image: {index[category] for category in ids} for image, ids in found.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(path, error) from error
    return check_classes(list(categories.values()), str(path)), files, labels


def _categories(path: Path) -> dict[int, str]:
    """Return the name of each category id, in the order of the ids."""
    categories = {item["id"]: item["name"] for item in _items(path, "categories")}
    if not categories:
        raise _malformed(path, ValueError("it has no categories"))
    return dict(sorted(categories.items()))


def _items(path: Path, name: str) -> Iterator[Any]:
    """Yield the items of one list of the JSON object in a file, as they are read.

    The file is read as a stream, as it takes gigabytes once decoded; and once for each list, which
    is quicker than handing all three out in one pass.
    """
    # Imported here: most dry runs take the labels from the index.
    import ijson

    try:
        with path.open("rb") as file:
            yield from ijson.items(file, f"{name}.item", use_float=True)
    except OSError as error:
        raise Ws3Error(
            f"{path}: {error.strerror}; COCO's instance annotations are expected here"
        ) from error
    except (ijson.JSONError, ValueError) as error:
        raise _malformed(path, error) from error


def _malformed(path: Path, error: Exception) -> Ws3Error:
    reason = " ".join(str(error).split())
    return Ws3Error(
        f"{path}: not a COCO instances file ({type(error).__name__}: {reason}); expected are "
        "images, annotations and categories"
    )
