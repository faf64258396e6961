"""Charts as files: all that the page shows, PDF whose words are words, the same bytes anywhere."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from made_records import provenance_facts
from matplotlib.figure import Figure
from report_pages import Page

from ws3.report.charts import all_charts, charts_by_split
from ws3.report.confidence import confidence_charts
from ws3.report.figures import LIGHT, region_drawing, save
from ws3.report.html import write_report
from ws3.report.model import scores_of
from ws3.report.sanity import sanity_chart
from ws3.run.graph import JobGraph
from ws3.run.provenance import Made
from ws3.run.records import CheckedRecipe, SanityFacts

FACTS = SanityFacts(
    images=("a", "b"),
    depths=(0.0, 0.5, 1.0),
    recipes=(
        CheckedRecipe(
            recipe="cam",
            fingerprint="f",
            likeness=(0.9, None, 0.1),
            deletion=(0.9, 0.4, 0.1),
            insertion=(0.1, 0.8, 0.9),
        ),
        CheckedRecipe(
            recipe="(random order)",
            fingerprint="f",
            likeness=(),
            deletion=(0.9, 0.6, 0.1),
            insertion=(0.1, 0.5, 0.9),
        ),
    ),
)
GRAPH = JobGraph(
    {("index", ""): 1, ("maps", "cam"): 2}, frozenset({(("index", ""), ("maps", "cam"))}), "cam"
)


def test_all_charts_are_those_that_the_page_shows(make_report, tmp_path) -> None:
    counts = {"cam": (12, 24)}
    report = make_report(
        tmp_path,
        sanity=FACTS,
        graph=GRAPH,
        provenance=provenance_facts(),
        sample_counts=counts,
        gallery=(),
    )
    page = write_report(tmp_path, report).read_text()
    shown = set(re.findall(r'src="figures/([^"]+)\.light\.svg"', page))
    by_split = charts_by_split(report, scores_of(report.evaluations))
    charts = all_charts(report, by_split, confidence_charts(report.evaluations))
    assert {chart.name for chart in charts} == shown
    assert {"checks", "jobs", "samples", "miou-val", "regions"} <= shown
    assert len(charts) == len(shown)
    assert 'id="checks"' in page
    assert ">0.10<" in page  # likeness when all is shuffled


def test_a_split_whose_name_is_no_file_name_has_a_number(make_report, tmp_path) -> None:
    report = make_report(tmp_path)
    (score, *_) = scores_of(report.evaluations)
    from dataclasses import replace

    named = [replace(score, split="../up"), replace(score, split="val")]
    assert [split.miou.name for split in charts_by_split(report, named)] == ["miou-0", "miou-1"]


def test_the_words_of_a_pdf_are_words_of_fonts_that_are_in_it(tmp_path) -> None:
    path = tmp_path / "drawing.pdf"
    save(region_drawing(), path)
    data = path.read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/FontFile2" in data  # TrueType, embedded
    assert b"/ToUnicode" in data
    assert b"/Type3" not in data
    assert not re.search(rb"/(CreationDate|ModDate|Producer|Creator)\b", data)


def test_a_pdf_is_the_same_bytes_in_another_process(tmp_path) -> None:
    save(region_drawing(), tmp_path / "one.pdf")
    program = (
        "import sys; from pathlib import Path; from ws3.report.figures import *; "
        "save(region_drawing(), Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "two.pdf"],
        env={**os.environ, "PYTHONHASHSEED": "17", "SOURCE_DATE_EPOCH": "1"},
        check=True,
    )
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


def test_writing_a_pdf_says_nothing(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(region_drawing(), tmp_path / "drawing.pdf")
    assert caplog.records == []


def lines(figure: Figure, place: int) -> dict[str, list[float]]:
    axes = figure.axes[place]
    return {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}


def test_the_checks_are_drawn_as_they_are() -> None:
    figure = sanity_chart(FACTS.recipes, FACTS.depths, LIGHT)
    assert lines(figure, 2) == {"cam": [0.1, 0.8, 0.9], "(random order)": [0.1, 0.5, 0.9]}
    likeness = figure.axes[0].lines[0]
    assert np.asarray(likeness.get_xdata()).tolist() == [0.0, 0.5, 1.0]
    assert np.asarray(likeness.get_ydata()).tolist()[::2] == [0.9, 0.1]
    assert len(figure.axes) == 3


def test_provenance_is_told_and_names_in_it_are_words(make_report, tmp_path) -> None:
    hostile = "<script>alert(1)</script>"
    origin = provenance_facts(
        commit="0123abcd+",
        host=hostile,
        precisions={hostile: "fp32", "cam": "bf16"},
        computed_with={"numpy": ("1.0", "2.0")},
        stages=(Made("maps", hostile, 3, 72, 1, "f" * 32, hosts=(hostile, "b")),),
        config={hostile: hostile},
    )
    report = make_report(tmp_path, provenance=origin, evaluations=[], gallery=())
    page = write_report(tmp_path, report).read_text()
    found = Page(page)
    assert page.count("<script>") == 1  # the page's own
    assert ["maps", hostile, "3", "72", "1", "f" * 16, f"{hostile}, b"] in found.rows
    words = " ".join(" ".join(found.words).split())
    assert "commit 0123abcd+ (files were changed since)" in words
    assert "numpy 1.0 and 2.0" in words
    assert "cam bf16" in words
    assert json.loads((tmp_path / "provenance.json").read_text())["host"] == hostile
