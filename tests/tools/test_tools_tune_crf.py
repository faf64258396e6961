"""`ws3 tune-crf`: what it measures, what it chooses, and that a kill changes nothing."""

import csv
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_work import TWO_RECIPES, begun, with_masks, work
from typer.testing import CliRunner

from ws3.cli.app import app
from ws3.config.load import dump, resolve
from ws3.config.masks import CrfParameters
from ws3.errors import Ws3Error
from ws3.masks.crf import PRESETS
from ws3.masks.crf_search import CERTAINTIES, ITERATIONS, NEAR, RANGES, SHARED, Group, drawn_groups
from ws3.masks.pseudo import pseudo_mask
from ws3.masks.regions import image_segments
from ws3.metrics.confusion import Confusion
from ws3.run import journal
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth
from ws3.stages.threshold import threshold
from ws3.tools.tune_crf import JOURNAL, SEGMENTS, gain_elsewhere, tune_crf

SMALL: dict[str, Any] = {"images": 3, "trials": 4, "seed": 5}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory, untrained_classifier):
    """Return a run with maps and thresholds of four training images."""
    dataset = {**TWO_RECIPES["dataset"], "train_images": 4, "val_images": 2, "size": 48}
    config = {**TWO_RECIPES, "dataset": dataset, "results": str(tmp_path_factory.mktemp("results"))}
    run = begun(config, untrained_classifier)
    for stage in ("saliency", "maps"):
        work(run, stage, "cam")
    threshold(run, "cam")
    return run


@pytest.fixture
def run(mapped, tmp_path):
    """Return a copy of that run."""
    folder = tmp_path / mapped.config.run
    shutil.copytree(mapped.folder, folder)
    return Run.open(folder)


def reporting_on_train(run):
    """Return the run with the training images among those that it reports on."""
    data = run.config.model_dump(mode="json")
    data["evaluation"]["splits"] = ["train", "val"]
    (run.folder / "config.yaml").write_text(dump(resolve(data)))
    return Run.open(run.folder)


def rows_of(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def miou_of(run, images, crf):
    """Return the mIoU of the masks that the masks stage would make with these numbers."""
    confusion, results = Confusion(len(run.index.classes)), RecipeResults(run, "cam")
    for row in run.index.rows:
        if row.image in images:
            background = run.threshold("cam").for_masks
            image, maps = load_image(row), results.maps(row)
            mask = pseudo_mask(image, maps, run.class_values(row), background, crf)
            confusion.update(load_truth(run, row), mask)
    return confusion.miou()


def test_every_candidate_is_measured_as_the_masks_stage_would(run):
    found = tune_crf(run, "cam", **SMALL)
    assert found.candidates == SMALL["trials"] * len(ITERATIONS)
    assert len(found.images) == 3
    lines = rows_of(found.table)
    assert len(lines) == found.candidates + 1
    mious = [float(line["miou"]) for line in lines]
    assert mious == sorted(mious, reverse=True)
    for line in lines[:: len(lines) // 4]:
        crf = PRESETS["irn"]
        if line["numbers"] != "in force":
            given = {key: value for key, value in line.items() if key in CrfParameters.model_fields}
            crf = CrfParameters.model_validate(given)
        assert float(line["miou"]) == pytest.approx(miou_of(run, found.images, crf), abs=1e-12)
    assert found.best_value == pytest.approx(miou_of(run, found.images, found.best), abs=1e-12)
    assert found.best_value == mious[0]
    assert found.present_value == pytest.approx(miou_of(run, found.images, PRESETS["irn"]))


def test_what_an_interruption_left_is_taken_and_nothing_changes(run, mapped, tmp_path):
    whole = tune_crf(run, "cam", **SMALL)
    path = run.journal_file(JOURNAL)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3 * (1 + 2)  # images, by what is in force and two groups
    table = whole.table.read_bytes()
    path.write_bytes(b"".join(lines[:4]) + lines[4][:25])
    assert tune_crf(run, "cam", **SMALL) == whole
    assert whole.table.read_bytes() == table
    again = path.read_bytes().splitlines(keepends=True)
    assert again[:4] == lines[:4]
    # The line that was cut off took one more with it.
    assert len(again) == len(lines)
    tune_crf(run, "cam", **SMALL)
    tune_crf(run, "cam", **SMALL)
    assert len(path.read_bytes().splitlines()) == len(lines) + 1


def test_more_trials_and_images_add_to_what_is_there(run):
    tune_crf(run, "cam", images=2, trials=SHARED, seed=1)
    before = list(journal.lines(run, JOURNAL))
    tune_crf(run, "cam", images=4, trials=2 * SHARED, seed=1)
    after = list(journal.lines(run, JOURNAL))
    assert after[: len(before)] == before
    made = [(json.loads(line)["image"], json.loads(line)["made_from"]) for line in after]
    assert len(made) == len(set(made)) == 4 * (1 + 2)


def test_another_threshold_is_measured_anew(run):
    one = tune_crf(run, "cam", **SMALL)
    other = with_masks(run, background={"kind": "constant", "score": 0.6})
    threshold(other, "cam")
    assert tune_crf(other, "cam", **SMALL).present_value != one.present_value
    assert len(list(journal.lines(run, JOURNAL))) == 2 * 3 * (1 + 2)


def test_without_a_crf_in_force_the_cut_maps_are_what_is_compared(run):
    bare = with_masks(run, crf="none")
    found = tune_crf(bare, "cam", **SMALL)
    assert found.present is None
    assert found.present_value == pytest.approx(miou_of(run, found.images, None))


@pytest.mark.slow
def test_killed_in_the_middle_with_two_workers_it_ends_as_in_one_go(run, tmp_path):
    whole = tune_crf(run, "cam", images=4, trials=9)
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    path = Run.open(other).journal_file(JOURNAL)
    path.unlink()
    command = [sys.executable, "-m", "ws3", "tune-crf", str(other), "-r", "cam", "--workers", "2"]
    command += ["--images", "4", "--trials", "9"]
    job = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < 2:
        assert job.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    workers = children_of(job.pid)
    job.kill()
    job.wait()
    assert 2 <= path.read_bytes().count(b"\n") < 4 * (1 + 5)
    assert len(workers) >= 2
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    subprocess.run(command, check=True, capture_output=True)
    found = tune_crf(Run.open(other), "cam", images=4, trials=9)
    assert replace(found, table=whole.table) == whole
    assert found.table.read_bytes() == whole.table.read_bytes()


def children_of(pid):
    """Return the processes that a process has begun."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in path.read_text().split()]
    return found


def test_what_must_not_be_tuned_is_refused(run):
    instead = {"kind": "slic", "place": "instead"}
    with pytest.raises(Ws3Error, match="there is none to tune"):
        tune_crf(with_masks(run, regions=instead), "cam", **SMALL)
    with pytest.raises(Ws3Error, match=r"evaluation\.splits reports on the train split"):
        tune_crf(reporting_on_train(run), "cam", **SMALL)
    assert not run.journal_file(JOURNAL).exists()


def test_without_ground_truth_there_is_a_sentence(run):
    text = run.index_file.read_text().splitlines(keepends=True)
    columns = text[0].rstrip("\n").split(",")
    rows = list(csv.DictReader(text))
    with run.index_file.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "mask": "", "mask_sha256": ""} for row in rows)
    with pytest.raises(Ws3Error, match="0 training images have labels, maps and ground truth"):
        tune_crf(Run.open(run.folder), "cam", **SMALL)


def test_the_command_prints_numbers_that_a_configuration_takes(run):
    result = CliRunner().invoke(
        app, ["tune-crf", str(run.folder), "-r", "cam", "--images", "3", "--trials", "4"]
    )
    assert result.exit_code == 0, result.output
    found = tune_crf(run, "cam", images=3, trials=4)
    if found.best == PRESETS["irn"]:
        assert "keep what is in force" in result.output
        return
    _, snippet = result.output.split("for the configuration:\n")
    numbers = yaml.safe_load(snippet)["masks"]["crf"]
    assert CrfParameters.model_validate(numbers) == found.best
    assert found.gain is not None
    assert f"{100 * found.gain.mean:+.1f} points" in result.output


def test_gain_elsewhere_by_hand():
    # Two images, hence two folds: each gets what is best on the other. Pixels of one class and the
    # background, of which IoU 1/2 and 1/2 are in force; candidate 1 is right on "a" alone and all
    # wrong on "b", candidate 2 the other way round.
    in_force, right = [[1, 1], [1, 1], [0, 0]], [[2, 2], [0, 0], [0, 0]]
    wrong = [[0, 0], [2, 2], [2, 2]]
    counts = np.array([[in_force, right, wrong], [in_force, wrong, right]], np.int64)
    found = gain_elsewhere(["a", "b"], counts, seed=0)
    assert found is not None
    assert found.mean == pytest.approx(0 - 0.5)
    # One that is right on both is found from either side.
    counts = np.array([[in_force, right], [in_force, right]], np.int64)
    found = gain_elsewhere(["a", "b"], counts, seed=0)
    assert found is not None
    assert found.mean == pytest.approx(0.5)


@given(
    seed=st.integers(0, 2**32 - 1),
    trials=st.integers(1, 10),
    preset=st.sampled_from(["irn", "deeplab"]),
)
@settings(max_examples=40, deadline=None)
def test_drawn_numbers_are_within_their_ranges_and_grow(seed, trials, preset):
    present = PRESETS[preset].model_copy(update={"max_pixels": 1234})
    groups = drawn_groups(trials, seed, present)
    assert sum(len(group.unaries) for group in groups) == trials
    assert all(len(group.candidates) == len(group.unaries) * len(ITERATIONS) for group in groups)
    drawn = [one for group in groups for one in group.candidates]
    more = [one for group in drawn_groups(trials + 5, seed, present) for one in group.candidates]
    assert more[: len(drawn)] == drawn
    for place, group in enumerate(groups):
        for candidate in group.candidates:
            assert CrfParameters.model_validate(candidate.model_dump()) == candidate
            assert candidate.max_pixels == 1234
            for name, (low, high) in RANGES.items():
                if place % 2:
                    middle = getattr(present, name)
                    low, high = max(0.5, middle / NEAR), middle * NEAR
                assert 0.95 * low <= getattr(candidate, name) <= 1.05 * high  # rounded
            if candidate.unary == "labels" and place % 2 == 0:
                assert CERTAINTIES[0] <= candidate.gt_prob <= CERTAINTIES[1]


def test_the_numbers_in_force_are_a_group_of_their_own():
    assert Group.of(PRESETS["psa"]).candidates == (PRESETS["psa"],)


def test_numbers_at_the_bounds_have_legal_neighbours():
    ends = ({"gaussian_sxy": 0.5, "bilateral_srgb": 1000.0}, {"gaussian_compat": 0.0})
    for extreme in (*ends, {"bilateral_sxy": 10_000.0, "bilateral_compat": 1000.0}):
        for group in drawn_groups(20, 1, CrfParameters.model_validate(extreme)):
            for one in group.candidates:
                assert CrfParameters.model_validate(one.model_dump()) == one


@pytest.mark.skipif(find_spec("skimage") is None, reason="scikit-image is not installed")
def test_without_ground_truth_segments_choose(run):
    text = run.index_file.read_text().splitlines(keepends=True)
    rows = list(csv.DictReader(text))
    with run.index_file.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "mask": "", "mask_sha256": ""} for row in rows)
    run = reporting_on_train(Run.open(run.folder))  # no ground truth, so nothing is flattered
    found = tune_crf(run, "cam", by="segments", images=3, trials=3, seed=5)
    lines = rows_of(found.table)
    agreements = [float(line["agreement"]) for line in lines]
    assert agreements == sorted(agreements, reverse=True)
    assert found.best_value == agreements[0]
    results = RecipeResults(run, "cam")
    by_hand = []
    for row in run.index.rows:
        if row.image not in found.images:
            continue
        image = load_image(row)
        values, background = run.class_values(row), run.threshold("cam").for_masks
        mask = pseudo_mask(image, results.maps(row), values, background, found.best)
        segments = image_segments(image, SEGMENTS)
        half = np.roll(np.roll(mask, mask.shape[0] // 2, 0), mask.shape[1] // 2, 1)
        shares = []
        for one in (mask, half):
            right = [np.bincount(one[segments == n]).max() for n in np.unique(segments)]
            shares.append(sum(right) / one.size)
        by_hand.append(shares[0] - shares[1])
    assert found.best_value == pytest.approx(np.mean(by_hand))
    journalled = len(list(journal.lines(run, JOURNAL)))
    assert tune_crf(run, "cam", by="segments", images=3, trials=3, seed=5) == found
    assert len(list(journal.lines(run, JOURNAL))) == journalled == 3 * (1 + 2)
    command = ["tune-crf", str(run.folder), "-r", "cam", "--by", "segments", "--images", "3"]
    result = CliRunner().invoke(app, [*command, "--trials", "3", "--seed", "5"])
    assert result.exit_code == 0, result.output
    assert f"agreement {found.present_value:.4f}" in result.output


def test_gain_of_agreements_by_hand():
    # Five images, so that each is measured with what the four others choose: always the second.
    agreements = np.array([[0.1, 0.3], [0.2, 0.3], [0.1, 0.0], [0.0, 0.2], [0.1, 0.2]])
    found = gain_elsewhere(list("abcde"), agreements, seed=0)
    assert found is not None
    assert found.mean == pytest.approx(0.5 / 5)
    assert found.ends is not None
    assert -0.1 <= found.ends[0] < found.mean < found.ends[1] <= 0.2


def test_a_damaged_line_of_the_journal_is_measured_again(run):
    whole = tune_crf(run, "cam", **SMALL)
    path = run.journal_file(JOURNAL)
    lines = path.read_text().splitlines(keepends=True)
    said = json.loads(lines[0])
    said["counts"][0][2] += 1
    path.write_text("".join([json.dumps(said) + "\n", *lines[1:]]))
    assert tune_crf(run, "cam", **SMALL) == whole
    assert len(path.read_text().splitlines()) == len(lines) + 1
