"""Evaluations: figures against independent references, and the same bytes again."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label
from sklearn.metrics import confusion_matrix
from stage_work import TWO_RECIPES, begun, work

from ws3.config.load import resolve
from ws3.config.masks import TunedBackground
from ws3.datasets.masks import read_label_mask
from ws3.errors import StaleResultError, Ws3Error
from ws3.masks.png import read_mask
from ws3.metrics.image_counts import PIXEL_COUNTS
from ws3.run.folder import Run
from ws3.run.image_counts import read_image_counts
from ws3.run.records import Evaluation, read_record
from ws3.run.results import RecipeResults
from ws3.run.tuning import tuning_rows
from ws3.run.verify import check_run
from ws3.stages.evaluate import evaluate, summarise_run
from ws3.stages.threshold import threshold


@pytest.fixture(scope="module")
def run(tmp_path_factory, untrained_classifier) -> Run:
    """Return a run of two recipes with their masks; tests add evaluations, and nothing else."""
    results = str(tmp_path_factory.mktemp("results"))
    run = begun({**TWO_RECIPES, "results": results}, untrained_classifier)
    for recipe in run.config.recipes:
        work(run, "saliency", recipe)
        work(run, "maps", recipe)
        threshold(run, recipe)
        work(run, "masks", recipe)
    return run


def evaluated(run, recipe):
    evaluate(run, recipe)
    return read_record(run.evaluation_file(recipe), Evaluation).splits["val"]


def cut(maps, values):
    """The mask of maps by its words: the strongest class where it reaches the threshold."""
    return np.where(maps.max(axis=0) >= 0.25, np.array(values)[maps.argmax(axis=0)], 0)


def test_figures_equal_those_of_the_files(run):
    stages = evaluated(run, "flipped")
    assert list(stages) == ["maps", "masks"]
    rows = run.rows(["val"])
    truths = [read_label_mask(row.mask) for row in rows]
    for stage, masks in {
        "maps": [
            cut(RecipeResults(run, "flipped").maps(row), run.class_values(row)) for row in rows
        ],
        "masks": [read_mask(run.result("masks", "flipped", row.image)) for row in rows],
    }.items():
        truth, mask = (np.concatenate([a.ravel() for a in some]) for some in (truths, masks))
        ious = [
            ((truth == value) & (mask == value)).sum() / union
            for value in range(4)
            if (union := ((truth == value) | (mask == value)).sum())
        ]
        assert stages[stage].figures["miou"] == pytest.approx(np.mean(ious))
        own = np.concatenate([read_label_mask(row.parts).ravel() for row in rows]) == 1
        recalls = [
            (mask[inside] == value).mean()
            for value in range(1, 4)
            if (inside := own & (truth == value)).any()
        ]
        found = stages[stage].figures["discriminative_part_recall"]
        assert found == pytest.approx(np.mean(recalls))
        assert stages[stage].images == len(rows)
        for name, found in stages[stage].per_class.items():
            assert found.images == sum(name in row.labels for row in rows)


def test_confusions_equal_those_of_the_files(run):
    stages = evaluated(run, "flipped")
    rows = run.rows(["val"])
    truth = np.concatenate([read_label_mask(row.mask).ravel() for row in rows])
    masks = [read_mask(run.result("masks", "flipped", row.image)).ravel() for row in rows]
    expected = confusion_matrix(truth, np.concatenate(masks), labels=range(4))
    assert [list(row) for row in stages["masks"].confusion] == expected.tolist()
    evaluation = read_record(run.evaluation_file("flipped"), Evaluation)
    held = np.array([[name in row.labels for name in run.index.classes] for row in rows], int)
    assert [list(row) for row in evaluation.together["val"]] == (held.T @ held).tolist()


def test_shares_by_distance_equal_those_of_the_files(run):
    """Against scipy's distances, object by object, from the reference's stored maps."""
    pixels, found = np.zeros((3, 10), int), np.zeros((3, 10), int)
    for row in run.rows(["val"]):
        truth = read_label_mask(row.mask)
        mask = read_mask(run.result("masks", "flipped", row.image))
        maps = RecipeResults(run, "cam").maps(row)
        for value, scores in zip(run.class_values(row), maps, strict=True):
            parts, count = label(truth == value, np.ones((3, 3)))
            for number in range(1, count + 1):
                inside = parts == number
                peak = inside & (scores == scores[inside].max())
                way = distance_transform_edt(~peak)[inside]
                tenths = np.minimum(np.floor(10 * way / way.max() + 1e-9), 9).astype(int)
                pixels[value - 1] += np.bincount(tenths, minlength=10)
                found[value - 1] += np.bincount(tenths[mask[inside] == value], minlength=10)
    measured = evaluated(run, "flipped")["masks"]
    shares = np.full((3, 10), np.nan)
    np.divide(found, pixels, out=shares, where=pixels > 0)
    for name, counts, expected in zip(run.index.classes, pixels, shares, strict=True):
        assert list(measured.distances.pixels[name]) == counts.tolist()
        own = [np.nan if share is None else share for share in measured.distances.per_class[name]]
        assert own == pytest.approx(expected, nan_ok=True)
    assert measured.distances.found == pytest.approx(np.nanmean(shares, axis=0))
    near = [f[:5].sum() / p[:5].sum() for f, p in zip(found, pixels, strict=True) if p[:5].any()]
    assert measured.figures["near_recall"] == pytest.approx(np.mean(near))


def test_the_reference_marks_its_own_regions(run):
    figures = evaluated(run, "cam")["maps"].figures
    names = ("dr_recall", "ndr_recall", "fpr_region_rate", "tn_region_rate")
    assert [figures[name] for name in names] == [1, 0, 1, 0]


def test_only_maps_are_ranked_and_swept(run):
    stages = evaluated(run, "cam")
    assert "pxap" in stages["maps"].figures
    assert "pxap" not in stages["masks"].figures
    assert len(stages["maps"].sweep) == 257
    assert stages["masks"].sweep is None
    assert dict(stages["maps"].sweep)[0.25] == stages["maps"].figures["miou"]


def test_the_same_run_gives_the_same_bytes(run):
    for recipe in ("cam", "flipped"):
        evaluate(run, recipe)
    summarise_run(run)
    files = [run.summary_file, *(run.evaluation_file(name) for name in ("cam", "flipped"))]
    files += [run.image_counts_file(name) for name in ("cam", "flipped")]
    before = [path.read_bytes() for path in files]
    again = Run.open(run.folder)
    for recipe in ("cam", "flipped"):
        evaluate(again, recipe)
    summarise_run(again)
    assert [path.read_bytes() for path in files] == before


def test_a_power_background_has_no_threshold(run, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "made"))
    data = run.config.model_dump(mode="json")
    data["masks"]["background"] = {"kind": "power", "alpha": 4}
    other = Run(folder, resolve(data))
    for recipe in other.config.recipes:
        threshold(other, recipe)
        work(other, "masks", recipe)
    for recipe in other.config.recipes:
        found = evaluated(other, recipe)["maps"]
        assert (found.threshold, found.threshold_kind, found.threshold_split) == (None, "power", "")
    summarise_run(other)
    with other.summary_file.open(newline="") as file:
        assert {row["threshold"] for row in csv.DictReader(file)} == {""}


def test_a_threshold_is_tuned_on_the_images_of_a_list_alone(run, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "made"))
    data = run.config.model_dump(mode="json")
    names = [row.image for row in run.mapped_rows(["train"])]
    root = folder / "data"
    (root / "tuned.txt").write_text(f"elsewhere\nJPEGImages/{names[1]}.png\n")
    background = {"kind": "tuned", "split": "train", "list": "tuned.txt"}
    data["masks"]["background"] = background
    data["dataset"]["root"] = str(root)
    other = Run(folder, resolve(data))
    rows = tuning_rows(other, TunedBackground.model_validate(background))
    assert [row.image for row in rows] == [names[1]]
    (root / "tuned.txt").write_text("nobody\n")
    with pytest.raises(Ws3Error, match="names no image of the train split"):
        threshold(other, "cam")


def test_the_columns_that_readers_know_keep_their_order(run):
    for recipe in run.config.recipes:
        evaluate(run, recipe)
    summarise_run(run)
    columns = run.summary_file.read_text().splitlines()[0].split(",")
    known = [
        *("recipe", "seed", "split", "stage", "miou", "pxap", "precision", "recall"),
        *("dr_recall", "ndr_recall", "fp_share", "fn_share", "boundary_iou"),
    ]
    assert columns[: len(known)] == known
    assert columns[-3:] == ["threshold", "threshold_split", "ignored_share"]


def test_the_counts_of_the_images_add_up_to_the_summary_exactly(run):
    for recipe in run.config.recipes:
        evaluate(run, recipe)
    summarise_run(run)
    with run.summary_file.open(newline="") as file:
        summary = list(csv.DictReader(file))
    for line in summary:
        counts = pooled_by_hand(run, line)
        union = counts["tp"] + counts["fp"] + counts["fn"]
        occurs = union > 0
        assert float(line["miou"]) == np.mean(counts["tp"][occurs] / union[occurs])
        for part in ("dr", "ndr"):
            pixels, found = counts[f"{part}_pixels"], counts[f"{part}_found"]
            defined = pixels > 0
            share = np.mean(found[defined] / pixels[defined]) if defined.any() else None
            assert (float(line[f"{part}_recall"]) if line[f"{part}_recall"] else None) == share
    assert {(line["recipe"], line["stage"]) for line in summary} == {
        (recipe, stage) for recipe in ("cam", "flipped") for stage in ("maps", "masks")
    }


def pooled_by_hand(run, line):
    """The sums of each column and class over a recipe's table of images."""
    with run.image_counts_file(line["recipe"]).open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["split"], row["stage"]) == (line["split"], line["stage"])
        ]
    assert {row["image"] for row in rows} == {row.image for row in run.rows(["val"])}
    sums = {name: np.zeros(4, np.int64) for name in PIXEL_COUNTS}
    for row in rows:
        for name, column in sums.items():
            column[int(row["class"])] += int(row[name])
    return sums


def test_only_classes_that_occur_in_an_image_have_a_row(run):
    stages = evaluated(run, "flipped")
    assert set(stages) == {"maps", "masks"}
    with run.image_counts_file("flipped").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in run.rows(["val"]):
        truth = read_label_mask(row.mask)
        mask = read_mask(run.result("masks", "flipped", row.image))
        known = (truth != 255) & (mask != 255)
        found = {r["class"] for r in rows if (r["image"], r["stage"]) == (row.image, "masks")}
        assert found == {"0", *map(str, {*truth[known].tolist(), *mask[known].tolist()})}


def test_the_intervals_and_the_oracle_stand_in_the_summary(run):
    stages = evaluated(run, "flipped")
    evaluate(run, "cam")
    summarise_run(run)
    with run.summary_file.open(newline="") as file:
        lines = {(r["recipe"], r["stage"]): r for r in csv.DictReader(file)}
    for stage, figures in stages.items():
        line = lines["flipped", stage]
        with_maps = {"pxap"} if stage == "maps" else set()
        assert set(figures.intervals) <= {"miou", "dr_recall", "ndr_recall"} | with_maps
        assert set(figures.intervals) >= {"miou"} | with_maps
        for name, (low, high) in figures.intervals.items():
            assert 0 <= low <= figures.figures[name] <= high <= 1
            assert (float(line[f"{name}_low"]), float(line[f"{name}_high"])) == (low, high)
    sweep = stages["maps"].sweep
    best = max(miou for _, miou in sweep)
    assert stages["maps"].oracle.miou == best >= stages["maps"].figures["miou"]
    assert stages["maps"].oracle.threshold == min(at for at, miou in sweep if miou == best)
    assert float(lines["flipped", "maps"]["oracle_miou"]) == best
    assert float(lines["flipped", "maps"]["oracle_threshold"]) == stages["maps"].oracle.threshold
    assert stages["masks"].oracle is None
    assert lines["flipped", "masks"]["oracle_miou"] == ""


def test_counts_that_are_not_those_of_the_evaluation_are_refused_and_found(run):
    evaluate(run, "cam")
    record = read_record(run.evaluation_file("cam"), Evaluation)
    assert read_image_counts(run, record).keys() == {("val", "maps"), ("val", "masks")}
    path = run.image_counts_file("cam")
    text = path.read_text()
    path.write_text(text.replace(",maps,", ",masks,", 1))
    said = "missing or not the one that the evaluation wrote; run snakemake again, or: ws3 evaluate"
    with pytest.raises(StaleResultError, match=said):
        read_image_counts(run, record)
    found = [damage for damage in check_run(run, repair=True)[1] if damage.path == path]
    assert len(found) == 1
    assert not path.exists()
    assert [d.path for d in check_run(run, repair=False)[1]].count(path) == 1
    evaluate(run, "cam")
    assert path.read_text() == text
    short = record.model_copy(update={"classes": record.classes[:1]})
    with pytest.raises(StaleResultError, match=r"it names 1 classes, but its images have counts"):
        read_image_counts(run, short)
    assert path not in [damage.path for damage in check_run(run, repair=False)[1]]


def test_an_evaluation_of_before_says_how_to_make_the_counts(run):
    evaluate(run, "cam")
    path = run.evaluation_file("cam")
    old = json.loads(path.read_text())
    del old["image_counts"]
    for stage in old["splits"]["val"].values():
        del stage["intervals"], stage["oracle"]
    path.write_text(json.dumps(old))
    record = read_record(path, Evaluation)
    with pytest.raises(StaleResultError, match=r"cam\.json: an older ws3 wrote this.*ws3 evaluate"):
        read_image_counts(run, record)
    assert record.splits["val"]["maps"].intervals == {}
    evaluate(run, "flipped")
    summarise_run(run)
    with run.summary_file.open(newline="") as file:
        lines = {(r["recipe"], r["stage"]): r for r in csv.DictReader(file)}
    assert lines["cam", "maps"]["miou_low"] == lines["cam", "maps"]["oracle_miou"] == ""
    assert lines["flipped", "maps"]["miou_low"]


def test_a_missing_or_damaged_evaluation_is_named(run):
    evaluate(run, "cam")
    run.evaluation_file("flipped").unlink(missing_ok=True)
    with pytest.raises(StaleResultError, match=r"flipped.json: this file is missing"):
        summarise_run(run)
    run.evaluation_file("cam").write_text('{"recipe": "cam", "splits": {}}')
    with pytest.raises(Ws3Error, match=r"cam.json: this file is damaged \(seed is missing"):
        summarise_run(run)


def test_a_confusion_matrix_of_another_size_is_named(run):
    evaluate(run, "cam")
    path = run.evaluation_file("cam")
    data = json.loads(path.read_text())
    data["splits"]["val"]["maps"]["confusion"].pop()
    path.write_text(json.dumps(data))
    words = r"damaged \(splits.val.maps.confusion must have 4 rows of 4 numbers\); remove it"
    with pytest.raises(Ws3Error, match=words):
        read_record(path, Evaluation)


def test_an_evaluation_of_before_is_read_and_has_no_distances(run):
    evaluate(run, "cam")
    path = run.evaluation_file("cam")
    data = json.loads(path.read_text())
    del data["together"]
    for stage in data["splits"]["val"].values():
        del stage["confusion"], stage["distances"]
    path.write_text(json.dumps(data))
    evaluation = read_record(path, Evaluation)
    assert evaluation.together == {}
    assert evaluation.splits["val"]["maps"].distances is None
    assert evaluation.splits["val"]["maps"].confusion is None
