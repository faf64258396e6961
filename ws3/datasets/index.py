"""The index: which images there are, with which labels, and that every file is in order."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ws3.datasets.facts import check_masks
from ws3.datasets.listing_files import MISSING, read_lines
from ws3.datasets.names import MAX_ID, is_legal_id, without_suffix
from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.labels import IGNORED
from ws3.messages import printable, reason, shortened, shown
from ws3.outside import TEXT_BYTES, open_regular

Color = tuple[int, int, int]
"""Red, green, blue, each from 0 to 255."""

COLUMNS = (
    "image",
    "split",
    "labels",
    "path",
    "mask",
    "stat_key",
    "width",
    "height",
    "sha256",
    "mask_sha256",
    "problem",
    "parts",
    "name",
    "mask_values",
    "coding",
)
_OLDER = COLUMNS[:-3]
"""Columns of an index that an older ws3 wrote; it is read, and the rest is filled in."""
SPLITS = ("train", "val")
CLASSES_FILE = "classes.txt"
MAX_CLASSES = 254
_log = logging.getLogger(__name__)
_SHOWN = 50
_VALUES = 8
_SLICE = 256


class ImageRow(NamedTuple):
    """One image of the dataset.

    A named tuple, as Snakemake's dry run makes one for every image.

    Attributes:
        image: The id, legal as a file name.
        split: "train" or "val".
        labels: Names of the classes present, in class-list order; empty for a negative, which
            shows none of the classes.
        path: The image file.
        mask: The ground-truth mask file, or "".
        stat_key: What shows that the files changed, without reading them: their sizes and
            modification times, or the key of what they are drawn from.
        width: Pixels; 0 until indexed.
        height: Pixels; 0 until indexed.
        sha256: Of the image file's bytes; "" until indexed.
        mask_sha256: Of the mask file's bytes; "" until indexed or without a mask.
        problem: Why the image can't be used; "" means that it is fine.
        parts: A mask file that tells the discriminative part (1) of the objects from the rest of
            them (2), or "": only a dataset that is made for it knows.
        name: The picture's path as the dataset names it, '/' between folders; "" only before it is
            indexed.
        mask_values: The class values that the mask holds, in ascending order, 0 and 255 included;
            empty until indexed or without a mask.
        coding: How the files are to be read where they don't hold plain class values and pixels as
            stored; see `ws3.datasets.masks`.
    """

    image: str
    split: str
    labels: tuple[str, ...]
    path: str
    mask: str
    stat_key: str
    width: int = 0
    height: int = 0
    sha256: str = ""
    mask_sha256: str = ""
    problem: str = ""
    parts: str = ""
    name: str = ""
    mask_values: tuple[int, ...] = ()
    coding: str = ""

    @property
    def title(self) -> str:
        """What to call the image: its id, and its name where the id can't be told from that."""
        if not self.name or without_suffix(self.name) == self.image:
            return self.image
        return f"{self.name} [{self.image}]"


@dataclass(frozen=True)
class Listing:
    """What can be known of a dataset without opening any image.

    Attributes:
        classes: Names of the classes; class i has the value i + 1 in masks.
        rows: Train first, then val, each in the dataset's own order.
        facts: What else was seen while listing and can't be told from the rows, as sentences.
        warnings: The same, where something may be wrong.
    """

    classes: tuple[str, ...]
    rows: tuple[ImageRow, ...]
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index(Listing):
    """A listing whose every file has been opened and checked."""


def check_classes(classes: Sequence[str], source: str) -> tuple[str, ...]:
    """Return a class list as a tuple if it can be one.

    Args:
        classes: Names, in mask order, without the background.
        source: Where they come from, for the error message.

    Raises:
        Ws3Error: If there is no class, too many, one twice, or a name that can't be one.

    Example:
        >>> check_classes(["cat", "dog"], "classes.txt")
        ('cat', 'dog')
    """
    if not classes:
        raise Ws3Error(f"{source}: no classes; name at least one")
    if len(classes) > MAX_CLASSES:
        raise Ws3Error(
            f"{source}: {len(classes)} classes, but 8-bit masks have values for {MAX_CLASSES}"
        )
    for name in classes:
        unfit = not name or name != name.strip() or ";" in name or len(name.splitlines()) > 1
        if unfit or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise Ws3Error(
                f"{source}: {shown(name)} can't be a class name; leave out ';', line breaks, "
                "control characters and blanks around it"
            )
        if name.strip("_").lower() == "background":
            raise Ws3Error(
                f"{source}: leave out {shown(name)}; it is the mask value 0, and the first class "
                "is 1"
            )
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise Ws3Error(f"{source}: the class {shown(twice[0])} is listed twice; list it once")
    looks = Counter(map(_look, classes))
    alike = [name for name in classes if looks[_look(name)] > 1]
    if alike:
        raise Ws3Error(
            f"{source}: the classes {alike[0]!a} and {alike[1]!a} can't be told apart, as "
            "they differ only in how their letters or blanks are encoded; write both in one way"
        )
    return tuple(classes)


def _look(name: str) -> str:
    """Return how a name looks to a reader, whatever its letters and blanks are encoded as."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def row_named(rows: Sequence[ImageRow], wanted: str) -> ImageRow | None:
    """Return the row of an image by its id, or else by its name, with or without folders.

    Args:
        rows: Where to look.
        wanted: An id, a picture's path as the dataset names it, or the end of one that no other
            picture shares.
    """
    tests: tuple[Callable[[ImageRow], bool], ...] = (
        lambda row: row.image == wanted,
        lambda row: row.name == wanted,
        lambda row: without_suffix(row.name) == wanted,
        lambda row: row.name.endswith(f"/{wanted}"),
    )
    for fits in tests:
        found = [row for row in rows if fits(row)]
        if len(found) == 1:
            return found[0]
    return None


def rows_fingerprint(rows: Sequence[ImageRow]) -> str:
    """Return a digest of what a cheap look says of some rows.

    It covers ids, splits, labels, stat keys and the names of the files as the dataset has them, not
    the folders that hold the dataset, and is the same for the rows of a listing and of the index
    made from it.

    Returns:
        16 hexadecimal digits.
    """
    facts = [
        (
            row.image,
            row.split,
            row.labels,
            row.name or row.path.rpartition(os.sep)[2],
            row.mask.rpartition(os.sep)[2],
            row.stat_key,
            *((row.coding,) if row.coding else ()),
        )
        for row in rows
    ]
    return hashlib.sha256(json.dumps(facts).encode("ascii")).hexdigest()[:16]


def write_index(path: str | Path, index: Index) -> None:
    """Write an index as CSV, and its class list as `classes.txt` in the same folder.

    Each of the two files is written whole or not at all.

    Raises:
        Ws3Error: If a file can't be written.
    """
    text = _csv(index.rows, csv.QUOTE_MINIMAL)
    if "\r" in text:
        # Before Python 3.13 the writer leaves a carriage return (in a file's name) unquoted.
        text = _csv(index.rows, csv.QUOTE_ALL)
    path = Path(path)
    names = "".join(f"{name}\n" for name in index.classes)
    write_bytes(path.with_name(CLASSES_FILE), names.encode())
    # File names needn't be UTF-8.
    write_bytes(path, text.encode(errors="surrogateescape"))


def _csv(rows: Sequence[ImageRow], quoting: Literal[0, 1]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=quoting)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            (
                row.image,
                row.split,
                ";".join(row.labels),
                row.path,
                row.mask,
                row.stat_key,
                row.width,
                row.height,
                row.sha256,
                row.mask_sha256,
                row.problem,
                row.parts,
                row.name,
                ";".join(map(str, row.mask_values)),
                row.coding,
            )
        )
    return text.getvalue()


def read_index(path: str | Path) -> Index:
    """Read an index that `write_index` wrote.

    Raises:
        Ws3Error: If one of the two files is missing or malformed.
    """
    path = Path(path)
    rows: list[ImageRow] = []
    labels: dict[str, tuple[str, ...]] = {"": ()}
    values: dict[str, tuple[int, ...]] = {"": ()}
    line = 1
    try:
        with (
            open_regular(path, TEXT_BYTES) as data,
            io.TextIOWrapper(data, "utf-8", "surrogateescape", newline="") as file,
        ):
            reader = csv.reader(file)
            columns = tuple(next(reader, ()))
            if columns not in (COLUMNS, _OLDER):
                raise ValueError(f"its columns should be {','.join(COLUMNS)}")
            is_older = columns == _OLDER
            for image, split, names, image_path, mask, stat_key, width, height, *rest in reader:
                line = reader.line_num
                if split not in SPLITS:
                    raise ValueError(f"split {shown(split)} is neither train nor val")
                if names not in labels:
                    labels[names] = tuple(names.split(";"))
                if is_older:
                    rest += [image_path.rpartition(os.sep)[2], "", ""]
                digest, mask_digest, problem, parts, name, held, coding = rest
                if held not in values:
                    values[held] = tuple(map(int, held.split(";")))
                rows.append(
                    ImageRow(
                        image,
                        split,
                        labels[names],
                        image_path,
                        mask,
                        stat_key,
                        int(width),
                        int(height),
                        digest,
                        mask_digest,
                        problem,
                        parts,
                        name,
                        values[held],
                        coding,
                    )
                )
    except FileNotFoundError as error:
        raise Ws3Error(f"{path}: no such file; make it with ws3 index") from error
    except OSError as error:
        raise Ws3Error(f"{path}: {reason(error)}; make it with ws3 index") from error
    except (ValueError, csv.Error) as error:
        raise Ws3Error(
            f"{path}: malformed after line {line} ({reason(error)}); delete it and run ws3 index"
        ) from error
    names_path = path.with_name(CLASSES_FILE)
    classes = read_lines(names_path, "the class list that ws3 index writes; run ws3 index")
    known = set(classes)
    strange = [row for row in rows if not (row.problem or known.issuperset(row.labels))]
    if strange:
        raise Ws3Error(
            f"{path}: the labels of {shortened(strange[0].image)} aren't all in {CLASSES_FILE}; "
            "delete both and run ws3 index"
        )
    return Index(check_classes(classes, str(names_path)), tuple(rows))


def check_files(
    listing: Listing,
    previous: Index | None = None,
    on_problem: Literal["fail", "skip"] = "fail",
    progress: Callable[[int, int], None] | None = None,
    colors: Mapping[Color, int] | None = None,
) -> Index:
    """Open and check every file of a listing.

    Checked are ids (legal and used once), labels (all in the class list), images (they decode to
    RGB) and masks (they decode, have the image's size and only known values, and not all of them
    contradict their pictures' labels). All problems are reported together.

    Args:
        listing: What to check.
        previous: An older index: rows that the listing still has unchanged are taken from it, and
            their files aren't opened.
        on_problem: "fail" raises; "skip" notes a problem of a single image in its row. Illegal
            and repeated ids always raise, as they'd mix up results.
        progress: Called with the rows done and the rows in all.
        colors: The class value of each colour, for masks that hold colours.

    Raises:
        Ws3Error: If there are problems, no training image (is left), or masks that can't be right.
    """
    _check_listing(listing)
    listing = replace(listing, rows=tuple(map(_named, listing.rows)))
    fatal = _id_problems(listing.rows)
    rows = _opened(listing.rows, listing.classes, _reusable(listing, previous), progress, colors)
    single = [f"{shortened(row.title)}: {row.problem}" for row in rows if row.problem]
    if fatal or (single and on_problem == "fail"):
        raise Ws3Error(_report([*fatal, *single]))
    if not any(row.split == "train" and not row.problem for row in rows):
        raise Ws3Error(f"no training image is left. {_report(single)}")
    check_masks(rows, listing.classes)
    return Index(listing.classes, tuple(rows))


def try_files(
    listing: Listing,
    sample: int | None,
    progress: Callable[[int, int], None] | None = None,
    colors: Mapping[Color, int] | None = None,
) -> tuple[list[ImageRow], int, Ws3Error | None]:
    """Open some files of a listing, and return what `check_files` would say.

    Args:
        listing: What to look at.
        sample: How many images to open, evenly spread; None opens all, 0 none.
        progress: As for `check_files`.
        colors: As for `check_files`.

    Returns:
        All rows, completed where they were opened; how many were; and what `check_files` would
        raise, or None.

    Raises:
        Ws3Error: If there is no training image, or none of the images is there.
    """
    _check_listing(listing)
    rows = list(map(_named, listing.rows))
    count = len(rows) if sample is None else min(sample, len(rows))
    places = [number * len(rows) // count for number in range(count)]
    chosen = [rows[place] for place in places]
    for place, row in zip(
        places, _opened(chosen, listing.classes, {}, progress, colors), strict=True
    ):
        rows[place] = row
    single = [f"{shortened(row.title)}: {row.problem}" for row in rows if row.problem]
    problems = [*_id_problems(rows), *single]
    if problems:
        return rows, count, Ws3Error(_report(problems))
    try:
        check_masks(rows, listing.classes)
    except Ws3Error as error:
        return rows, count, error
    return rows, count, None


def _check_listing(listing: Listing) -> None:
    """Refuse a dataset that one line says more about than a line per image.

    Raises:
        Ws3Error: If it has no training image, or none of its images is there.
    """
    rows = listing.rows
    if not any(row.split == "train" for row in rows):
        raise Ws3Error(
            f"the dataset has {len(rows)} images and none for training; check its root and "
            "its split lists"
        )
    if len(rows) > 1 and all(row.stat_key.partition(";")[0] == MISSING for row in rows):
        raise Ws3Error(
            f"none of the {len(rows)} images is there; the first is "
            f"{shortened(rows[0].path, 1000)}: check dataset.root, and where the images lie"
        )


def _opened(
    rows: Sequence[ImageRow],
    classes: tuple[str, ...],
    known: Mapping[ImageRow, ImageRow],
    progress: Callable[[int, int], None] | None,
    colors: Mapping[Color, int] | None,
) -> list[ImageRow]:
    """Return rows completed from their files, or as they are known already."""
    done: list[ImageRow] = []
    cut: list[str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # In slices, so that neither an interrupt nor memory has to await the whole dataset.
        for start in range(0, len(rows), _SLICE):
            part = rows[start : start + _SLICE]
            for row in pool.map(
                lambda row: known.get(row) or _check(row, classes, cut, colors), part
            ):
                done.append(row)
                if progress is not None:
                    progress(len(done), len(rows))
    if cut:
        _log.warning(
            "%d masks hold the largest value of a palette PNG of 2 or 4 bits, which writers make "
            "of 255 (ignored); if that is so here, write them with 8 bits: %s",
            len(cut),
            ", ".join(sorted(cut)[:3]),
        )
    return done


def _named(row: ImageRow) -> ImageRow:
    """Return a row with a name: that of its file, where the dataset gives no other."""
    return row if row.name else row._replace(name=row.path.rpartition(os.sep)[2])


def _reusable(listing: Listing, previous: Index | None) -> dict[ImageRow, ImageRow]:
    """Map rows as a listing has them to the rows of an older index."""
    if previous is None or previous.classes != listing.classes:
        return {}
    return {
        row._replace(width=0, height=0, sha256="", mask_sha256="", mask_values=()): row
        for row in previous.rows
        if row.sha256 and not row.problem and bool(row.mask) == bool(row.mask_values)
    }


def _id_problems(rows: Sequence[ImageRow]) -> list[str]:
    problems = []
    splits: dict[str, list[str]] = {}
    for row in rows:
        splits.setdefault(row.image, []).append(row.split)
    for image, found in splits.items():
        name = shortened(image)
        if not is_legal_id(image):
            problems.append(
                f"{shown(image)}: can't be an id; use up to {MAX_ID} letters, digits, '_', '-' "
                "and '.', beginning with a letter, a digit or '_'"
            )
        unknown = [split for split in found if split not in SPLITS]
        if unknown:
            problems.append(f"{name}: the split {shown(unknown[0])} is neither train nor val")
        elif len(set(found)) > 1:
            problems.append(f"{name}: in both train and val; leave it in one")
        elif len(found) > 1:
            problems.append(f"{name}: {len(found)} times in {found[0]}; leave it there once")
    return problems


def _report(problems: Sequence[str]) -> str:
    head = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the dataset"
    lines = [f"{head}; mend the files, or set on_bad_image: skip where a single image is bad:"]
    lines += [f"  {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  ... and {len(problems) - _SHOWN} more")
    return "\n".join(lines)


def _check(
    row: ImageRow,
    classes: tuple[str, ...],
    cut: list[str],
    colors: Mapping[Color, int] | None,
) -> ImageRow:
    """Open the files of one row; return it completed, or with its problems.

    A mask whose 255 may have become a known class is added to `cut`.
    """
    # Imported here: listing a dataset is to stay light, without numpy and Pillow.
    from ws3.datasets import images, masks

    problems = [row.problem] if row.problem else []
    unknown = [label for label in row.labels if label not in classes]
    if unknown:
        problems.append(f"label {shortened(', '.join(map(repr, unknown)))} isn't in the class list")
    found: dict[str, Any] = {}
    photograph = b""
    try:
        photograph = data = images.read_bytes(row.path)
        height, width = images.decoded_size(data, row.path, row.coding)
        found |= {
            "width": width,
            "height": height,
            "sha256": images.digest(data, images.photograph_coding(row.coding)),
        }
    except Ws3Error as error:
        problems.append(str(error))
    if row.mask:
        try:
            data = images.read_bytes(row.mask)
            mask = masks.decode_label_mask(data, row.mask, row.coding, colors)
            found["mask_sha256"] = images.digest(data, row.coding)
            values, lost = masks.values_of(mask), masks.lost_ignored(data, mask, row.coding)
            found["mask_values"] = values
            if "width" in found and mask.shape != (found["height"], found["width"]):
                problems.append(_size_problem(row, mask.shape, found, photograph))
            problems += _mask_problems(row, values, len(classes), lost)
            if 0 < lost <= len(classes):
                cut.append(row.mask)
        except Ws3Error as error:
            problems.append(str(error))
    return row._replace(**found, problem=printable("; ".join(problems)))


def _size_problem(
    row: ImageRow, shape: tuple[int, ...], found: Mapping[str, Any], photograph: bytes
) -> str:
    from ws3.datasets import images

    cause = ""
    height, width = shape
    if (height, width) == (found["width"], found["height"]):
        if images.photograph_coding(row.coding):
            cause = "; if it was drawn on the stored picture, set dataset.exif: stored"
        elif images.is_turned(photograph, row.path):
            cause = (
                "; the photograph's EXIF tag turns it, and the mask was drawn on the upright "
                "picture: set dataset.exif: upright, or turn the file for good"
            )
    return (
        f"{row.mask}: {width} x {height} pixels, but the image has "
        f"{found['width']} x {found['height']}{cause}"
    )


def _mask_problems(
    row: ImageRow,
    values: tuple[int, ...],
    classes: int,
    lost: int,
) -> list[str]:
    problems = []
    unknown = [value for value in values if classes < value < IGNORED]
    if unknown:
        cause = (
            f"; its writer made {lost} of {IGNORED}, as the file has too few bits per pixel: write "
            "it with 8"
        )
        more = f" and {len(unknown) - _VALUES} more" if len(unknown) > _VALUES else ""
        problems.append(
            f"{row.mask}: holds the value{'s' if len(unknown) > 1 else ''} "
            f"{', '.join(map(str, unknown[:_VALUES]))}{more}, but with {classes} classes only 0 to "
            f"{classes} and {IGNORED} are known{cause if lost in unknown else ''}"
        )
    return problems
