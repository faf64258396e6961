"""Open Images' labels by people: a row per picture and label, with 0 for a label that is absent."""

from __future__ import annotations

import csv
from pathlib import PurePosixPath

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.reading import Gathering, counted, read_text, split_of
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.messages import reason, shown

_COLUMNS = {"ImageID", "LabelName", "Confidence"}


def read(tree: Tree) -> Found | None:
    """Read tables of labels of whole pictures, with the names of their description file.

    Raises:
        Ws3Error: If a table is malformed.
    """
    tables = {}
    for name in tree.texts(".csv"):
        lines = read_text(tree, name).splitlines()
        header = next(csv.reader(lines[:1]), [])
        # Tables of boxes have these columns, too, and more.
        if set(header) >= _COLUMNS and "XMin" not in header:
            tables[name] = lines
    if not tables:
        return None
    names = _descriptions(tree)
    gathered = Gathering(tree, ", ".join(str(tree.path(name)) for name in list(tables)[:2]))
    classes: dict[str, None] = {}
    absent = 0
    for name, lines in tables.items():
        split = split_of(name)
        try:
            for row in csv.DictReader(lines, strict=True):
                label = names.get(row["LabelName"], row["LabelName"])
                is_there = float(row["Confidence"]) > 0
                absent += not is_there
                if is_there:
                    classes[label] = None
                gathered.add(row["ImageID"], [label] if is_there else [], split, beside=name)
        except (csv.Error, KeyError, TypeError, ValueError) as error:
            raise Ws3Error(
                f"{tree.path(name)}: not as Open Images writes it ({reason(error)})"
            ) from error
    if absent:
        gathered.notes.append(f"{counted(absent, 'row')} of confidence 0: the label is absent")
    unnamed = [label for label in classes if label.startswith("/m/")]
    if unnamed:
        gathered.notes.append(
            f"nothing names the code {shown(unnamed[0])}; put class-descriptions.csv beside the "
            "table"
        )
    why = f"{next(iter(tables))} has the columns ImageID, LabelName and Confidence"
    return gathered.found("Open Images' image labels", why, sorted(classes))


def _descriptions(tree: Tree) -> dict[str, str]:
    names = {}
    for name in tree.files:
        if "class-descriptions" in PurePosixPath(name).name and name.endswith(".csv"):
            for row in csv.reader(read_text(tree, name).splitlines()):
                if len(row) >= 2:
                    names[row[0]] = row[1].strip()
    return names
