"""A user's own photographs: a folder of images, a table of labels, optional masks and splits."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import chain
from pathlib import Path

from ws3.config.dataset import Folder
from ws3.datasets.colors import classes_of_colors, coding_of, mask_colors
from ws3.datasets.index import ImageRow, Listing, check_classes
from ws3.datasets.listing_files import (
    files_below,
    ordered,
    read_lines,
    read_text,
    row_stat_key,
)
from ws3.datasets.names import image_ids, is_background, is_picture, without_suffix
from ws3.errors import Ws3Error
from ws3.messages import reason, shortened, shown

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
"""Endings of mask files, in any case of letters: lossless formats only."""

MASK_MARKS = ("", "_mask", "_label", "-mask", "-label")
"""What a mask's name may have between the picture's name and the ending."""

_SHOWN = 5


def list_folder(config: Folder, root: Path) -> Listing:
    """List a folder dataset without opening any image.

    `labels` is a CSV table with the columns `image` (a file's path below `images`, with or without
    its ending) and `labels` (class names joined by ';', case-sensitive; an empty cell is a picture
    that shows none of the classes). Without a `train` file all images that aren't in the `val`
    file are for training; with one, images in neither file are left out.

    Returns:
        The rows, train first, in the order of the split files or, without one, of the table. A
        missing image file, a label outside the class file and the like are left to
        `ws3.datasets.index.check_files`, which reports them all together.

    Raises:
        Ws3Error: If a folder, the table, a list or the class file is missing or malformed, a split
            file names images that the table doesn't have, or no picture has a mask in `masks`.
    """
    images = root / config.images
    beside = () if config.masks is None else (root / config.masks,)
    files = _Files(files_below(images, "the image files of dataset.images", beside))
    table_path = root / config.labels
    table: list[tuple[str, tuple[str, ...]]] = []
    names: dict[str, list[str]] = {}
    for written, labels in _read_table(table_path):
        # A name is taken as it stands where a file bears it, blanks and back slashes included.
        found = files.find(written)
        name = written if found else _plain(written)
        names[name] = found or files.find(name)
        table.append((name, labels))
    facts: list[str] = []
    classes = _classes(config, root, table, facts)
    colors = mask_colors(config, root, classes)

    ids = image_ids(found[0] if found else written for written, found in names.items())
    masks = None
    if config.masks is not None:
        expected = "a mask <image>.png for each image that has one"
        masks = _Masks(files_below(root / config.masks, expected), ids)
        if root / config.masks == images:
            masks.leave_out(name for found in names.values() for name in found)
    folder, masks_folder = str(images), str(root / (config.masks or ""))
    in_order = cache(lambda labels: ordered(labels, classes))
    codes = [] if config.exif == "stored" else ["upright"]
    if masks is not None:
        codes += [] if colors is None else [coding_of(colors)]
        codes += ["reduced"] if config.reduce_zero_label else []
    coding = "+".join(codes)
    positive_coding = "+".join([*codes, "binary"]) if masks and len(classes) == 1 else coding

    def row(written: str, split: str, labels: tuple[str, ...]) -> ImageRow:
        candidates = names[written]
        name = candidates[0] if candidates else written
        # Joined as text, for every image: Path is slow.
        path = f"{folder}{os.sep}{name}"
        mask = "" if masks is None else masks.of(name, ids[name])
        mask_path = f"{masks_folder}{os.sep}{mask}" if mask else ""
        problem = ""
        if len(candidates) > 1:
            problem = f"several files bear this name: {shortened(', '.join(candidates))}; leave one"
        return ImageRow(
            image=ids[name],
            split=split,
            labels=in_order(labels),
            path=path,
            mask=mask_path,
            stat_key=row_stat_key(path, mask_path),
            problem=problem,
            name=name,
            coding=positive_coding if labels else coding,
        )

    split = _split(config, root, table)
    rows = tuple(row(*entry) for entry in _entries(split))
    if masks is not None and rows and not any(row.mask for row in rows):
        raise _no_mask(root / str(config.masks), masks, rows[0])
    left_out = len(table) - len(rows)
    if left_out > 0:
        facts.append(f"{left_out} rows of {config.labels} are in no split, and are left out")
    listed = set(chain.from_iterable(names.values()))
    if config.masks is not None and root / config.masks == images:
        listed.update(row.mask.removeprefix(f"{masks_folder}{os.sep}") for row in rows)
    return Listing(classes, rows, tuple(facts), tuple(_strays(config, files, listed, rows)))


def watched(config: Folder) -> list[str]:
    """Return the lists and folders that tell of a change, relative to the dataset's folder.

    A file that comes or goes in a subfolder changes none of them; `ws3 index` looks at all.
    """
    colors = config.colors if isinstance(config.colors, str) else None
    paths = (
        *(config.labels, config.classes, config.train, config.val, colors),
        *(config.images, config.masks),
    )
    return [path for path in paths if path is not None]


_Table = Sequence[tuple[str, tuple[str, ...]]]


class _Files:
    """The picture files below a folder, found by what a table calls them."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names)
        self._by_stem: dict[str, list[str]] = {}
        for name in names:
            stem = without_suffix(name)
            if stem != name:
                self._by_stem.setdefault(stem, []).append(name)

    def find(self, written: str) -> list[str]:
        """Return the files that a name can mean: the very file, or those of its stem."""
        # The table tells what is a picture, so that a name is taken as it is if it is there.
        if written in self.names:
            return [written]
        found = self._by_stem.get(without_suffix(written), [])
        return found if len(found) < 2 else sorted(found)


class _Masks:
    """The mask files below a folder, found by their pictures' names and ids."""

    def __init__(self, names: Iterable[str], ids: Mapping[str, str]) -> None:
        self._files: dict[str, str] = {}
        for name in sorted(names, reverse=True):
            stem, dot, ending = name.rpartition(".")
            if stem and f"{dot}{ending}".lower() in MASK_SUFFIXES:
                self._files[stem] = name
        self._ids = ids

    @cached_property
    def _bearers(self) -> Counter[str]:
        """How many pictures have a name, without folders: one that two share tells neither."""
        return Counter(_base(without_suffix(name)) for name in self._ids)

    def leave_out(self, pictures: Iterable[str]) -> None:
        """Take pictures for no masks, where one folder holds both."""
        own = set(pictures)
        self._files = {stem: name for stem, name in self._files.items() if name not in own}

    def of(self, name: str, image: str) -> str:
        """Return the mask of a picture, relative to the folder, or ""."""
        stem = without_suffix(name)
        if stem in self._files:
            return self._files[stem]
        for candidate in self._candidates(name, stem, image):
            if candidate in self._files:
                return self._files[candidate]
        return ""

    def _candidates(self, name: str, stem: str, image: str) -> Iterator[str]:
        yield name
        if image != stem:
            yield image
        yield from (f"{stem}{mark}" for mark in MASK_MARKS[1:])
        base = _base(stem)
        if base != stem and self._bearers[base] == 1:
            yield _base(name)
            yield from (f"{base}{mark}" for mark in MASK_MARKS)

    @property
    def first(self) -> str:
        """One of the mask files, or "" if there is none."""
        return min(self._files.values(), default="")


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _no_mask(folder: Path, masks: _Masks, row: ImageRow) -> Ws3Error:
    looked = ", ".join(f"{row.image}{mark}.png" for mark in MASK_MARKS[:2])
    there = f"such as {shortened(masks.first)}" if masks.first else "of which there is none"
    return Ws3Error(
        f"{folder}: not one mask is found: looked for {shortened(looked)} and the like among the "
        f"mask files here, {there}; name masks as their pictures, or set dataset.masks: null"
    )


def _classes(config: Folder, root: Path, table: _Table, facts: list[str]) -> tuple[str, ...]:
    if config.classes is not None:
        path = root / config.classes
        names = read_lines(path, "one class name per line")
        if len(names) > 1 and is_background(names[0]):
            facts.append(
                f"{shown(names[0])} at the head of {config.classes} is the background, and no class"
            )
            names = names[1:]
        return check_classes(names, str(path))
    of_colors = classes_of_colors(config, root)
    if of_colors is not None:
        return check_classes(of_colors, "dataset.colors")
    found = {label for _, labels in table for label in labels}
    return check_classes(sorted(found), str(root / config.labels))


def _strays(
    config: Folder, files: _Files, listed: set[str], rows: Sequence[ImageRow]
) -> Iterator[str]:
    """Yield what is in the folder and not in the table, and the other way round."""
    unlisted = [name for name in files.names if name not in listed and is_picture(name)]
    if unlisted:
        count = len(unlisted)
        files_have = "1 picture file has" if count == 1 else f"{count} picture files have"
        yield (
            f"{files_have} no row in {config.labels}, such as {shortened(min(unlisted))}, and "
            f"{'is' if count == 1 else 'are'} left out"
        )
    known = listed.issuperset(row.name for row in rows)
    lost = [] if known else [row for row in rows if row.name not in files.names]
    if lost:
        rows_have = "1 row has" if len(lost) == 1 else f"{len(lost)} rows have"
        yield f"{rows_have} no picture file, such as {shortened(lost[0].name)}"


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
            rows.append((cells[0], labels_of(cells[1])))
    except csv.Error as error:
        raise Ws3Error(
            f"{path}: no CSV table ({reason(error)}); expected here: {expected}"
        ) from error
    return rows


def _plain(written: str) -> str:
    """Return a name as it is written in a table or list, with '/' between folders."""
    return written.strip().replace("\\", "/").removeprefix("./")


def _labels(cell: str) -> tuple[str, ...]:
    labels = (label.strip() for label in cell.split(";"))
    return tuple(label for label in labels if label)


def _entries(split: Mapping[str, _Table]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for name, part in split.items():
        for image, labels in part:
            yield image, name, labels


def _split(config: Folder, root: Path, table: _Table) -> Mapping[str, _Table]:
    if config.train is None and config.val is None:
        return {"train": table}
    by_name: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for entry in table:
        by_name.setdefault(without_suffix(_plain(entry[0])), []).append(entry)
    exact = {_plain(entry[0]) for entry in table}
    bases = Counter(map(_base, by_name))
    by_base = {_base(stem): stem for stem in by_name if bases[_base(stem)] == 1}

    def rows_of(line: str) -> _Table | None:
        stem = without_suffix(line)
        found = by_name.get(stem)
        if found is None:  # a path of another root
            found = by_name.get(by_base.get(_base(stem), ""))
        # Two pictures that differ in their ending only are told apart by it.
        return (
            found
            if found is None or line not in exact
            else [e for e in found if _plain(e[0]) == line]
        )

    def part(name: str) -> _Table:
        path = root / name
        lines = [_plain(line) for line in read_lines(path, "one image id per line")]
        found = [(line, rows_of(line)) for line in lines]
        absent = [line for line, rows in found if rows is None]
        if absent:
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            raise Ws3Error(
                f"{path}: names images that {root / config.labels} doesn't have: "
                f"{', '.join(map(shortened, absent[:_SHOWN]))}{more}; add their labels or "
                "take them out"
            )
        return [row for _, rows in found for row in rows or ()]

    val = part(config.val) if config.val is not None else []
    if config.train is not None:
        return {"train": part(config.train), "val": val}
    held_out = {image for image, _ in val}
    return {"train": [row for row in table if row[0] not in held_out], "val": val}
