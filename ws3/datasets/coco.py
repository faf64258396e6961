"""MS COCO instances (2014 or 2017) in its own layout."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from ws3.config.dataset import Coco
from ws3.datasets.coco_regions import checked_area, checked_crowd, checked_size, encode_region
from ws3.datasets.index import ImageRow, Listing, check_classes
from ws3.datasets.listing_files import names_in, row_stat_key
from ws3.errors import Ws3Error
from ws3.files import write_new
from ws3.labels import IGNORED, voc_palette
from ws3.messages import reason, shown
from ws3.outside import JSON_BYTES, open_regular

_log = logging.getLogger(__name__)
_Id = int | str


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
    import numpy as np
    from PIL import Image
    from pycocotools import mask as rle

    path = Path(annotation_file)
    # Run lengths are a hundredth of the decoded polygons, which don't fit in memory together.
    drawn: dict[_Id, list[tuple[bool, float, int, Any]]] = {}
    strangers = boxes = 0
    try:
        categories = _categories(path)
        check_classes(list(categories.values()), str(path))
        values = {category: value for value, category in enumerate(categories, start=1)}
        pictures = {item["id"]: item for item in _pictures(path)}
        sizes: dict[_Id, tuple[int, int]] = {}
        for number, item in enumerate(_items(path, "annotations"), start=1):
            image_id = item["image_id"]
            if image_id not in pictures:
                strangers += 1
                continue
            if image_id not in sizes:
                with _naming(path, "image", image_id):
                    picture = pictures[image_id]
                    sizes[image_id] = checked_size(picture["height"], picture["width"])
            with _naming(path, "annotation", item.get("id", f"number {number}")):
                crowd, area = checked_crowd(item.get("iscrowd")), checked_area(item.get("area"))
                region = item.get("segmentation")
                if region is None or region == []:
                    boxes += 1
                    continue
                encoded = encode_region(region, *sizes[image_id])
            value = IGNORED if crowd else values[item["category_id"]]
            area = float(rle.area(encoded)) if area is None else area
            drawn.setdefault(image_id, []).append((crowd, area, value, encoded))
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(path, error) from error
    _tell_strangers(path, strangers)
    if boxes and not drawn:
        raise Ws3Error(
            f"{path}: all its {boxes} regions are boxes without outline, and no mask can be drawn "
            "of those; take annotations that have a segmentation"
        )
    if boxes:
        _log.warning("%s: %d regions are boxes without outline; no pixels drawn", path, boxes)
    for count, (image_id, regions) in enumerate(drawn.items(), start=1):
        mask = np.zeros(sizes[image_id], np.uint8)
        for _, _, value, encoded in sorted(regions, key=lambda entry: (not entry[0], -entry[1])):
            mask[rle.decode(encoded).astype(bool)] = value
        image = Image.fromarray(mask)
        image.putpalette(voc_palette())
        data = io.BytesIO()
        image.save(data, "PNG")
        name = PurePath(pictures[image_id]["file_name"]).stem
        write_new(Path(out_dir) / f"{name}.png", data.getvalue())
        if progress is not None:
            progress(count, len(drawn))
    return len(drawn)


def _read(path: Path) -> tuple[tuple[str, ...], dict[_Id, str], dict[_Id, set[int]]]:
    """Return the classes, the file of each image id, and the class indices of each image id."""
    found: dict[_Id, set[_Id]] = {}
    strangers = 0
    try:
        categories = _categories(path)
        files = {item["id"]: item["file_name"] for item in _pictures(path)}
        for number, item in enumerate(_items(path, "annotations"), start=1):
            image_id, category = item["image_id"], item["category_id"]
            if image_id not in files:
                strangers += 1
                continue
            with _naming(path, "annotation", item.get("id", f"number {number}")):
                if not checked_crowd(item.get("iscrowd")):
                    found.setdefault(image_id, set()).add(category)
        index = {category: position for position, category in enumerate(categories)}
        labels = {image: {index[category] for category in ids} for image, ids in found.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(path, error) from error
    _tell_strangers(path, strangers)
    return check_classes(list(categories.values()), str(path)), files, labels


def _categories(path: Path) -> dict[_Id, str]:
    """Return the name of each category id, in the order of the ids."""
    categories: dict[_Id, str] = {}
    for item in _items(path, "categories"):
        with _naming(path, "category", item["id"]):
            _check_id(item["id"], categories)
            if not isinstance(item["name"], str):
                raise ValueError(f"its name is {shown(item['name'])}, not a text")
        categories[item["id"]] = item["name"]
    if not categories:
        raise _malformed(path, ValueError("it has no categories"))
    return dict(sorted(categories.items()))


def _pictures(path: Path) -> Iterator[Any]:
    """Yield the images, whose ids and files' names are in order."""
    seen: set[_Id] = set()
    for item in _items(path, "images"):
        file = item["file_name"]
        with _naming(path, "image", item["id"]):
            _check_id(item["id"], seen)
            if not isinstance(file, str) or not _is_path(file):
                raise ValueError(f"its file_name is {shown(file)}, which no file can have")
        seen.add(item["id"])
        yield item


def _check_id(identity: Any, seen: Container[Any]) -> None:
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        raise ValueError("an id is a number or a text")
    if identity in seen:
        raise ValueError("this id is there twice")


def _is_path(text: str) -> bool:
    try:
        return bool(text) and b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a character
        return False


def _tell_strangers(path: Path, count: int) -> None:
    if count:
        _log.warning(
            "%s: %d annotations are left out, as their images aren't in the file", path, count
        )


@contextmanager
def _naming(path: Path, kind: str, identity: Any) -> Iterator[None]:
    """Name the file and the entry in the sentence about a wrong value.

    Raises:
        Ws3Error: If the block raises a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise Ws3Error(
            f"{path}: {kind} {shown(identity)}: {error}; correct this entry or take it out"
        ) from error


def _items(path: Path, name: str) -> Iterator[Any]:
    """Yield the items of one list of the JSON object in a file, as they are read.

    The file is read as a stream, as it takes gigabytes once decoded; and once for each list, which
    is quicker than handing all three out in one pass.
    """
    # Imported here: most dry runs take the labels from the index.
    import ijson

    try:
        with open_regular(path, JSON_BYTES) as file:
            source = _Shallow(file)
            yield from ijson.items(source, f"{name}.item", use_float=True, buf_size=source.PIECE)
    except OSError as error:
        raise Ws3Error(
            f"{path}: {reason(error)}; COCO's instance annotations are expected here"
        ) from error
    except (ijson.JSONError, ValueError, RecursionError) as error:
        raise _malformed(path, error) from error


class _Shallow:
    """A JSON file that isn't nested deeply: ijson takes memory by the square of the depth."""

    PIECE = 16_384
    _DEEPEST = 1000

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._depth = file, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; of their brackets, those in texts come in pairs as a rule."""
        data = self._file.read(size)
        self._depth += sum(map(data.count, (b"[", b"{"))) - sum(map(data.count, (b"]", b"}")))
        if self._depth > self._DEEPEST:
            raise ValueError("it is nested too deeply")
        return data


def _malformed(path: Path, error: Exception) -> Ws3Error:
    return Ws3Error(
        f"{path}: not a COCO instances file ({type(error).__name__}: {reason(error)}); expected "
        "are images, annotations and categories"
    )
