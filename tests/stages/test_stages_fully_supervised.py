"""The network that learns from ground truth: a row of its own beside the recipes'."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_records import classifier_facts
from PIL import Image
from stage_work import work

from ws3.config.load import resolve
from ws3.datasets.index import Index, write_index
from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error
from ws3.files import file_sha256
from ws3.masks.png import read_mask
from ws3.metrics.confusion import Confusion
from ws3.report.model import best, scores_of
from ws3.run.folder import Run
from ws3.run.records import Evaluation, read_record, write_record
from ws3.run.status import run_status
from ws3.run.training_inputs import segmentation_fingerprint
from ws3.stages.evaluate import evaluate, summarise_run
from ws3.stages.report import report
from ws3.stages.threshold import threshold
from ws3.stages.train_segmentation import train_segmentation

FULLY_SUPERVISED = "ground_truth"


@pytest.fixture
def run(small_run):
    """Return a run of one recipe, with its masks, and with a fully supervised network beside it."""
    run = small_run(
        recipes={"cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0]}}},
        segmentation__recipes=["cam"],
        segmentation__fully_supervised=True,
        segmentation__architecture="lraspp_mobilenet_v2",
        masks__background={"kind": "tuned", "split": "val"},
        masks__crf="none",
    )
    for stage in ("saliency", "maps"):
        work(run, stage, "cam")
    threshold(run, "cam")
    work(run, "masks", "cam")
    return run


def train_and_predict(run, name):
    train_segmentation(run, name)
    work(run, "predictions", name)


def test_it_learns_from_the_ground_truth_and_gets_a_row_of_its_own(run):
    for name in ("cam", FULLY_SUPERVISED):
        train_and_predict(run, name)
        evaluate(run, name)
    summarise_run(run)
    with run.summary_file.open() as file:
        rows = [(row["recipe"], row["stage"], row["miou"]) for row in csv.DictReader(file)]
    assert [row[:2] for row in rows] == [
        *(("cam", stage) for stage in ("maps", "masks", "segmentation")),
        (FULLY_SUPERVISED, "segmentation"),
    ]
    by_hand = Confusion(3)
    for row in run.rows(["val"]):
        predicted = read_mask(run.result("predictions", FULLY_SUPERVISED, row.image))
        by_hand.update(read_label_mask(row.mask), predicted)
    assert float(rows[-1][2]) == by_hand.miou()
    assert {(entry.stage, entry.recipe) for entry in run_status(run) if entry.missing == 0} == {
        *((stage, "cam") for stage in ("saliency", "maps", "masks", "predictions")),
        ("predictions", FULLY_SUPERVISED),
    }

    scores = scores_of(
        [read_record(run.evaluation_file(name), Evaluation) for name in run.config.evaluated]
    )
    assert scores[-1].provenance == "none: trained on ground truth of train"
    assert not scores[-1].chosen_on_reported_split
    winner = best(scores, "val", "segmentation")
    assert winner is not None
    assert winner.recipe == "cam"
    assert [score.chosen_on_reported_split for score in scores[:-1]] == [True] * 3
    page = report(run).read_text()
    assert "ground truth (fully supervised)" in page
    assert "Thresholds were chosen on the split that is reported." in page


def test_its_network_depends_on_the_ground_truth_and_not_on_the_pseudo_masks(run):
    train_segmentation(run, FULLY_SUPERVISED)
    train_segmentation(run, "cam")
    first = {
        name: run.receipt("train_segmentation", name).read_text()
        for name in ("cam", FULLY_SUPERVISED)
    }
    assert json.loads(first[FULLY_SUPERVISED])["sha256"] != json.loads(first["cam"])["sha256"]

    row, *others = run.index.rows
    mask = read_label_mask(row.mask)
    Image.fromarray(np.full_like(mask, mask.max())).save(row.mask)
    row = row._replace(mask_sha256=file_sha256(Path(row.mask)))
    write_index(run.index_file, Index(run.index.classes, (row, *others)))
    again = Run.open(run.folder)
    for name in first:
        train_segmentation(again, name)
    assert again.receipt("train_segmentation", "cam").read_text() == first["cam"]
    changed = json.loads(again.receipt("train_segmentation", FULLY_SUPERVISED).read_text())
    assert changed["sha256"] != json.loads(first[FULLY_SUPERVISED])["sha256"]


def test_without_ground_truth_it_says_so(small_run, tmp_path):
    root = tmp_path / "photos"
    (root / "images").mkdir(parents=True)
    for name in "ab":
        Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(root / "images" / f"{name}.png")
    (root / "labels.csv").write_text("image,labels\na,cat\nb,cat\n")
    (root / "val.txt").write_text("b\n")
    run = small_run(
        dataset={"kind": "folder", "root": str(root), "val": "val.txt"},
        segmentation__fully_supervised=True,
    )
    with pytest.raises(Ws3Error, match="ground_truth has no mask of the train split"):
        train_segmentation(run, FULLY_SUPERVISED)


def test_no_recipe_may_take_its_name(small_run):
    data = small_run().config.model_dump(mode="json")
    data["recipes"][FULLY_SUPERVISED] = {"preset": "cam"}
    with pytest.raises(
        Ws3Error, match=r"recipes: ground_truth is the name of the fully supervised network"
    ):
        resolve(data)


def test_an_unknown_recipe_is_refused(small_run):
    run = small_run()
    with pytest.raises(Ws3Error, match="'truth' is not a recipe of this run"):
        train_segmentation(run, "truth")


def test_a_network_may_start_from_the_runs_own_classifier(small_run):
    run = small_run(
        recipes={"cam": {"preset": "cam"}},
        segmentation={
            "fully_supervised": True,
            "architecture": "lraspp_resnet18",
            "weights": "classifier",
            "epochs": 1,
            "batch_size": 2,
            "crop_size": 64,
            "learning_rate": 1e-12,
        },
    )
    train_segmentation(run, FULLY_SUPERVISED)
    trained = torch.load(run.model_file(FULLY_SUPERVISED), weights_only=True)["state_dict"]
    given = torch.load(run.classifier_file, weights_only=True)["state_dict"]
    backbone = {key: value for key, value in trained.items() if key.startswith("backbone.")}
    assert len(backbone) > 50
    for key, value in backbone.items():
        torch.testing.assert_close(value, given[key.removeprefix("backbone.")])


def test_another_classifier_trains_the_network_that_starts_from_it_again(small_run):
    own = {"architecture": "lraspp_resnet18", "weights": "classifier", "fully_supervised": True}
    run = small_run(recipes={"cam": {"preset": "cam"}}, segmentation=own)
    other = small_run("other", recipes={"cam": {"preset": "cam"}}, segmentation=own)
    before = segmentation_fingerprint(run, FULLY_SUPERVISED)
    assert segmentation_fingerprint(other, FULLY_SUPERVISED) == before
    facts = classifier_facts("0" * 64, classes=other.index.classes)
    write_record(other.receipt("train_classifier"), facts)
    assert segmentation_fingerprint(Run.of(other.config), FULLY_SUPERVISED) != before
