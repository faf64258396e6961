"""The documentation's example prints what the documentation says, beside the drawing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ws3.metrics.registry import all_metrics

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "metrics.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_registry():
    rows = [
        f"| `{metric.name}` | {metric.title} | {metric.explanation} "
        f"| {metric.mean_over} | {metric.direction} |"
        for metric in all_metrics()
    ]
    table = re.findall(r"^\| `.*\|$", PAGE, re.MULTILINE)
    assert table == rows, "the table of docs/metrics.md should be:\n" + "\n".join(rows)


def test_the_example_prints_what_stands_below_it():
    code, printed = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == printed


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_drawing_is_there_and_names_the_four_regions(theme):
    assert f'src{"set" if theme == "dark" else ""}="regions.{theme}.svg"' in PAGE
    drawing = ElementTree.parse(DOCS / f"regions.{theme}.svg")  # noqa: S314 (our own file)
    words = " ".join(drawing.getroot().itertext())
    assert all(name in words for name in ("DR", "NDR", "FPR", "TN"))
