"""`masks.confidence`: how sure each pixel of a mask is, stored beside it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from stage_work import with_masks, work

import ws3
from ws3.config.load import dump
from ws3.errors import StaleResultError, Ws3Error
from ws3.labels import CONFIDENCE_STEPS as STEPS
from ws3.masks.background import add_background
from ws3.masks.confidence import in_steps
from ws3.masks.crf import PRESETS, DenseCrf
from ws3.masks.png import read_mask, write_mask
from ws3.removal import temporary_beside
from ws3.run.records import Evaluation, read_record
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth
from ws3.run.status import receipts_of
from ws3.run.verify import check_run, foreign_entries
from ws3.stages.evaluate import evaluate
from ws3.stages.report_images import write_images
from ws3.workflow.plan import Plan

RECIPE = "cam"


def masks_of(run):
    folder = run.results("masks", RECIPE)
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def confidence_of(run):
    folder = run.confidence_file(RECIPE, "any").parent
    return {path.name: path.read_bytes() for path in folder.glob("*")}


@pytest.mark.parametrize("crf", ["irn", "none"])
def test_it_is_the_labels_own_probability_rounded_down(mapped, crf):
    run = mapped(masks__confidence=True, masks__crf=crf)
    work(run, "masks", RECIPE)
    results = RecipeResults(run, RECIPE)
    for row in run.index.rows:
        if not row.labels:
            assert (results.confidence(row) == STEPS - 1).all()
            continue
        scores = add_background(results.maps(row), 0.5)
        if crf == "irn":
            probabilities = DenseCrf(load_image(row), len(scores), PRESETS["irn"]).refine(scores)
            expected = probabilities.max(axis=0)
        else:
            won = np.where(scores[1:].max(axis=0) >= scores[0], scores[1:].max(axis=0), scores[0])
            expected = won / scores.sum(axis=0)
        found = results.confidence(row).astype(np.float64)
        assert (found <= np.minimum(255, expected * 256 + 1e-3)).all()
        assert (found > expected * 256 - 1 - 1e-3).all()
        stored = run.confidence_file(RECIPE, row.image)
        assert Image.open(stored).mode == "L"
        assert (ws3.open_run(run.folder)[RECIPE].confidence(row.image) == found).all()


def test_of_maps_it_is_the_share_of_the_scores_that_the_masks_label_has(mapped):
    run = mapped(masks__confidence=True)
    work(run, "masks", RECIPE)
    masks, of_crf = masks_of(run), confidence_of(run)
    other = with_masks(run, confidence="maps")
    with pytest.raises(StaleResultError, match="this confidence is missing"):
        RecipeResults(other, RECIPE).confidence(run.index.rows[0])
    assert check_run(other, repair=False)[1] != []
    work(other, "masks", RECIPE)
    assert masks_of(other) == masks
    results = RecipeResults(other, RECIPE)
    for row in run.index.rows:
        scores, mask = add_background(results.maps(row), 0.5), results.mask(row)
        values = [0, *run.class_values(row)]
        own = sum(np.where(mask == v, s, 0) for v, s in zip(values, scores, strict=True))
        expected = np.minimum(256 * own / scores.sum(axis=0), 255)
        if row.labels:
            assert np.abs(results.confidence(row) + 0.5 - expected).max() <= 0.5 + 1e-3
    assert any(confidence_of(other)[name] != data for name, data in of_crf.items())
    assert check_run(other, repair=False)[1] == []


def test_masks_and_fingerprints_are_those_of_a_run_without_it(mapped):
    plain, keeping = mapped("one"), mapped("two", masks__confidence=True)
    for run in (plain, keeping):
        work(run, "masks", RECIPE)
    assert masks_of(plain) == masks_of(keeping)
    assert confidence_of(plain) == {}
    assert "confidence" not in dump(plain.config)
    plans = [Plan(run.config, check_files=False) for run in (plain, keeping)]
    assert "confidence" not in plans[0].settings("masks", RECIPE)
    assert plans[0].settings("masks", RECIPE) != plans[1].settings("masks", RECIPE)


def test_switched_on_later_it_is_made_and_the_masks_stay(mapped):
    run = mapped()
    work(run, "masks", RECIPE)
    before = masks_of(run)
    keeping = with_masks(run, confidence=True)
    row = keeping.index.rows[0]
    with pytest.raises(StaleResultError, match=r"confidence.*this confidence is missing"):
        RecipeResults(keeping, RECIPE).confidence(row)
    work(keeping, "masks", RECIPE)
    assert masks_of(keeping) == before
    assert len(confidence_of(keeping)) == len(before)
    work(keeping, "masks", RECIPE)
    assert [one.computed for one in receipts_of(keeping, "masks", RECIPE)] == [0] * len(
        receipts_of(keeping, "masks", RECIPE)
    )
    without = with_masks(keeping, confidence=False)
    with pytest.raises(Ws3Error, match=r"masks\.confidence: true"):
        RecipeResults(without, RECIPE).confidence(row)


def test_it_follows_a_change_of_what_the_masks_are_made_from(mapped):
    run = mapped(masks__confidence=True)
    work(run, "masks", RECIPE)
    before = confidence_of(run)
    other = with_masks(run, crf="deeplab")
    with pytest.raises(StaleResultError):
        RecipeResults(other, RECIPE).confidence(run.index.rows[0])
    work(other, "masks", RECIPE)
    assert all(confidence_of(other)[name] != data for name, data in before.items())


@pytest.mark.parametrize("how", ["flip", "remove", "stale", "foreign"])
def test_damage_is_named_repaired_and_made_again(mapped, how):
    run = mapped(masks__confidence=True)
    work(run, "masks", RECIPE)
    assert check_run(run, repair=False)[1] == []
    good, image = confidence_of(run), run.index.rows[1].image
    path = run.confidence_file(RECIPE, image)
    if how == "flip":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(bytes(data))
    elif how == "remove":
        path.unlink()
    elif how == "stale":
        write_mask(path, read_mask(path), {"ws3:fingerprint": "another"}, palette=False)
    else:
        Image.new("L", (64, 64)).save(path)
    assert {damage.image for damage in check_run(run, repair=False)[1]} == {image}
    assert {damage.image for damage in check_run(run, repair=True)[1]} == {image}
    masks = masks_of(run)
    work(run, "masks", RECIPE)
    assert check_run(run, repair=False)[1] == []
    assert masks_of(run) == masks
    kept = confidence_of(run)
    assert {name: kept[name] for name in good} == good
    assert len(kept) == len(good) + (how == "foreign")  # set aside, not lost


def test_what_a_killed_writer_left_goes_and_what_is_not_of_ws3_is_named(mapped):
    run = mapped(masks__confidence=True)
    path = run.confidence_file(RECIPE, run.index.rows[0].image)
    path.parent.mkdir(parents=True)
    temporary_beside(path).write_bytes(b"half")
    notes = path.with_name("notes.txt")
    notes.write_text("mine")
    work(run, "masks", RECIPE)
    assert set(confidence_of(run)) == {*masks_of(run), "notes.txt"}
    assert foreign_entries(run.folder) == [notes]


def test_a_cut_is_what_ignore_below_ignores_exactly(mapped):
    run = mapped(masks__confidence=True)
    work(run, "masks", RECIPE)
    results = RecipeResults(run, RECIPE)
    whole = {row.image: (results.mask(row), results.confidence(row)) for row in run.index.rows}
    step = int(np.median([confidence for _, confidence in whole.values()]))
    ignoring = with_masks(run, ignore_below=step / STEPS)
    work(ignoring, "masks", RECIPE)
    results, ignored = RecipeResults(ignoring, RECIPE), 0
    for row in run.index.rows:
        mask, confidence = whole[row.image]
        expected = np.where(confidence >= step, mask, 255)
        assert (results.mask(row) == expected).all()
        assert (results.confidence(row) == confidence).all()
        ignored += int((expected == 255).sum())
    assert ignored > 0


@given(
    confidence=hnp.arrays(np.float32, 20, elements=st.floats(0, 1, width=32)),
    step=st.integers(0, STEPS - 1),
)
def test_a_step_is_reached_where_the_cut_is(confidence, step):
    assert ((in_steps(confidence) >= step) == (confidence >= step / STEPS)).all()


def test_the_evaluation_has_a_curve_that_begins_at_its_precision(mapped):
    run = mapped(masks__confidence=True)
    work(run, "masks", RECIPE)
    evaluate(run, RECIPE)
    stages = read_record(run.evaluation_file(RECIPE), Evaluation).splits["val"]
    assert stages["maps"].confidence is None
    with run.confidence_curve_file(RECIPE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["(mean over labels)", "(all pixels)", "background", *run.index.classes]
    assert len(rows) == len(names) * STEPS
    by_name = {name: [row for row in rows if row["class"] == name] for name in names}
    found = stages["masks"]
    assert float(by_name[names[0]][0]["precision"]) == found.figures["precision"]
    for name in run.index.classes:
        expected = found.per_class[name].figures["precision"]
        assert by_name[name][0]["precision"] == ("" if expected is None else str(expected))
    results, step = RecipeResults(run, RECIPE), 100
    kept = right = 0
    for row in run.rows(["val"]):
        there = results.confidence(row) >= step
        kept += int(there.sum())
        right += int((there & (results.mask(row) == load_truth(run, row))).sum())
    line = by_name["(all pixels)"][step]
    assert float(line["cut"]) == step / 256
    assert int(line["pixels"]) == kept > 0
    assert float(line["precision"]) == right / kept
    without = with_masks(run, confidence=False)
    evaluate(without, RECIPE)
    assert not run.confidence_curve_file(RECIPE).exists()
    plain = read_record(run.evaluation_file(RECIPE), Evaluation).splits["val"]["masks"]
    assert plain.confidence is None
    assert plain == found.model_copy(update={"confidence": None})


def test_the_page_of_all_images_sorts_by_the_mean(mapped):
    run = mapped(masks__confidence=True)
    work(run, "masks", RECIPE)
    evaluate(run, RECIPE)
    write_images(run)
    path = run.report_file.parent / "images" / "index.js"

    def layer_of(script):
        return json.loads(script.removeprefix("ws3.load(").removesuffix(");\n"))["layers"][0]

    results, rows = RecipeResults(run, RECIPE), run.rows(["val"])
    expected = [round(1000 * float(results.confidence(row).mean()) / 256) for row in rows]
    assert layer_of(path.read_text())["confidence"] == expected
    write_images(run)  # from what was noted, without drawing again
    assert layer_of(path.read_text())["confidence"] == expected
    write_images(with_masks(run, confidence=False))
    assert "confidence" not in layer_of(path.read_text())
