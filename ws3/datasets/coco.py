"""MS COCO instances (2014 or 2017) in its own layout."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path

from ws3.config.dataset import Coco
from ws3.datasets.coco_files import (
    CocoId,
    categories_of,
    items_of,
    malformed,
    naming,
    pictures_of,
)
from ws3.datasets.coco_regions import (
    Layer,
    area_of,
    checked_area,
    checked_crowd,
    checked_size,
    encode_region,
    stacked,
)
from ws3.datasets.index import ImageRow, Listing, check_classes
from ws3.datasets.listing_files import names_in, row_stat_key
from ws3.datasets.names import image_ids
from ws3.errors import Ws3Error
from ws3.files import write_new
from ws3.labels import IGNORED, voc_palette

_log = logging.getLogger(__name__)


def list_coco(config: Coco, root: Path) -> Listing:
    """List COCO without opening any image.

    The labels of an image are the categories of its instances; a crowd region (`iscrowd`) says
    that its category is there, too. Images without any are left out, as is the custom for weak
    supervision, unless `negatives` has them take part. Classes are all categories in the order of
    their ids. Masks are `masks/<split>/<image>.png` where there are any: `draw_coco_masks` draws
    them.

    Returns:
        The rows, train first, in the order of the annotation files.

    Raises:
        Ws3Error: If a folder or annotation file is missing or malformed, or the two splits have
            different categories.
    """
    classes: tuple[str, ...] | None = None
    rows: list[ImageRow] = []
    left_out = crowds = 0
    coding = "" if config.exif == "stored" else config.exif
    for split, name in (("train", config.train), ("val", config.val)):
        if name is None:
            continue
        images = root / config.images.format(split=name)
        if not images.is_dir():
            raise Ws3Error(f"{images}: no such folder; the images of {name} are expected here")
        path = root / config.annotations.format(split=name)
        found, files, labels, crowd_only = _read(path)
        crowds += crowd_only
        if classes is not None and found != classes:
            raise Ws3Error(
                f"{path}: its categories aren't those of the train split; both must have the same"
            )
        classes = found
        masks = root / "masks" / name
        drawn = names_in(masks, "masks as PNGs") if masks.is_dir() else set()
        ids = image_ids(files.values())
        for image_id, file in files.items():
            if image_id not in labels and not config.negatives:
                left_out += 1
                continue
            image = ids[file]
            image_path = f"{images}/{file}"
            mask = f"{masks}/{image}.png" if f"{image}.png" in drawn else ""
            stat_key = row_stat_key(image_path, mask)
            names = tuple(classes[index] for index in sorted(labels.get(image_id, ())))
            row = ImageRow(
                image, split, names, image_path, mask, stat_key, name=file, coding=coding
            )
            rows.append(row)
    facts = []
    if left_out:
        facts.append(
            f"{left_out} images without annotations are left out; dataset.negatives: true has them "
            "take part"
        )
    if crowds:
        facts.append(
            f"{crowds} images have a label from crowd regions alone, which ws3 coco-masks draws as "
            "ignored"
        )
    return Listing(classes or (), tuple(rows), tuple(facts))


def watched(config: Coco) -> list[str]:
    """Return the files and folders that tell of a change, relative to the dataset's folder."""
    return [
        path
        for split in (config.train, config.val)
        if split is not None
        for path in (
            config.annotations.format(split=split),
            config.images.format(split=split),
            f"masks/{split}",
        )
    ]


def draw_coco_masks(
    annotation_file: str | Path,
    out_dir: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Draw the instances of an annotation file as class masks in the VOC palette.

    Where instances overlap the one of the smaller area is on top. Crowd regions become 255
    (ignored) where no instance is. Regions without an outline, which have a box alone, are left out
    and counted in a warning. Each file is written whole or not at all, and none that is
    there already is replaced.

    Args:
        annotation_file: An `instances_<split>.json`.
        out_dir: Folder for the `<image>.png`; `list_coco` looks in `masks/<split>`.
        progress: Called with the masks drawn and the masks in all.

    Returns:
        The number of masks drawn: one for each image that has regions with an outline.

    Raises:
        Ws3Error: If the annotation file is missing or malformed, or a mask can't be written or
            would replace another picture. Of a malformed annotation its id is named; nothing is
            drawn then.
    """
    from PIL import Image

    path = Path(annotation_file)
    # Run lengths are a hundredth of the decoded polygons, which don't fit in memory together.
    drawn: dict[CocoId, list[Layer]] = {}
    strangers = boxes = 0
    try:
        categories = categories_of(path)
        check_classes(list(categories.values()), str(path))
        values = {category: value for value, category in enumerate(categories, start=1)}
        pictures = {item["id"]: item for item in pictures_of(path)}
        sizes: dict[CocoId, tuple[int, int]] = {}
        for number, item in enumerate(items_of(path, "annotations"), start=1):
            image_id = item["image_id"]
            if image_id not in pictures:
                strangers += 1
                continue
            if image_id not in sizes:
                with naming(path, "image", image_id):
                    picture = pictures[image_id]
                    sizes[image_id] = checked_size(picture["height"], picture["width"])
            with naming(path, "annotation", item.get("id", f"number {number}")):
                crowd, area = checked_crowd(item.get("iscrowd")), checked_area(item.get("area"))
                region = item.get("segmentation")
                if region is None or region == []:
                    boxes += 1
                    continue
                encoded = encode_region(region, *sizes[image_id])
            value = IGNORED if crowd else values[item["category_id"]]
            area = area_of(encoded) if area is None else area
            drawn.setdefault(image_id, []).append(Layer(value, area, encoded))
    except (KeyError, TypeError, AttributeError) as error:
        raise malformed(path, error) from error
    _tell_strangers(path, strangers)
    if boxes and not drawn:
        raise Ws3Error(
            f"{path}: all its {boxes} regions are boxes without outline, and no mask can be drawn "
            "of those; take annotations that have a segmentation"
        )
    if boxes:
        _log.warning("%s: %d regions are boxes without outline; no pixels drawn", path, boxes)
    ids = image_ids(picture["file_name"] for picture in pictures.values())
    for count, (image_id, regions) in enumerate(drawn.items(), start=1):
        image = Image.fromarray(stacked(regions, *sizes[image_id]))
        image.putpalette(voc_palette())
        data = io.BytesIO()
        image.save(data, "PNG")
        name = ids[pictures[image_id]["file_name"]]
        write_new(Path(out_dir) / f"{name}.png", data.getvalue())
        if progress is not None:
            progress(count, len(drawn))
    return len(drawn)


def _read(path: Path) -> tuple[tuple[str, ...], dict[CocoId, str], dict[CocoId, set[int]], int]:
    """Return the classes, the file and the class indices of each image id, and a count.

    The count is that of the images which have a label from crowd regions alone.
    """
    found: dict[CocoId, set[CocoId]] = {}
    crowds: dict[CocoId, set[CocoId]] = {}
    strangers = 0
    try:
        categories = categories_of(path)
        files = {item["id"]: item["file_name"] for item in pictures_of(path)}
        for number, item in enumerate(items_of(path, "annotations"), start=1):
            image_id, category = item["image_id"], item["category_id"]
            if image_id not in files:
                strangers += 1
                continue
            with naming(path, "annotation", item.get("id", f"number {number}")):
                is_crowd = checked_crowd(item.get("iscrowd"))
                (crowds if is_crowd else found).setdefault(image_id, set()).add(category)
        crowd_only = sum(not some <= found.get(image, set()) for image, some in crowds.items())
        for image, some in crowds.items():
            found[image] = found.get(image, set()) | some
        index = {category: position for position, category in enumerate(categories)}
        labels = {image: {index[category] for category in ids} for image, ids in found.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise malformed(path, error) from error
    _tell_strangers(path, strangers)
    return check_classes(list(categories.values()), str(path)), files, labels, crowd_only


def _tell_strangers(path: Path, count: int) -> None:
    if count:
        _log.warning(
            "%s: %d annotations are left out, as their images aren't in the file", path, count
        )
