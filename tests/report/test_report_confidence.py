"""The report's charts of precision against coverage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_records import evaluation_of

from ws3.metrics.confidence import ConfidenceCounts
from ws3.report.confidence import MOST_PANELS, confidence_charts, label_chart, mean_chart
from ws3.report.figures import THEMES, save
from ws3.report.html import write_report
from ws3.report.tables import all_tables
from ws3.run.records import ConfidencePixels


def counts_of(classes, seed=0):
    """Return counts in which surer pixels are more often right."""
    stream = np.random.default_rng(seed)
    total = stream.integers(1, 50, (classes + 1, 256))
    right = (total * np.linspace(0.4, 1, 256)).astype(np.int64)
    return ConfidenceCounts.of([total - right, right], objects=1)


def stored(counts):
    wrong, right = (tuple(map(tuple, table.tolist())) for table in counts.pixels)
    return ConfidencePixels(wrong=wrong, right=right, objects=counts.objects)


def evaluation(recipe, classes, counts):
    found = evaluation_of(recipe, {"val": {"maps": {}, "masks": {}}}, classes=classes)
    masks = found.splits["val"]["masks"].model_copy(update={"confidence": stored(counts)})
    return found.model_copy(update={"splits": {"val": {**found.splits["val"], "masks": masks}}})


def lines_of(axes):
    return [line.get_xydata() for line in axes.lines if len(line.get_xydata()) > 1]


def test_curves_go_through_the_counts():
    known = {"cam": counts_of(2), "other": counts_of(2, seed=1)}
    (axes,) = mean_chart(known).axes
    curves = lines_of(axes)
    assert len(curves) == 2
    for curve, counts in zip(curves, known.values(), strict=True):
        np.testing.assert_array_equal(curve[:, 0], counts.mean_coverage())
        np.testing.assert_array_equal(curve[:, 1], counts.mean_precision())
    panels = label_chart(known, {0: "background", 2: "heron"}).axes
    assert [axes.get_title(loc="left") for axes in panels[:2]] == ["background", "heron"]
    np.testing.assert_array_equal(lines_of(panels[1])[1][:, 1], known["other"].class_precision()[2])


def draw_confidence(folder, evaluations):
    found = confidence_charts(evaluations)
    for chart in (chart for of_split in found for chart in of_split.charts):
        for theme in THEMES:
            save(chart.draw(theme), folder / f"{chart.name}.{theme.name}.svg", theme)
    return found


def test_labels_with_most_pixels_have_a_panel(tmp_path):
    counts = counts_of(30)
    counts.pixels[:, 7] = 0
    (charts,) = draw_confidence(tmp_path, [evaluation("cam", tuple(map(str, range(30))), counts)])
    assert charts.left_out == 31 - MOST_PANELS
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"confidence-0{kind}.{theme}.svg" for kind in ("", "-labels") for theme in ("dark", "light")
    )
    text = (tmp_path / "confidence-0-labels.light.svg").read_text()
    assert ">5<" in text
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    draw_confidence(tmp_path, [evaluation("cam", tuple(map(str, range(30))), counts)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_the_table_has_what_cuts_keep(tmp_path):
    counts = counts_of(2)
    (charts,) = draw_confidence(tmp_path, [evaluation("cam", ("a", "b"), counts)])
    rows = charts.tables["cam"]
    assert rows[0][0] == 0
    assert rows[0][1] == rows[0][3] == 1
    assert rows[0][4] == pytest.approx(counts.pixels[1].sum() / counts.pixels.sum())
    assert (np.diff(np.array([row[3] for row in rows], float)) <= 0).all()


def test_the_page_shows_the_charts_where_there_is_a_confidence(tmp_path, make_report):
    (tmp_path / "plain").mkdir()
    report = make_report(tmp_path / "plain")
    assert 'id="confidence"' not in write_report(tmp_path / "plain", report).read_text()
    known = []
    for found in report.evaluations:
        stages = dict(found.splits["val"])
        values = {"confidence": stored(counts_of(len(found.classes)))}
        stages["masks"] = stages["masks"].model_copy(update=values)
        known.append(found.model_copy(update={"splits": {"val": stages}}))
    page = write_report(tmp_path / "plain", replace(report, evaluations=known)).read_text()
    assert 'href="#confidence"' in page
    assert "figures/confidence-0.light.svg" in page
    tables = all_tables(replace(report, evaluations=known), ())
    (table,) = [table for table in tables if table.name == "confidence"]
    assert len(table.rows) == 7 * len(known)
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert len(table.grids) == len(known)
    assert (tmp_path / "plain/figures/confidence-0-labels.dark.svg").is_file()
