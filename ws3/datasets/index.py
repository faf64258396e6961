"""The index: which images there are, with which labels, and that every file is in order."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ws3.datasets.listing_files import read_lines
from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.labels import IGNORED
from ws3.messages import printable, reason, shortened, shown
from ws3.outside import TEXT_BYTES, open_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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
)
SPLITS = ("train", "val")
CLASSES_FILE = "classes.txt"
MAX_CLASSES = 254
_log = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MAX_ID = 200
_STORES_OWN = "zarr.json"  # each image is a folder in a store, beside this file
_SHOWN = 50
_SLICE = 256


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image of the dataset.

    Attributes:
        image: The id, legal as a file name.
        split: "train" or "val".
        labels: Names of the classes present, in class-list order.
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


@dataclass(frozen=True)
class Listing:
    """What can be known of a dataset without opening any image.

    Attributes:
        classes: Names of the classes; class i has the value i + 1 in masks.
        rows: Train first, then val, each in the dataset's own order.
    """

    classes: tuple[str, ...]
    rows: tuple[ImageRow, ...]


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
        if name.lower() == "background":
            raise Ws3Error(
                f"{source}: leave out {shown(name)}; it is the mask value 0, and the first class "
                "is 1"
            )
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise Ws3Error(f"{source}: the class {shown(twice[0])} is listed twice; list it once")
    return tuple(classes)


def rows_fingerprint(rows: Sequence[ImageRow]) -> str:
    """Return a digest of what a cheap look says of some rows.

    It covers ids, splits, labels, stat keys and the names of the files, not the folders that hold
    them, and is the same for the rows of a listing and of the index made from it.

    Returns:
        16 hexadecimal digits.
    """
    facts = [
        (
            row.image,
            row.split,
            row.labels,
            row.path.rpartition(os.sep)[2],
            row.mask.rpartition(os.sep)[2],
            row.stat_key,
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
    line = 1
    try:
        with (
            open_regular(path, TEXT_BYTES) as data,
            io.TextIOWrapper(data, "utf-8", "surrogateescape", newline="") as file,
        ):
            reader = csv.reader(file)
            if tuple(next(reader, ())) != COLUMNS:
                raise ValueError(f"its columns should be {','.join(COLUMNS)}")
            for image, split, names, image_path, mask, stat_key, width, height, *rest in reader:
                line = reader.line_num
                if split not in SPLITS:
                    raise ValueError(f"split {shown(split)} is neither train nor val")
                if names not in labels:
                    labels[names] = tuple(names.split(";"))
                digest, mask_digest, problem, parts = rest
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
) -> Index:
    """Open and check every file of a listing.

    Checked are ids (legal and used once), labels (at least one, all in the class list), images
    (they decode to RGB) and masks (they decode, have the image's size and only known values). All
    problems are reported together.

    Args:
        listing: What to check.
        previous: An older index: rows that the listing still has unchanged are taken from it, and
            their files aren't opened.
        on_problem: "fail" raises; "skip" notes a problem of a single image in its row. Illegal
            and repeated ids always raise, as they'd mix up results.
        progress: Called with the rows done and the rows in all.

    Raises:
        Ws3Error: If there are problems, or no training image (is left).
    """
    if not any(row.split == "train" for row in listing.rows):
        raise Ws3Error(
            f"the dataset has {len(listing.rows)} images and none for training; check its root and "
            "its split lists"
        )
    fatal = _id_problems(listing.rows)
    known = _reusable(listing, previous)
    rows: list[ImageRow] = []
    cut: list[str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # In slices, so that neither an interrupt nor memory has to await the whole dataset.
        for start in range(0, len(listing.rows), _SLICE):
            part = listing.rows[start : start + _SLICE]
            for row in pool.map(
                lambda row: known.get(row) or _check(row, listing.classes, cut), part
            ):
                rows.append(row)
                if progress is not None:
                    progress(len(rows), len(listing.rows))
    if cut:
        _log.warning(
            "%d masks hold the largest value of a palette PNG of 2 or 4 bits, which writers make "
            "of 255 (ignored); if that is so here, write them with 8 bits: %s",
            len(cut),
            ", ".join(sorted(cut)[:3]),
        )
    single = [f"{shortened(row.image)}: {row.problem}" for row in rows if row.problem]
    if fatal or (single and on_problem == "fail"):
        raise Ws3Error(_report([*fatal, *single]))
    if not any(row.split == "train" and not row.problem for row in rows):
        raise Ws3Error(f"no training image is left. {_report(single)}")
    return Index(listing.classes, tuple(rows))


def _reusable(listing: Listing, previous: Index | None) -> dict[ImageRow, ImageRow]:
    """Map rows as a listing has them to the rows of an older index."""
    if previous is None or previous.classes != listing.classes:
        return {}
    return {
        replace(row, width=0, height=0, sha256="", mask_sha256=""): row
        for row in previous.rows
        if row.sha256 and not row.problem
    }


def _id_problems(rows: Sequence[ImageRow]) -> list[str]:
    problems = []
    splits: dict[str, list[str]] = {}
    for row in rows:
        splits.setdefault(row.image, []).append(row.split)
    for image, found in splits.items():
        name = shortened(image)
        if not _ID.fullmatch(image) or len(image) > _MAX_ID or image == _STORES_OWN:
            problems.append(
                f"{shown(image)}: can't be an id; use up to {_MAX_ID} letters, digits, '_', '-' "
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


def _check(row: ImageRow, classes: tuple[str, ...], cut: list[str]) -> ImageRow:
    """Open the files of one row; return it completed, or with its problems.

    A mask whose 255 may have become a known class is added to `cut`.
    """
    # Imported here: listing a dataset is to stay light, without numpy and Pillow.
    from ws3.datasets import images

    problems = [row.problem] if row.problem else []
    unknown = [label for label in row.labels if label not in classes]
    if unknown:
        problems.append(f"label {shortened(', '.join(map(repr, unknown)))} isn't in the class list")
    if not row.labels and not row.problem:
        problems.append("has no labels")
    found: dict[str, str | int] = {}
    try:
        data = images.read_bytes(row.path)
        height, width, _ = images.decode_rgb(data, row.path).shape
        found |= {"width": width, "height": height, "sha256": images.sha256(data)}
    except Ws3Error as error:
        problems.append(str(error))
    if row.mask:
        try:
            data = images.read_bytes(row.mask)
            mask = images.decode_label_mask(data, row.mask)
            found["mask_sha256"] = images.sha256(data)
            lost = images.lost_ignored(data, mask)
            problems += _mask_problems(row, mask, found, len(classes), lost)
            if 0 < lost <= len(classes):
                cut.append(row.mask)
        except Ws3Error as error:
            problems.append(str(error))
    return replace(row, **found, problem=printable("; ".join(problems)))  # type: ignore[arg-type]


def _mask_problems(
    row: ImageRow,
    mask: npt.NDArray[np.uint8],
    found: dict[str, str | int],
    classes: int,
    lost: int,
) -> list[str]:
    import numpy as np

    problems = []
    height, width = mask.shape
    if "width" in found and (width, height) != (found["width"], found["height"]):
        problems.append(
            f"{row.mask}: {width} x {height} pixels, but the image has "
            f"{found['width']} x {found['height']}"
        )
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = [int(value) for value in values if classes < value < IGNORED]
    if unknown:
        cause = (
            f"; its writer made {lost} of {IGNORED}, as the file has too few bits per pixel: write "
            "it with 8"
        )
        problems.append(
            f"{row.mask}: holds the value{'s' if len(unknown) > 1 else ''} "
            f"{', '.join(map(str, unknown))}, but with {classes} classes only 0 to {classes} and "
            f"{IGNORED} are known{cause if lost in unknown else ''}"
        )
    return problems
