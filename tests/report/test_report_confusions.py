"""Pairs of classes on the page: by hand, with few classes and with many."""

from __future__ import annotations

import math

import pytest
from made_records import distance_profile, evaluation_of
from pydantic import ValidationError
from report_pages import Page

from ws3.report.confusions import PairRow, confusions, together
from ws3.report.html import write_report
from ws3.report.model import DatasetFacts, scores_of
from ws3.run.records import Evaluation

DASH = "\N{EN DASH}"
NAMES = ("cat", "dog")
# Background, cat, dog: of 100 pixels of a dog 12 are called cat and 30 background.
MATRIX = ((900, 80, 20), (10, 40, 0), (30, 12, 58))
TOGETHER = ((4, 3), (3, 9))


def evaluated(matrix=MATRIX, classes=NAMES, images=TOGETHER, recipe="cam") -> Evaluation:
    stage = {"miou": 0.5, "confusion": matrix}
    return evaluation_of(
        recipe,
        {"val": {"masks": stage}},
        classes=classes,
        together={} if images is None else {"val": images},
    )


def of(evaluation):
    (score,) = scores_of([evaluation])
    return confusions(score, evaluation)


def page(folder, make_report, evaluations, classes=NAMES):
    report = make_report(folder, evaluations=[], gallery=())
    report = type(report)(
        run="pairs",
        config={},
        evaluations=evaluations,
        dataset=DatasetFacts("folder", classes, {"val": 9}, {}),
    )
    return Page(write_report(folder, report).read_text(encoding="utf-8"))


def many(classes):
    """Every class is called the next one in the list, the first ones the more often."""
    matrix = [[0] * (classes + 1) for _ in range(classes + 1)]
    for value in range(1, classes + 1):
        matrix[value][value] = 900
        matrix[value][value % classes + 1] = 100 - value
    return tuple(map(tuple, matrix))


def test_confusions_of_few_classes_by_hand():
    found = of(evaluated())
    assert found.tables == {"One class for another": [PairRow("dog", "cat", 0.12, 12, 3)]}
    assert found.worst == PairRow("dog", "cat", 0.12, 12, 3)
    assert found.names == ("background", "cat", "dog")
    assert found.matrix == [[0.9, 0.08, 0.02], [0.2, 0.8, 0.0], [0.3, 0.12, 0.58]]


def test_a_class_without_pixels_has_no_shares():
    found = of(evaluated(matrix=((5, 0, 0), (0, 0, 0), (0, 0, 5)), images=None))
    assert found.matrix[1] == [None] * 3
    assert found.tables == {}
    assert found.worst is None


def test_what_was_not_kept_is_not_shown():
    evaluation = evaluation_of("cam", {"val": {"masks": {"miou": 0.5}}})
    assert of(evaluation) is None
    assert together([evaluation]) == []


def test_many_classes_have_tables_in_place_of_a_matrix():
    names = tuple(f"c{number}" for number in range(80))
    images = tuple(tuple(int(a == b) for a in range(80)) for b in range(80))
    matrix = [list(row) for row in many(80)]
    matrix[0][:4] = [9600, 0, 300, 100]
    matrix[7][0] = 500
    found = of(evaluated(tuple(map(tuple, matrix)), names, images))
    assert (found.names, found.matrix) == ((), [])
    classes, missed, invented = found.tables.values()
    assert len(classes) == 8
    assert classes[0] == PairRow("c0", "c1", 99 / 999, 99, 0)
    assert missed == [PairRow("c6", "background", 500 / 1493, 500)]
    assert invented == [
        PairRow("background", "c1", 0.03, 300),
        PairRow("background", "c2", 0.01, 100),
    ]


def test_classes_that_occur_together_by_hand():
    (found,) = together([evaluated(), evaluated(recipe="other", images=((1, 1), (1, 1)))])
    assert (found.split, found.names, found.matrix) == ("val", NAMES, TOGETHER)
    # Of the 4 images with a cat 3 show a dog too.
    assert found.pairs == [PairRow("cat", "dog", 0.75, 3)]


def test_the_page_shows_matrix_pairs_and_sentence(make_report, tmp_path):
    shown = page(tmp_path, make_report, [evaluated()])
    assert ["", "background", "cat", "dog"] in shown.rows
    assert ["background", "90", "8", "2"] in shown.rows
    assert ["cat", "20", "80", ""] in shown.rows
    assert ["dog", "cat", "12.0", "12", "3"] in shown.rows
    assert ["cat", "dog", "75.0", "3"] in shown.rows
    assert ["dog", "3", "9"] in shown.rows
    words = " ".join(" ".join(shown.words).split())
    assert "of the pixels that are dog, 12.0 % are called cat" in words


def test_the_page_of_many_classes_has_no_matrix(make_report, tmp_path):
    names = tuple(f"c{number}" for number in range(80))
    shown = page(tmp_path, make_report, [evaluated(many(80), names, None)], names)
    assert ["c0", "c1", "9.9", "99", DASH] in shown.rows
    assert max(map(len, shown.rows)) < 20
    small = page(tmp_path, make_report, [evaluated(many(25), names[:25], None)], names[:25])
    assert max(map(len, small.rows)) == 27


def test_the_page_shows_no_empty_section(make_report, tmp_path):
    shown = page(tmp_path, make_report, [evaluation_of("cam", {"val": {"masks": {"miou": 0.5}}})])
    assert "Confusions" not in shown.words
    assert not list((tmp_path / "figures").glob("distance*"))


def test_the_page_has_a_chart_of_distances_for_each_stage_that_measured_them(make_report, tmp_path):
    stage = {"miou": 0.5, "distances": distance_profile(*[0.5] * 10)}
    stages = {"maps": stage, "masks": stage, "segmentation": {"miou": 0.5}}
    page(tmp_path, make_report, [evaluation_of("cam", {"val": stages})])
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    drawn = {path.name for path in (tmp_path / "figures").glob("distance*.svg")}
    assert drawn == {
        f"{name}.{theme}.svg"
        for name in ("distance", "distance-val-maps", "distance-val-masks")
        for theme in ("light", "dark")
    }
    assert all(f"figures/{name}" in text for name in drawn)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"matrix": MATRIX[:2]}, "splits.val.masks.confusion must have 3 rows of 3 numbers"),
        ({"matrix": ((1, 2), *MATRIX[1:])}, "confusion must have 3 rows"),
        ({"images": ((1,),)}, "together.val must have 2 rows of 2 numbers"),
        ({"matrix": ((-1, 0, 0), *MATRIX[1:])}, "greater than or equal to 0"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(facts, words):
    with pytest.raises(ValidationError, match=words):
        evaluated(**facts)


def test_shares_that_are_undefined_are_none_and_never_nan():
    rows = of(evaluated(matrix=((0, 0, 0),) * 3, images=None)).matrix
    assert not any(isinstance(share, float) and math.isnan(share) for row in rows for share in row)
