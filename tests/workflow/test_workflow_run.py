"""The whole chain through Snakemake on a small drawn dataset, and what reruns after what."""

from __future__ import annotations

import copy
import csv
import json
import re
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import zarr
from report_pages import Page
from snake import REPOSITORY, environment, planned, reported, snakemake

from ws3.masks.png import read_mask
from ws3.run.folder import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config():
    return {
        "run": "tiny",
        "device": "cpu",
        "threads": 1,
        "dataset": {
            "kind": "synthetic",
            "train_images": 5,
            "val_images": 3,
            "size": 64,
            "classes": 3,
        },
        "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1, "batch_size": 4},
        "recipes": {
            "cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0], "flip": True}},
            "crops": {
                "preset": "gradient_crops",
                "samples": {"count": 12, "samples_per_chunk": 4, "batch": 4},
            },
        },
        "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
        "segmentation": {
            "recipes": ["crops"],
            "architecture": "lraspp_mobilenet_v2",
            "epochs": 1,
            "batch_size": 2,
            "crop_size": 64,
        },
        "images_per_job": 4,
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config):
    """Return the folder of a finished run; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("workflow")
    done = snakemake(folder, "--logger", "ws3", config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stderr)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    return folder


def changed(config, **changes):
    data = copy.deepcopy(config)
    for path, value in changes.items():
        *sections, key = path.split("__")
        node = data
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    return data


def computed(folder, stage):
    journal = folder / "results/tiny/journal" / f"{stage}.jsonl"
    return [entry["image"] for entry in map(json.loads, journal.read_text().splitlines())]


def test_it_says_what_it_does_in_a_few_lines(finished):
    said = (finished / "said.txt").read_text()
    # Two recipes of eight images, and a network that predicts three.
    for line in (r"saliency: 16 images in .* images/s", r"predictions: 3 images in .*"):
        assert re.search(rf"^\d\d:\d\d:\d\d {line}$", said, re.MULTILINE), said
    assert re.search(r"^recipe +maps +masks +segmentation *\ncam +\d", said, re.MULTILINE)
    page = finished / "results/tiny/report/index.html"
    assert said.rstrip().endswith(f"The report: {page.resolve()}")
    assert len(said.splitlines()) < 60


def test_it_ends_with_a_report_and_a_row_per_recipe_and_stage(finished):
    run = Run.open(finished / "results/tiny")
    assert (finished / "results/tiny/report/index.html").stat().st_size > 10_000
    with (finished / "results/tiny/evaluation/summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["recipe"], row["stage"]) for row in rows] == [
        ("cam", "maps"),
        ("cam", "masks"),
        ("crops", "maps"),
        ("crops", "masks"),
        ("crops", "segmentation"),
    ]
    assert {row["split"] for row in rows} == {"val"}
    assert all(0 <= float(row["miou"]) <= 1 for row in rows)
    assert rows[0]["threshold_split"] == "train"
    assert (float(rows[0]["dr_recall"]), float(rows[0]["ndr_recall"])) == (1.0, 0.0)
    assert len(run.index.rows) == 8


MODULE = """
configfile: "config.yaml"

module ws3:
    snakefile: "{snakefile}"
    config: config

use rule * from ws3
"""


def test_snakemakes_own_report_holds_the_scores_the_charts_and_the_page(finished, config, tmp_path):
    archive, snakefile = tmp_path / "its.zip", tmp_path / "Snakefile"
    snakefile.write_text(MODULE.format(snakefile=REPOSITORY / "Snakefile"))
    # The later of two Snakefiles holds.
    more = ["--snakefile", str(snakefile), "--report", str(archive)]
    done = snakemake(finished, *more, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = reported(archive)
    folder = "results/tiny"
    for path, entry in shown.items():
        assert entry.data == (finished / path).read_bytes()
        assert len(entry.caption) > 40
        assert entry.labels["run"] == "tiny"
    charts = {path for path in shown if shown[path].category == "Charts"}
    assert charts == {
        str(path.relative_to(finished))
        for path in (finished / folder / "report/figures").glob("*.light.svg")
    }
    miou = shown[f"{folder}/report/figures/miou-val.light.svg"]
    assert miou.labels == {
        "run": "tiny",
        "chart": "mIoU of each recipe",
        "split": "val",
        "stage": "",
    }
    assert "mIoU of each recipe before the CRF" in miou.caption
    segmentation = shown[f"{folder}/report/figures/distance-val-segmentation.light.svg"]
    assert (segmentation.labels["split"], segmentation.labels["stage"]) == ("val", "segmentation")
    assert "finds, by their distance" in segmentation.caption
    others = {path: shown[path].category for path in shown.keys() - charts}
    assert others == {
        f"{folder}/evaluation/summary.csv": "Scores",
        f"{folder}/report/report.html": "Report",
    }
    # What is shown there has nothing beside it.
    page = Page(shown[f"{folder}/report/report.html"].data.decode())
    assert page.links
    assert all(str(link).startswith(("data:", "#", "https:")) for link in page.links)


def test_every_image_has_its_maps_and_its_mask(finished):
    run = Run.open(finished / "results/tiny")
    for recipe in run.config.recipes:
        store: Any = zarr.open(finished / "results/tiny/maps" / f"{recipe}.zarr", mode="r")
        for row in run.index.rows:
            maps = store[f"{row.image}/map"][...]
            assert maps.shape == (len(row.labels), 64, 64)
            assert maps.min() >= 0
            assert maps.max() <= 1
            mask = read_mask(finished / run.result("masks", recipe, row.image))
            assert set(np.unique(mask)) <= {0, *run.class_values(row)}


def test_samples_per_chunk_is_honoured(finished):
    store: Any = zarr.open(finished / "results/tiny/saliency/crops.zarr", mode="r")
    image = store["train_0000"]
    assert sorted(image.group_keys()) == ["0", "1", "2"]
    assert [image[name].attrs["samples"] for name in "012"] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]


def test_a_second_run_has_nothing_to_do(finished, config):
    assert planned(finished, config) == {}


def test_a_second_run_reads_no_result(copied, config, tmp_path):
    def read(name):
        done = snakemake(copied, config=config, opened=tmp_path / name)
        assert done.returncode == 0, done.stdout + done.stderr
        files = (tmp_path / name).read_text().splitlines()
        return {file.split("results/tiny/")[-1] for file in files if "/c/" in file}

    assert read("nothing to do") == set()
    # A missing receipt makes a job look at what its batch has.
    (copied / "results/tiny/receipts/maps/cam/val-00000.json").unlink()
    assert any(file.startswith("maps/cam.zarr/val_0001/map/c/") for file in read("a receipt"))


@pytest.mark.parametrize("stage", ["saliency", "maps"])
def test_what_a_repair_removed_is_made_again(copied, config, stage):
    store = copied / "results/tiny" / stage / "crops.zarr"
    good = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    path = max(path for path in good if "c" in path.parts)
    path.write_bytes(path.read_bytes()[:-1])
    verify = [sys.executable, "-m", "ws3", "verify", "results/tiny", "--repair"]
    subprocess.run(verify, cwd=copied, env=environment(), check=True)
    before = len(computed(copied, stage))
    assert snakemake(copied, config=config).returncode == 0
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == good
    assert len(computed(copied, stage)) == before + 1


def test_one_missing_mask_is_made_again_and_no_other(copied, config):
    run = Run.open(copied / "results/tiny")
    mask = copied / run.result("masks", "cam", "train_0001")
    good = mask.read_bytes()
    mask.unlink()
    (copied / "results/tiny/receipts/masks/cam/train-00000.json").unlink()
    plan = planned(copied, config)
    assert plan["masks"] == 1
    assert plan.keys() <= {"masks", "evaluate", "summary", "report"}
    before = len(computed(copied, "masks"))
    assert snakemake(copied, config=config).returncode == 0
    assert mask.read_bytes() == good
    assert computed(copied, "masks")[before:] == ["train_0001"]


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (
            {"masks__crf": {"iterations": 5}},
            {"masks": 6, "train_segmentation": 1, "predictions": 1, "evaluate": 2},
        ),
        (
            {"recipes__crops__samples__count": 20},
            {"saliency": 3, "maps": 3, "threshold": 1, "masks": 3},
        ),
        (
            {"recipes__cam__aggregation": {"smoothing": 0.01}},
            {"maps": 3, "threshold": 1, "masks": 3, "evaluate": 2},
        ),
        (
            {"recipes__new": {"preset": "gradient"}},
            {"saliency": 3, "maps": 3, "threshold": 1, "masks": 3, "evaluate": 1},
        ),
        ({"segmentation__epochs": 2}, {"train_segmentation": 1, "predictions": 1}),
        ({"segmentation__test_flip": False}, {"predictions": 1, "evaluate": 1}),
        ({"images_per_job": 2}, {"saliency": 10, "maps": 10, "masks": 10}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_changed_parameter_reruns_what_depends_on_it(finished, config, change, rules):
    plan = planned(finished, changed(config, **change))
    assert {rule: plan[rule] for rule in rules} == rules
    stages = ["index", "train_classifier", "saliency", "maps", "threshold", "masks"]
    first = (
        min(stages.index(rule) for rule in rules if rule in stages)
        if (set(rules) & set(stages))
        else len(stages)
    )
    assert not set(stages[:first]) & plan.keys()


def test_a_second_round_trains_on_what_the_first_network_sees(copied, config):
    two = changed(
        config, recipes__second={"network": "crops"}, segmentation__recipes=["crops", "second"]
    )
    plan = planned(copied, two)
    assert (plan["maps"], plan["threshold"], plan["masks"]) == (3, 1, 3)
    assert (plan["train_segmentation"], plan["predictions"]) == (1, 1)
    assert "saliency" not in plan
    done = snakemake(copied, config=two)
    assert done.returncode == 0, done.stdout + done.stderr
    with (copied / "results/tiny/evaluation/summary.csv").open() as file:
        rows = [row["stage"] for row in csv.DictReader(file) if row["recipe"] == "second"]
    assert rows == ["maps", "masks", "segmentation"]
    assert planned(copied, two) == {}
    # All of the second round follows the first network, and the views that it sees.
    again = planned(copied, changed(two, segmentation__epochs=2))
    assert (again["train_segmentation"], again["maps"], again["masks"]) == (2, 3, 3)
    mirrored = planned(copied, changed(two, segmentation__test_flip=False))
    assert (mirrored["maps"], mirrored["predictions"], mirrored["masks"]) == (3, 2, 3)


def test_more_samples_are_added_to_those_that_are_there(copied, config):
    more = changed(config, recipes__crops__samples__count=20)
    store = copied / "results/tiny/saliency/crops.zarr"
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*") if p.is_file()}
    done = snakemake(copied, config=more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    opened: Any = zarr.open(store, mode="r")
    assert sorted(opened["val_0000"].group_keys()) == ["0", "1", "2", "3", "4"]


def test_batches_of_another_size_reuse_all_results(copied, config):
    before = [len(computed(copied, stage)) for stage in ("saliency", "maps", "masks")]
    done = snakemake(copied, config=changed(config, images_per_job=3))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [len(computed(copied, stage)) for stage in ("saliency", "maps", "masks")] == before


def test_figures_without_the_counts_of_the_images_are_formed_again(copied, config):
    for path in (copied / "results/tiny/evaluation").glob("*.images.csv"):
        path.unlink()
    assert planned(copied, config) == {"evaluate": 2, "summary": 1, "report": 1}


def test_the_run_ends_with_the_same_bytes_one_image_a_job(finished, config, tmp_path):
    done = snakemake(tmp_path, config=changed(config, images_per_job=1))
    assert done.returncode == 0, done.stdout + done.stderr
    for pattern in ("saliency/**/*", "maps/**/*", "masks/**/*", "evaluation/*"):
        ours = {
            path.relative_to(finished): path.read_bytes()
            for path in (finished / "results/tiny").glob(pattern)
            if path.is_file()
        }
        theirs = {
            path.relative_to(tmp_path): path.read_bytes()
            for path in (tmp_path / "results/tiny").glob(pattern)
            if path.is_file()
        }
        assert ours == theirs, pattern
        assert ours
