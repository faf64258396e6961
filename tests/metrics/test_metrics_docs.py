"""The documentation's examples print what it says, and its drawings are those of the code."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ws3.metrics.registry import all_metrics
from ws3.report.figures import LIGHT, THEMES, save

DOCS = Path(__file__).parents[2] / "docs"
HOOK = runpy.run_path(str(DOCS / "hooks" / "drawings.py"))
NAMES, MATRIX, drawings = HOOK["NAMES"], HOOK["MATRIX"], HOOK["drawings"]
PAGE = (DOCS / "metrics.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_registry():
    rows = [
        f"| `{metric.name}` | {metric.title} | {metric.explanation} "
        f"| {metric.mean_over} | {metric.direction} |"
        for metric in all_metrics()
    ]
    table = re.findall(r"^\| `.*\|$", PAGE, re.MULTILINE)
    assert table == rows, "the table of docs/metrics.md should be:\n" + "\n".join(rows)


def test_the_examples_print_what_stands_below_them():
    blocks = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    for code, printed in zip(blocks[::2], blocks[1::2], strict=True):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout == printed


def test_the_drawing_of_confusions_is_of_the_example():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (example,) = (code for code in blocks if "largest_confusions" in code)
    for name, value in (("names", list(NAMES)), ("matrix", [list(row) for row in MATRIX])):
        assert f"{name} = {json.dumps(value)}" in example


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_drawing_is_there_and_names_the_four_regions(theme):
    assert f'src{"set" if theme == "dark" else ""}="regions.{theme}.svg"' in PAGE
    drawing = ElementTree.parse(DOCS / f"regions.{theme}.svg")  # noqa: S314 (our own file)
    words = " ".join(drawing.getroot().itertext())
    assert all(name in words for name in ("DR", "NDR", "FPR", "TN"))


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", drawings(LIGHT))
def test_the_drawings_are_those_of_the_code(tmp_path, name, theme):
    """Word for word, and to a hundredth of a point: another machine may round otherwise."""
    source = f'src{"set" if theme.name == "dark" else ""}="{name}.{theme.name}.svg"'
    assert source in PAGE
    save(drawings(theme)[name], tmp_path / "drawn.svg", theme)
    # Names of paths are digests of their numbers.
    drawn, stored = (
        re.sub(r"\b[a-z]?[0-9a-f]{10}\b", "", path.read_text(encoding="utf-8"))
        for path in (tmp_path / "drawn.svg", DOCS / f"{name}.{theme.name}.svg")
    )
    number = r"-?\d+\.\d+"
    assert re.sub(number, "", drawn) == re.sub(number, "", stored), "make schema draws it again"
    for one, other in zip(re.findall(number, drawn), re.findall(number, stored), strict=True):
        assert abs(float(one) - float(other)) < 0.01, "make schema draws it again"
