"""The tables of docs/study.md and its figures as a file say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
CELL = re.compile(r"\**(\d\.\d{3})\** \[(\d\.\d{3}), (\d\.\d{3})\]")


def test_the_table_of_the_strongest_recipes_is_that_of_the_file():
    figures = json.loads((DOCS / "study.json").read_text())["figures"]
    wanted = {
        (row["recipe"], row["stage"]): [row[name] for name in ("miou", "low", "high")]
        for row in figures
        if (row["network"], row["seed"], row["split"]) == ("mobilenet_v2", "0", "val")
    }
    section = (
        (DOCS / "study.md").read_text().partition("### Layers multiplied")[2].partition("\n## ")
    )
    checked = set()
    for line in section[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        recipe = cells[0].partition(",")[0]
        for stage, cell in zip(("maps", "masks"), cells[1:3], strict=False):
            if found := CELL.fullmatch(cell):
                for shown, value in zip(found.groups(), wanted[recipe, stage], strict=True):
                    # The file has four digits, which may round the third another way.
                    assert abs(float(shown) - value) <= 0.00056, (recipe, stage, shown, value)
                checked.add((recipe, stage))
    assert checked == wanted.keys()
