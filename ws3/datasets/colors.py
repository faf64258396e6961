"""The table of colours of a dataset whose masks are coloured: the class of each colour."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ws3.config.dataset import DatasetConfig, Folder
from ws3.datasets.listing_files import read_lines
from ws3.datasets.names import is_background
from ws3.errors import StaleResultError, Ws3Error
from ws3.labels import IGNORED, voc_palette
from ws3.messages import shown

if TYPE_CHECKING:
    from ws3.datasets.index import Color

_IGNORED_NAMES = ("void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown")
_EXPECTED = "a class and its colour per line, as name:r,g,b:: (labelmap.txt) or name,r,g,b (CSV)"
_VOID = (224, 224, 192)  # what VOC's palette shows for 255


def mask_colors(
    dataset: DatasetConfig, root: Path, classes: Sequence[str]
) -> dict[Color, int] | None:
    """Return the class value of each colour, or None for masks that hold class values.

    Args:
        dataset: The `dataset` section of the configuration.
        root: The dataset's folder.
        classes: Class names, in mask order.

    Raises:
        Ws3Error: If the table is missing or malformed, names an unknown class, or lacks one.
    """
    named = color_names(dataset, root)
    if named is None:
        return None
    source = _source(dataset, root)
    values = {name: value for value, name in enumerate(classes, start=1)}
    found: dict[Color, int] = {}
    for name, color in named.items():
        value = values.get(name, _other_value(name))
        if value is None:
            raise Ws3Error(
                f"{source}: {shown(name)} isn't in the class list; the background's colour is "
                "named background, and that of ignored pixels void"
            )
        if color in found:
            raise Ws3Error(f"{source}: the colour {color} is there twice; give each class its own")
        found[color] = value
    lacking = [name for name in classes if name not in named]
    if lacking:
        raise Ws3Error(f"{source}: the class {shown(lacking[0])} has no colour; give it one")
    found.setdefault(_VOID, IGNORED)
    return found


def classes_of_colors(dataset: DatasetConfig, root: Path) -> list[str] | None:
    """Return the classes that a table of colours names, in its order; None if there is none.

    Raises:
        Ws3Error: If the table is missing or malformed.
    """
    named = color_names(dataset, root)
    return None if named is None else [name for name in named if _other_value(name) is None]


def color_names(dataset: DatasetConfig, root: Path) -> dict[str, Color] | None:
    """Return the colour of each name in the table, background and void included.

    Raises:
        Ws3Error: If the table is missing or malformed.
    """
    if not isinstance(dataset, Folder) or dataset.colors is None:
        return None
    if not isinstance(dataset.colors, str):
        return dict(dataset.colors)
    path = root / dataset.colors
    lines = [line for line in read_lines(path, _EXPECTED) if not line.startswith("#")]
    is_labelmap = any(":" in line for line in lines)
    entries = [_labelmap_entry(line) for line in lines] if is_labelmap else _csv_entries(lines)
    palette = voc_palette()
    found: dict[str, Color] = {}
    for number, (name, cells) in enumerate(entries):
        if not any(cells):
            # Datumaro leaves the colours out where they are those of VOC, in this order.
            color = (palette[3 * number], palette[3 * number + 1], palette[3 * number + 2])
        elif len(cells) == 3 and all(cell.isdecimal() and int(cell) < 256 for cell in cells):
            color = (int(cells[0]), int(cells[1]), int(cells[2]))
        else:
            raise Ws3Error(
                f"{path}: {shown(name)} has no colour of three numbers from 0 to 255; expected "
                f"here: {_EXPECTED}"
            )
        if name in found:
            raise Ws3Error(f"{path}: {shown(name)} is there twice; leave it once")
        found[name] = color
    if not found:
        raise Ws3Error(f"{path}: no colours; expected here: {_EXPECTED}")
    return found


def coding_of(colors: Mapping[Color, int]) -> str:
    """Return what stands for a table of colours in a row's coding.

    Example:
        >>> coding_of({(0, 0, 0): 0, (128, 0, 0): 1})
        'colors-8b0b6e33'
    """
    table = json.dumps(sorted([*color, value] for color, value in colors.items()))
    return f"colors-{hashlib.sha256(table.encode()).hexdigest()[:8]}"


def check_coding(coding: str, colors: Mapping[Color, int] | None) -> None:
    """Refuse a table of colours that isn't the one a row was indexed with.

    Raises:
        StaleResultError: Saying what to do.
    """
    known = [part for part in coding.split("+") if part.startswith("colors-")]
    if known != ([] if colors is None else [coding_of(colors)]) and known:
        raise StaleResultError(
            "dataset.colors changed after the images were indexed; run snakemake (or ws3 index) "
            "again"
        )


def _source(dataset: DatasetConfig, root: Path) -> str:
    is_file = isinstance(dataset, Folder) and isinstance(dataset.colors, str)
    return str(root / str(dataset.colors)) if is_file else "dataset.colors"  # type: ignore[attr-defined]


def _other_value(name: str) -> int | None:
    plain = name.strip("_").lower()
    if is_background(name):
        return 0
    return IGNORED if plain in _IGNORED_NAMES else None


def _labelmap_entry(line: str) -> tuple[str, list[str]]:
    name, _, rest = line.partition(":")
    return name.strip(), [cell.strip() for cell in rest.partition(":")[0].split(",")]


def _csv_entries(lines: Sequence[str]) -> list[tuple[str, list[str]]]:
    separator = next((sign for sign in ";\t" if lines and sign in lines[0]), ",")
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    if rows and not any(cell.isdecimal() for cell in rows[0]):
        rows = rows[1:]  # a header
    return [(row[0], row[1:4]) for row in rows if row]
