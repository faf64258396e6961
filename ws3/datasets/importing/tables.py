"""Tables of labels, whatever their columns are called and however they write several labels."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ws3.datasets.importing.found import SPLIT_NAMES, Found, Split
from ws3.datasets.importing.mask_files import class_list, with_masks
from ws3.datasets.importing.reading import NO_LABEL, Gathering, counted, read_text, split_of
from ws3.datasets.importing.tree import Tree
from ws3.datasets.names import is_picture, without_suffix
from ws3.errors import Ws3Error
from ws3.messages import reason, shortened, shown

_IMAGE = (
    *("image", "images", "filename", "file_name", "file", "image_name", "image_path", "imageid"),
    *("image_id", "img", "img_path", "path", "filepath", "file_path", "picture", "photo", "name"),
    *("fname", "id", "uri", "url"),
)
_LABELS = (
    *("labels", "label", "tags", "tag", "classes", "class", "class_name", "categories"),
    *("category", "choice", "choices", "labelname", "label_name", "species", "target", "targets"),
    *("attribute_ids", "gt", "y"),
)
_SPLIT = ("split", "set", "subset", "usage", "partition")
_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", "", "-1", "-1.0"}
_SEPARATORS = (";", "|", ",", "\n")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_LIST_FILES = {"train.txt", "val.txt", "valid.txt", "validation.txt", "test.txt"}
_MOST_CELL = 100_000


@dataclass(frozen=True)
class _Table:
    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, number: int) -> Iterator[str]:
        return (row[number].strip() for row in self.rows)


def read(tree: Tree) -> Found | None:
    """Read a table with a column of pictures, and one of labels or one per class.

    Returns:
        None if there is no table with such columns.

    Raises:
        Ws3Error: If several tables could be meant, or one is malformed.
    """
    candidates = []
    for name in tree.texts(".csv", ".tsv", ".txt", ".tab"):
        table = _read_table(tree, name)
        if table is not None and _image_column(tree, table) is not None:
            candidates.append(table)
    if not candidates:
        return None
    return _read_tables(tree, _chosen(tree, candidates))


def _chosen(tree: Tree, tables: Sequence[_Table]) -> list[_Table]:
    """Return the only table, or one per split.

    Raises:
        Ws3Error: If it isn't told which is meant.
    """
    if len(tables) == 1:
        return list(tables)
    splits = [split_of(table.name) for table in tables]
    if None not in splits and len(set(splits)) == len(splits):
        return list(tables)
    names = ", ".join(shortened(table.name, 40) for table in tables[:6])
    raise Ws3Error(
        f"{tree.root}: {len(tables)} tables could hold the labels ({names}"
        f"{' ...' if len(tables) > 6 else ''}); name the one that is meant"
    )


def _read_tables(tree: Tree, tables: Sequence[_Table]) -> Found:
    source = ", ".join(str(tree.path(table.name)) for table in tables[:2])
    gathered = Gathering(tree, source)
    notes: list[str] = []
    classes: dict[str, None] = {}
    reasons = []
    listed = _listed_splits(tree)
    for table in tables:
        image = _image_column(tree, table)
        assert image is not None  # noqa: S101 - such tables only were chosen
        split_column = _named(table, _SPLIT)
        labels, how, some, own = _labels_of(tree, table, {image, split_column})
        classes |= dict.fromkeys(own)
        notes += some
        reasons.append(f"{table.name} has the column {shown(table.header[image])} and {how}")
        split = split_of(table.name) if len(tables) > 1 or "/" in table.name else None
        for row, names in zip(table.rows, labels, strict=True):
            reference = row[image].strip()
            where = split
            if split_column is not None:
                where = SPLIT_NAMES.get(row[split_column].strip().lower(), split)
            elif where is None:
                where = listed.get(without_suffix(PurePosixPath(reference).name))
            gathered.add(reference, names, where, beside=table.name)
    if listed and not any(_named(table, _SPLIT) is not None for table in tables):
        notes.append("the splits are those of the lists beside the table")
    gathered.notes += notes
    kind = "a table of labels" if len(tables) == 1 else "tables of labels"
    found = gathered.found(kind, "; ".join(reasons), classes)
    pictures, about_masks = with_masks(tree, found.pictures, found.classes)
    return Found(kind, found.reason, found.classes, pictures, (*found.notes, *about_masks))


def _read_table(tree: Tree, name: str) -> _Table | None:
    """Return a table with a header and rows of equal length, or None if it is none."""
    try:
        text = read_text(tree, name)
    except Ws3Error:
        if tree.named is None:
            return None
        raise
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or (not name.lower().endswith((".csv", ".tsv", ".tab")) and len(lines) < 2):
        return None
    best: _Table | None = None
    for separator in (",", ";", "\t", "|"):
        if separator not in lines[0]:
            continue
        try:
            reader = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
            cells = [tuple(row) for row in reader if any(cell.strip() for cell in row)]
        except csv.Error as error:
            if tree.named is not None and separator == ",":
                raise Ws3Error(f"{tree.path(name)}: no CSV table ({reason(error)})") from error
            continue
        header = tuple(cell.strip() for cell in cells[0])
        whole = all(len(row) == len(header) for row in cells)
        if whole and len(header) > 1 and (best is None or len(header) > len(best.header)):
            best = _Table(name, header, tuple(cells[1:]))
    if best is not None and any(is_picture(cell) for cell in best.header):
        # There is no header: the first line is a picture like the others.
        header = ("image", *(["labels"] if len(best.header) == 2 else best.header[1:]))
        best = _Table(name, tuple(header), (best.header, *best.rows))
    return best if best is not None and best.rows else None


def _named(table: _Table, names: Sequence[str]) -> int | None:
    """Return the column whose name comes first in a list of names, or None."""
    lowered = [cell.lower() for cell in table.header]
    return next((lowered.index(name) for name in names if name in lowered), None)


def _image_column(tree: Tree, table: _Table) -> int | None:
    """Return the column that names pictures: most of them are there, or its name says so."""
    shares = []
    sample = table.rows[:: max(1, len(table.rows) // 20)]
    for number in range(len(table.header)):
        there = sum(tree.find(row[number], table.name) is not None for row in sample)
        shares.append(there / len(sample))
    named = _named(table, _IMAGE)
    best = max(range(len(shares)), key=lambda number: (shares[number], number == named))
    if shares[best] >= 0.5:
        return best
    looks = named is not None and any(map(is_picture, table.column(named)))
    labels = _named(table, _LABELS) is not None
    return named if looks or (labels and named is not None) else None


_Labels = list[tuple[str, ...]]


def _labels_of(
    tree: Tree, table: _Table, taken: Iterable[int | None]
) -> tuple[_Labels, str, list[str], list[str]]:
    """Return the labels of each row, how they were read, notes, and the classes in order."""
    others = [n for n in range(len(table.header)) if n not in set(taken) and table.header[n]]
    column = _named(table, _LABELS)
    binary = [n for n in others if n != column and _is_binary(table, n)]
    text = column is not None and not (len(binary) > 1 and _is_binary(table, column))
    if column is not None and text:
        labels, notes, classes = _of_cells(tree, table, column)
        return labels, f"labels in {shown(table.header[column])}", notes, classes
    if not binary and len(others) == 1:
        labels, notes, classes = _of_cells(tree, table, others[0])
        return labels, f"labels in {shown(table.header[others[0]])}", notes, classes
    if not binary:
        raise Ws3Error(
            f"{tree.path(table.name)}: of its columns {shown(', '.join(table.header))} none is "
            "called labels, class or tags, and none holds 0 and 1 alone; rename the one with labels"
        )
    notes = []
    ignored = [table.header[n] for n in others if n not in binary]
    if ignored:
        notes.append(f"columns that hold no 0 and 1 are left out: {', '.join(ignored[:5])}")
    classes = [table.header[n] for n in binary if table.header[n].lower() not in NO_LABEL]
    rows = [
        tuple(
            table.header[n]
            for n in binary
            if row[n].strip().lower() in _YES and table.header[n].lower() not in NO_LABEL
        )
        for row in table.rows
    ]
    return rows, f"{len(classes)} columns of 0 and 1, one per class", notes, classes


def _is_binary(table: _Table, number: int) -> bool:
    values = {cell.lower() for cell in table.column(number)}
    return values <= _YES | _NO and bool(values & (_YES | {"0", "0.0", "false", "no"}))


def _of_cells(tree: Tree, table: _Table, column: int) -> tuple[_Labels, list[str], list[str]]:
    cells = list(table.column(column))
    longest = max(map(len, cells))
    if longest > _MOST_CELL:
        raise Ws3Error(f"{tree.path(table.name)}: a cell of {longest} letters; that is no label")
    notes: list[str] = []
    split = _splitter(cells, notes)
    labels = [split(cell) for cell in cells]
    unlabelled = sum(cell.lower() in NO_LABEL - {""} for cell in cells)
    if unlabelled:
        notes.append(
            f"{counted(unlabelled, 'cell')} such as 'nan': taken for a picture without any class"
        )
    labels = [tuple(name for name in some if name.lower() not in NO_LABEL) for some in labels]
    labels, classes = _with_names(tree, labels, notes)
    return labels, notes, classes


def _splitter(cells: Sequence[str], notes: list[str]) -> Callable[[str], tuple[str, ...]]:
    """Return what divides a cell into labels; the notes say which way was taken."""
    filled = [cell for cell in cells if cell and cell.lower() not in NO_LABEL]
    if any(cell[0] in "[({" and cell[-1] in "])}" for cell in filled):
        example = shown(next(cell for cell in filled if cell[0] in "[({"))
        notes.append(f"lists in cells, such as {example}, are taken apart")
        return _of_list
    for separator in _SEPARATORS:
        if any(separator in cell for cell in filled):
            example = next(cell for cell in filled if separator in cell)
            if separator != ";":
                notes.append(f"cells such as {shown(example)} hold several labels")
            return lambda cell: _parts(cell, separator)
    joined = _joined_by_blanks(filled)
    if joined:
        example = next(iter(joined))
        notes.append(
            f"cells such as {shown(example)} are taken for several labels: "
            f"{', '.join(joined[example])}"
        )
        return lambda cell: joined.get(cell, (cell,) if cell else ())
    return lambda cell: (cell,) if cell else ()


def _parts(cell: str, separator: str) -> tuple[str, ...]:
    parts = (part.strip() for part in cell.split(separator))
    return tuple(dict.fromkeys(part for part in parts if part))


def _of_list(cell: str) -> tuple[str, ...]:
    """Return the labels of a list as JSON, Python, numpy or a Label Studio cell write it."""
    try:
        value = json.loads(cell)
    except ValueError:
        value = None
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return tuple(dict.fromkeys(str(one).strip() for one in value if str(one).strip()))
    if not (cell and cell[0] in "[({" and cell[-1] in "])}"):
        return (cell,) if cell else ()
    inner = cell[1:-1].strip()
    quoted = [first or second for first, second in _QUOTED.findall(inner)]
    if quoted:
        if _QUOTED.sub("", inner).strip(", \n"):
            raise Ws3Error(f"the cell {shown(cell)} is no list of labels; write a;b or one per row")
        return tuple(dict.fromkeys(one.strip() for one in quoted if one.strip()))
    return _parts(inner, ",")


def _joined_by_blanks(cells: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the cells that are several labels joined by blanks, with these labels.

    Class names have blanks too. A cell is taken apart only if its parts stand alone in other
    cells, or if words come together in so many ways that they must be labels.
    """
    distinct = set(cells)
    whole = {cell: parts for cell in sorted(distinct) if (parts := _made_of(cell, distinct))}
    if whole:
        return whole
    words = {cell: tuple(cell.split()) for cell in distinct}
    several = [some for some in words.values() if len(some) > 1]
    uses = Counter(word for some in words.values() for word in set(some))
    if len(several) >= 4 and len(distinct) > len(uses) and sum(uses.values()) >= 2 * len(uses):
        return {cell: some for cell, some in words.items() if len(some) > 1}
    return {}


def _made_of(cell: str, others: set[str]) -> tuple[str, ...]:
    """Return the other cells that a cell consists of, or nothing."""
    words = cell.split()
    if len(words) < 2:
        return ()

    def parts(start: int) -> tuple[str, ...] | None:
        if start == len(words):
            return ()
        for end in range(len(words), start, -1):
            name = " ".join(words[start:end])
            if name != cell and name in others and (rest := parts(end)) is not None:
                return (name, *rest)
        return None

    whole = parts(0) or ()
    # The parts of a part are taken apart too.
    return tuple(one for part in whole for one in (_made_of(part, others) or (part,)))


def _with_names(tree: Tree, labels: _Labels, notes: list[str]) -> tuple[_Labels, list[str]]:
    """Return labels with names in place of numbers, where a file beside the table has them."""
    found = {name for some in labels for name in some}
    if not found or not all(name.isdecimal() for name in found):
        return labels, sorted(found)
    listed = class_list(tree)
    numbers = sorted(map(int, found))
    if (
        listed is None
        or numbers[-1] > len(listed[1])
        or (numbers[-1] == len(listed[1]) and numbers[0] == 0)
    ):
        notes.append(
            f"the labels are numbers ({numbers[0]} to {numbers[-1]}) that nothing names; the "
            "classes are called by them: add a file classes.txt with one class per line to name "
            "them"
        )
        return labels, [str(number) for number in numbers]
    first = 1 if numbers[-1] == len(listed[1]) else 0
    names = listed[1]
    notes.append(
        f"the labels are numbers from {first}, named by {listed[0]}: {first} is {shown(names[0])}"
    )
    return [tuple(names[int(one) - first] for one in some) for some in labels], list(names)


def _listed_splits(tree: Tree) -> dict[str, Split]:
    """Return the split of each picture's stem, by lists such as train.txt in the same folder."""
    from ws3.datasets.importing.found import SPLIT_NAMES

    splits: dict[str, Split] = {}
    for name in tree.files:
        if name in _LIST_FILES:
            split = SPLIT_NAMES[without_suffix(name).removesuffix(".txt")]
            for line in read_text(tree, name).splitlines():
                if line.strip():
                    splits[without_suffix(PurePosixPath(line.strip()).name)] = split
    return splits
