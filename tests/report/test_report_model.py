import math

import pytest
from made_records import evaluation_of
from pydantic import ValidationError

from ws3.report.model import best, scores_of


def masks_of(**changes):
    return {"miou": 0.5, "threshold": 0.25, "threshold_kind": "constant", **changes}


def evaluations(recipe="cam", **stages):
    return evaluation_of(recipe, {"val": stages})


def test_scores_come_by_split_then_stage_then_recipe():
    splits = {"val": {"masks": masks_of(), "maps": masks_of()}, "train": {"maps": masks_of()}}
    first = evaluation_of("b", splits)
    second = evaluations("a", maps=masks_of(), segmentation=masks_of())
    order = [(s.split, s.stage, s.recipe) for s in scores_of([first, second])]
    assert order == [
        ("val", "maps", "b"),
        ("val", "maps", "a"),
        ("val", "masks", "b"),
        ("val", "segmentation", "a"),
        ("train", "maps", "b"),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "constant, set in the configuration"),
        (
            {"threshold": None, "threshold_kind": "power"},
            "power background, set in the configuration",
        ),
        (
            {"threshold_kind": "auto"},
            "automatic, without ground truth: by the share that the maps mark",
        ),
        (
            {"threshold_kind": "tuned", "threshold_split": "train"},
            "tuned on ground truth of train",
        ),
        (
            {"threshold_kind": "tuned", "threshold_split": "val"},
            "tuned on ground truth of val, the split reported here",
        ),
    ],
)
def test_provenance_says_how_the_threshold_was_chosen(changes, words):
    (score,) = scores_of([evaluations(maps=masks_of(**changes))])
    assert score.provenance == words
    assert score.chosen_on_reported_split == ("reported here" in words)


def test_a_network_inherits_the_choice_of_the_masks_it_learned_from():
    tuned = masks_of(threshold_kind="tuned", threshold_split="val", threshold=0.31)
    network = masks_of(threshold=None, threshold_kind="", threshold_split="")
    scores = scores_of([evaluations(masks=tuned, segmentation=network)])
    segmentation = scores[-1]
    assert segmentation.stage == "segmentation"
    assert segmentation.threshold_text == "0.31"
    assert segmentation.chosen_on_reported_split
    assert segmentation.provenance.startswith("of its training masks: tuned on ground truth of val")


def test_undefined_numbers_are_none():
    curve = [[0.1, None], [0.2, 0.4]]
    (score,) = scores_of([evaluations(maps=masks_of(miou=None, sweep=curve))])
    assert score.miou is None
    assert score.figures.get("recall") is None
    assert score.sweep == ((0.2, 0.4),)


@pytest.mark.parametrize("undefined", [math.nan, math.inf])
def test_an_evaluation_holds_no_number_that_is_none(undefined):
    curve = [[0.1, undefined], [0.2, 0.4]]
    for changes in ({"miou": undefined}, {"sweep": curve}, {"ignored_share": undefined}):
        with pytest.raises(ValidationError, match="finite number"):
            evaluations(maps=masks_of(**changes))


def test_best_ignores_undefined_and_other_stages():
    scores = scores_of(
        [
            evaluations("low", maps=masks_of(miou=0.1), masks=masks_of(miou=0.9)),
            evaluations("none", maps=masks_of(miou=None)),
            evaluations("high", maps=masks_of(miou=0.2)),
        ]
    )
    found = best(scores, "val", "maps")
    assert found is not None
    assert found.recipe == "high"
    assert best(scores, "val", "segmentation") is None


def test_two_evaluations_of_one_recipe_are_refused(make_report, tmp_path):
    twice = [{"recipe": "cam", "splits": {"val": {"maps": masks_of()}}}] * 2
    with pytest.raises(ValueError, match="exactly one evaluation"):
        make_report(tmp_path, evaluations=twice)
