"""Tables for a paper: CSV with all digits, LaTeX that names from data can't break."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import evaluation_of

from ws3.report.latex import escaped, tabular
from ws3.report.model import DatasetFacts, SkippedImage, scores_of
from ws3.report.tables import all_tables
from ws3.run.records import CheckedRecipe, SanityFacts

HOSTILE = r"\input{x} & 50% #1 $x_1^2$ ~<a>|\\[2cm]"

# What LaTeX prints for each command, from its documentation and not from our table.
PRINTED = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textquotedbl": '"',
}


def printed(latex: str) -> str:
    """Return what LaTeX prints; any command or sign that it would obey is an error."""
    text, place = "", 0
    while place < len(latex):
        found = re.match(r"\\([a-z]+)\{\}|\\([#$%&_{}])", latex[place:])
        if found:
            text += PRINTED[found[1]] if found[1] else found[2]
            place += len(found[0])
        else:
            assert latex[place] not in '\\{}$&#^_~%"<>|', latex[place:]
            text += latex[place]
            place += 1
    return text


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))))
def test_any_name_is_printed_letter_by_letter(name: str) -> None:
    assert printed(escaped(name)) == " ".join(name.split())


def test_a_name_that_begins_with_a_bracket_is_no_argument_of_the_row_before() -> None:
    lines = list(tabular(["name", "n"], [["[2cm] wide", "1"], ["*", "2"]]))
    assert "{[2cm] wide} & 1 \\\\" in lines
    assert "{*} & 2 \\\\" in lines


def cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)&", line)) + 1


def check_latex(text: str) -> int:
    """Check that each table's rows have the columns that it declares; return how many tables."""
    found = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(found) == text.count("\\begin{tabular}") == text.count("\\end{tabular}")
    for columns, body in found:
        rows = [line for line in body.splitlines() if line.endswith("\\\\")]
        heads = [row for row in rows if row.startswith("\\multicolumn")]
        assert len(heads) <= 1
        for row in rows:
            assert cells(row) == (1 if row in heads else len(columns)), row
        assert body.count("{") - body.count(r"\{") == body.count("}") - body.count(r"\}")
    return len(found)


@pytest.fixture(scope="module")
def tables(make_report, tmp_path_factory):
    report = make_report(tmp_path_factory.mktemp("tables"))
    return {table.name: table for table in all_tables(report, scores_of(report.evaluations))}


def test_every_table_of_the_page_is_there(tables) -> None:
    assert set(tables) == {
        *("scores", "regions", "sweep", "distances", "classes", "confusions", "together"),
        *("dataset", "skipped", "time"),
    }
    for table in tables.values():
        assert check_latex(table.as_latex()) == len(table.grids)
        rows = list(csv.reader(io.StringIO(table.as_csv())))
        assert all(len(row) == len(table.columns) for row in rows)
        assert len(rows) == len(table.rows) + 1


def test_figures_have_all_digits_and_their_intervals() -> None:
    maps = {
        "miou": 0.123456789,
        "precision": None,
        "intervals": {"miou": (0.1, 0.2)},
        "threshold": 0.27,
        "threshold_kind": "tuned",
        "threshold_split": "train",
        "ignored_share": 0.0125,
    }
    evaluations = [evaluation_of("cam", {"val": {"maps": maps}}, classes=("a",))]
    from ws3.report.model import Report

    report = Report("r", {}, evaluations, DatasetFacts("voc", ("a",), {"val": 1}, {}))
    (table,) = [t for t in all_tables(report, scores_of(evaluations)) if t.name == "scores"]
    (row,) = csv.DictReader(io.StringIO(table.as_csv()))
    assert row["miou"] == "0.123456789"
    assert (row["miou_low"], row["miou_high"]) == ("0.1", "0.2")
    assert row["precision"] == ""
    assert (row["threshold"], row["threshold_kind"], row["threshold_split"]) == (
        *("0.27", "tuned", "train"),
    )
    # The best, in bold, with the interval; no column for what nobody measured.
    latex = table.as_latex()
    assert "cam & \\textbf{12.3} [$10.0$, $20.0$] & 0.27 & 1.25 \\\\" in latex
    assert "recipe & mIoU & threshold & ignored, \\% \\\\" in latex
    assert "% cam: threshold 0.27, tuned on ground truth of train" in latex


def test_names_from_data_break_no_table(make_report, make_evaluation, tmp_path) -> None:
    hostile = make_evaluation("cam", 0.4, per_class={HOSTILE: {"iou": 0.5}})
    data = DatasetFacts(
        HOSTILE,
        (HOSTILE,),
        {"train": 3},
        {"train": {HOSTILE: 2}},
        (SkippedImage(HOSTILE, "val", f"{HOSTILE}\nsecond line"),),
    )
    report = make_report(tmp_path, evaluations=[hostile], dataset=data, classifier=None, gallery=())
    texts = [t.as_latex() for t in all_tables(report, scores_of(report.evaluations)) if t.grids]
    assert sum(map(check_latex, texts)) >= 5
    assert "\\input{x}" not in "".join(texts)
    assert any(escaped(HOSTILE) in text for text in texts)


def test_the_checks_of_the_recipes_are_a_table(make_report, tmp_path) -> None:
    found = (
        CheckedRecipe(
            recipe="cam",
            fingerprint="f",
            likeness=(0.5, None),
            deletion=(1.0, 0.5, 0.0),
            insertion=(0.0, 1.0, 1.0),
        ),
        CheckedRecipe(
            recipe="(random order)",
            fingerprint="f",
            likeness=(),
            deletion=(1.0, 1.0, 1.0),
            insertion=(0.0, 0.0, 0.0),
        ),
    )
    facts = SanityFacts(images=("a",), depths=(0.0, 1.0), recipes=found)
    report = make_report(tmp_path, sanity=facts, gallery=())
    tables = {t.name: t for t in all_tables(report, ())}
    rows = list(csv.reader(io.StringIO(tables["checks"].as_csv())))
    assert rows[1] == ["cam", "0.5", "", "0.5", "0.75"]
    assert rows[2] == ["(random order)", "", "", "1.0", "0.0"]
    assert "cam & $0.50$ & -- & 0.500 & 0.750 \\\\" in tables["checks"].as_latex()
    assert len(tables["check_curves"].rows) == 6
