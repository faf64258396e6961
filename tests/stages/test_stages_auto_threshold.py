"""A threshold that no ground truth chose: what it is chosen by, and who says so."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from made_records import classifier_facts
from stage_work import work
from verified_run import ws3

from ws3.config.load import resolve
from ws3.config.masks import AutoBackground
from ws3.errors import Ws3Error
from ws3.files import file_sha256
from ws3.run.folder import Run
from ws3.run.records import Evaluation, read_record, write_record
from ws3.run.results import RecipeResults
from ws3.run.tuning import share_rows
from ws3.stages.evaluate import evaluate
from ws3.stages.index import index, write_config
from ws3.stages.threshold import threshold

CONFIG = {
    "run": "made",
    "device": "cpu",
    "dataset": {"kind": "synthetic", "train_images": 5, "val_images": 1, "size": 64, "classes": 3},
    "recipes": {"cam": {"preset": "cam"}},
    "masks": {"background": {"kind": "auto", "object_share": 0.3}, "crf": "none"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory, untrained_classifier) -> Run:
    """Return a run with its maps, one of whose pictures has no label."""
    folder = tmp_path_factory.mktemp("results")
    drawn = Run.of(resolve({**CONFIG, "run": "drawn", "results": str(folder)}))
    write_config(drawn)
    index(drawn)
    root = drawn.folder / "data"
    table = root / "labels.csv"
    lines = table.read_text().splitlines()
    lines[2] = f"{lines[2].split(',')[0]},"
    table.write_text("\n".join(lines) + "\n")
    files = {"train": "train.txt", "val": "val.txt", "classes": "classes.txt"}
    dataset = {"kind": "folder", "root": str(root), "masks": None, **files}
    run = Run.of(resolve({**CONFIG, "results": str(folder), "dataset": dataset}))
    write_config(run)
    index(run)
    shutil.copy(untrained_classifier, run.classifier_file)
    facts = classifier_facts(file_sha256(run.classifier_file), classes=run.index.classes)
    write_record(run.receipt("train_classifier"), facts)
    for stage in ("saliency", "maps"):
        work(run, stage, "cam")
    return run


def configured(run: Run, **background) -> Run:
    data = run.config.model_dump(mode="json")
    data["masks"]["background"] |= background
    return Run(run.folder, resolve(data))


def marked(run: Run, score: float, rows) -> float:
    results = RecipeResults(run, "cam")
    return float(np.mean([(results.maps(row).max(axis=0) >= score).mean() for row in rows]))


def test_the_maps_of_the_training_images_with_labels_choose_it(run):
    threshold(run, "cam")
    chosen = run.threshold("cam")
    rows = [row for row in run.mapped_rows(["train"]) if row.labels]
    assert (chosen.kind, chosen.images, chosen.split, chosen.miou) == ("auto", 4, "", None)
    apart = {k / 256: abs(marked(run, k / 256, rows) - 0.3) for k in range(1, 257)}
    assert chosen.score == min(apart, key=apart.__getitem__)
    assert chosen.object_share == pytest.approx(marked(run, chosen.score, rows), abs=1e-12)


def test_a_larger_share_lowers_it_and_the_same_bytes_come_again(run):
    threshold(run, "cam")
    before = run.threshold_file("cam").read_bytes()
    first = run.threshold("cam").score
    other = configured(run, object_share=0.6)
    threshold(other, "cam")
    assert other.threshold("cam").score < first
    threshold(run, "cam")
    assert run.threshold_file("cam").read_bytes() == before


def test_a_number_of_images_is_evenly_spaced(run):
    labelled = [row for row in run.mapped_rows(["train"]) if row.labels]
    for images, expected in ((2, [0, 2]), (3, [0, 1, 2]), (None, [0, 1, 2, 3]), (9, [0, 1, 2, 3])):
        background = AutoBackground(kind="auto", images=images)
        assert share_rows(run, "cam", background) == [labelled[place] for place in expected]


def test_masks_status_and_command_use_and_name_it(run):
    status, said = ws3("threshold", run.folder, "--recipe", "cam")
    assert status == 0, said
    chosen = run.threshold("cam")
    origin = f"auto: maps mark {chosen.object_share:.1%} of 4 training images"
    assert said.strip().endswith(origin)
    work(run, "masks", "cam")
    row = next(row for row in run.mapped_rows(["train"]) if row.labels)
    maps = RecipeResults(run, "cam").maps(row)
    mask = RecipeResults(run, "cam").mask(row)
    assert ((mask > 0) == (maps.max(axis=0) >= chosen.score)).all()
    status, said = ws3("status", run.folder)
    assert f"threshold cam: {chosen.score:.3g}, {origin}" in said


def test_figures_say_that_no_ground_truth_chose_it(run, tmp_path):
    data = run.config.model_dump(mode="json")
    data["dataset"]["masks"] = "masks"
    data["results"] = str(tmp_path)
    measured = Run(shutil.copytree(run.folder, tmp_path / "made"), resolve(data))
    write_config(measured)
    index(measured)
    threshold(measured, "cam")
    work(measured, "masks", "cam")
    evaluate(measured, "cam")
    figures = read_record(measured.evaluation_file("cam"), Evaluation).splits["val"]["maps"]
    assert (figures.threshold_kind, figures.threshold_split) == ("auto", "")
    assert figures.threshold == measured.threshold("cam").score


def test_without_any_labelled_map_there_is_nothing_to_choose_it_by(run):
    rows = tuple(row._replace(labels=()) for row in run.index.rows)
    other = Run(run.folder, run.config)
    other.__dict__["index"] = replace(run.index, rows=rows)
    with pytest.raises(Ws3Error, match="no training image has maps of cam to choose the threshold"):
        threshold(other, "cam")
