"""What `train-segmentation` makes of the stored confidence of masks."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from stage_work import map_at_random, with_masks, work

from ws3.config.load import dump, resolve
from ws3.errors import Ws3Error
from ws3.metrics.confusion import Confusion
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_truth
from ws3.run.training_inputs import segmentation_fingerprint
from ws3.stages import train_segmentation as stage
from ws3.workflow.plan import Plan

RECIPE = "cam"


@pytest.fixture
def masked(small_run):
    """Return a run with masks and their confidence."""
    run = small_run(
        recipes={RECIPE: {"preset": "cam"}},
        segmentation__recipes=[RECIPE],
        segmentation__fully_supervised=True,
        masks__background={"kind": "constant", "score": 0.5},
        masks__crf="none",
        masks__confidence=True,
    )
    map_at_random(run, RECIPE)
    work(run, "masks", RECIPE)
    return run


class SeenError(Exception):
    """Training was asked for."""


def asked(run, recipe=RECIPE, **segmentation):
    """Return the confidence that training is called with, and the run with these settings."""
    data = run.config.model_dump(mode="json")
    data["segmentation"].update(segmentation)
    (run.folder / "config.yaml").write_text(dump(resolve(data)))
    changed = Run.open(run.folder)
    with (
        mock.patch.object(stage, "train_network", side_effect=SeenError) as train,
        pytest.raises(SeenError),
    ):
        stage.train_segmentation(changed, recipe)
    return train.call_args.kwargs["confidence"], changed


def test_unless_it_is_asked_for_it_is_not_taken(masked):
    plain = segmentation_fingerprint(masked, RECIPE)
    assert asked(masked)[0] is None
    assert "ignore_below" not in masked.config.segmentation.training()
    cut, changed = asked(masked, ignore_below=0.3)
    assert cut.least == 77  # 76.8 rounded up
    assert not cut.weighs
    assert segmentation_fingerprint(changed, RECIPE) != plain
    of_maps = with_masks(changed, confidence="maps")
    assert segmentation_fingerprint(of_maps, RECIPE) != segmentation_fingerprint(changed, RECIPE)
    with_masks(changed, confidence=True)
    assert asked(changed, "ground_truth")[0] is None
    weighed, _ = asked(changed, ignore_below=0, pixel_weights="confidence")
    assert (weighed.least, weighed.weighs) == (0, True)
    rows = masked.rows(["train"])
    assert [path.stem for path in weighed.files] == [row.image for row in rows]


def test_a_precision_chooses_the_lowest_cut_that_reaches_it(masked):
    results, rows = RecipeResults(masked, RECIPE), masked.rows(["train"])

    def precision(step):
        confusion = Confusion(len(masked.index.classes))
        for row in rows:
            kept = np.where(results.confidence(row) >= step, results.mask(row), 255)
            confusion.update(load_truth(masked, row), kept.astype(np.uint8))
        shown = confusion.matrix.any(axis=0)
        return confusion.mean_precision() if step == 0 or (shown == all_shown).all() else np.nan

    all_shown = np.isin(range(4), [results.mask(row) for row in rows])
    curve = np.array([precision(step) for step in range(256)])
    target = float((curve[0] + np.nanmax(curve)) / 2)
    expected = int(np.flatnonzero(curve >= target)[0])
    assert 0 < expected < 256
    cut, changed = asked(masked, ignore_below={"precision": target})
    assert cut.least == expected
    plans = [Plan(run.config, check_files=False) for run in (masked, changed)]
    texts = [plan.train_segmentation_params(RECIPE) for plan in plans]
    assert '"train": ""' in texts[0]
    assert '"train": ""' not in texts[1]  # another ground truth chooses again


def test_a_precision_that_no_cut_reaches_is_said(masked):
    with pytest.raises(Ws3Error, match=r"no cut of the confidence of cam has a precision of 1 on"):
        asked(masked, ignore_below={"precision": 1})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": {"confidence": False}}, r"set masks\.confidence: true"),
        ({"evaluation": {"splits": ["train", "val"]}}, "reports on; give a number"),
        ({"segmentation": {"ignore_below": {"precision": 0}}}, "greater than 0"),
        ({"segmentation": {"ignore_below": 2}}, "less than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(masked, changes, words):
    data = masked.config.model_dump(mode="json")
    data["segmentation"]["ignore_below"] = {"precision": 0.9}
    for section, values in changes.items():
        data[section].update(values)
    with pytest.raises(Ws3Error, match=words):
        resolve(data)
