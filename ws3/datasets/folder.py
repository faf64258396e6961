"""A user's own photographs: a folder of images, a table of labels, optional masks and splits."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from ws3.config.dataset import Folder
from ws3.datasets.index import ImageRow, Listing, check_classes
from ws3.datasets.listing_files import names_in, ordered, read_lines, read_text, row_stat_key
from ws3.errors import Ws3Error
from ws3.messages import reason, shortened, shown

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of image files, in any case of letters."""

_SHOWN = 5


def list_folder(config: Folder, root: Path) -> Listing:
    """List a folder dataset without opening any image.

    `labels` is a CSV table with the columns `image` (a file's name, with or without its ending)
    and `labels` (class names joined by ';', case-sensitive). Without a `train` file all images
    that aren't in the `val` file are for training; with one, images in neither file are left out.

    Returns:
        The rows, train first, in the order of the split files or, without one, of the table. A
        missing image file, a label outside the class file and the like are left to
        `ws3.datasets.index.check_files`, which reports them all together.

    Raises:
        Ws3Error: If a folder, the table, a list or the class file is missing or malformed, or a
            split file names images that the table doesn't have.
    """
    images = root / config.images
    files = _by_id(names_in(images, "the image files of dataset.images"))
    table_path = root / config.labels
    table = _read_table(table_path)
    if config.classes is None:
        found = {label for _, labels in table for label in labels}
        classes = check_classes(sorted(found), str(table_path))
    else:
        path = root / config.classes
        classes = check_classes(read_lines(path, "one class name per line"), str(path))
    masks: set[str] = set()
    if config.masks is not None:
        masks = names_in(root / config.masks, "a mask <image>.png for each image that has one")

    folder, masks_folder = str(images), str(root / (config.masks or ""))
    in_order = cache(lambda labels: ordered(labels, classes))

    def row(image: str, split: str, labels: tuple[str, ...]) -> ImageRow:
        candidates = files.get(image, ())
        name = candidates[0] if candidates else image
        # Joined as text, for every image: Path is slow.
        path = f"{folder}{os.sep}{name}"
        mask = f"{image}.png"
        mask_path = f"{masks_folder}{os.sep}{mask}" if mask in masks else ""
        problem = ""
        if len(candidates) > 1:
            problem = f"several files bear this name: {shortened(', '.join(candidates))}; leave one"
        return ImageRow(
            image=image,
            split=split,
            labels=in_order(labels),
            path=path,
            mask=mask_path,
            stat_key=row_stat_key(path, mask_path),
            problem=problem,
        )

    return Listing(
        classes,
        tuple(
            row(image, split, labels)
            for split, part in _split(config, root, table).items()
            for image, labels in part
        ),
    )


def watched(config: Folder) -> list[str]:
    """Return the lists and folders that tell of a change, relative to the dataset's folder."""
    paths = (
        *(config.labels, config.classes, config.train, config.val),
        *(config.images, config.masks),
    )
    return [path for path in paths if path is not None]


_Table = Sequence[tuple[str, tuple[str, ...]]]


def _without_suffix(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in SUFFIXES else name


def _by_id(names: Iterable[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for name in sorted(names):
        image = _without_suffix(name)
        if image != name:
            files.setdefault(image, []).append(name)
    return files


def _read_table(path: Path) -> _Table:
    expected = "the columns image,labels, several labels joined by ';'"
    lines = read_text(path, expected).splitlines()
    rows: list[tuple[str, tuple[str, ...]]] = []
    # Few cells differ: most images show what others show.
    labels_of = cache(_labels)
    try:
        reader = csv.reader(lines, strict=True)
        header = [cell.strip() for cell in next(reader, [])]
        if header != ["image", "labels"]:
            raise Ws3Error(
                f"{path}: its first line is {shown(','.join(header))}, but it should be "
                f"'image,labels' ({expected})"
            )
        for cells in reader:
            if not "".join(cells).strip():
                continue
            if len(cells) != 2 or not cells[0].strip():
                raise Ws3Error(
                    f"{path}: line {reader.line_num} should have two cells, image and labels "
                    f"(several labels are joined by ';'): {shortened(','.join(cells))}"
                )
            rows.append((_without_suffix(cells[0].strip()), labels_of(cells[1])))
    except csv.Error as error:
        raise Ws3Error(
            f"{path}: no CSV table ({reason(error)}); expected here: {expected}"
        ) from error
    return rows


def _labels(cell: str) -> tuple[str, ...]:
    labels = (label.strip() for label in cell.split(";"))
    return tuple(label for label in labels if label)


def _split(config: Folder, root: Path, table: _Table) -> Mapping[str, _Table]:
    by_id: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for image, labels in table:
        by_id.setdefault(image, []).append((image, labels))

    def part(name: str) -> _Table:
        path = root / name
        ids = [_without_suffix(line) for line in read_lines(path, "one image id per line")]
        absent = [image for image in ids if image not in by_id]
        if absent:
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            raise Ws3Error(
                f"{path}: names images that {root / config.labels} doesn't have: "
                f"{', '.join(map(shortened, absent[:_SHOWN]))}{more}; add their labels or "
                "take them out"
            )
        return [row for image in ids for row in by_id[image]]

    val = part(config.val) if config.val is not None else []
    if config.train is not None:
        return {"train": part(config.train), "val": val}
    held_out = {image for image, _ in val}
    return {"train": [row for row in table if row[0] not in held_out], "val": val}
