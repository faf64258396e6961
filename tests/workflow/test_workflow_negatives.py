"""Pictures that show none of the classes, and a single class, from the table to the report."""

from __future__ import annotations

import csv
import subprocess

import numpy as np
import pytest
from dataset_files import write_image
from PIL import Image
from snake import environment, snakemake

import ws3
from ws3.run.folder import Run
from ws3.run.records import IndexFacts, read_record
from ws3.run.status import run_status
from ws3.run.verify import check_run

pytestmark = pytest.mark.slow

PICTURES = {
    "IMG (2).jpg": "cat",
    "sub/1.jpg": "cat",
    "sub/2.jpg": "",
    "été.jpg": "",
    "a.b.jpg": "cat",
    "healthy.png": "",
    "val/1.jpg": "cat",
    "val/2.jpg": "",
}


@pytest.fixture
def config(tmp_path):
    """One class, as many pictures without it, and masks of black and white."""
    root = tmp_path / "data"
    (root / "masks").mkdir(parents=True)
    for seed, (name, labels) in enumerate(PICTURES.items()):
        write_image(root / "images" / name, seed, (48, 40))
        mask = np.zeros((40, 48), np.uint8)
        mask[8:24, 8:24] = 255 if labels else 0
        path = root / "masks" / f"{name.rpartition('.')[0]}_mask.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(path)
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *PICTURES.items()])
    (root / "val.txt").write_text("val/1.jpg\nval/2.jpg\n")
    return {
        "run": "mine",
        "device": "cpu",
        "threads": 1,
        "dataset": {"kind": "folder", "root": str(root), "masks": "masks", "val": "val.txt"},
        "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1, "batch_size": 4},
        "recipes": {
            "cam": {"method": "cam"},
            "crops": {
                "preset": "gradient_crops",
                "samples": {"count": 4, "keep_samples": True},
                "aggregation": {"random_walk": {}},
            },
        },
        "masks": {"background": {"kind": "constant", "score": 0.3}, "crf": "none"},
        "segmentation": {
            "recipes": ["crops"],
            "fully_supervised": True,
            "architecture": "lraspp_mobilenet_v3_large",
            "epochs": 1,
            "batch_size": 2,
            "crop_size": 64,
        },
        "images_per_job": 8,
    }


def test_negatives_and_names_from_the_table_to_the_report(config, tmp_path):
    done = snakemake(tmp_path, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results" / "mine"
    log = (folder / "logs" / "index.log").read_text()
    assert "8 pictures: 6 train, 2 val. 1 class, with the pictures that show them: cat 4." in log
    assert "4 pictures without labels" in log
    assert "8 of 8 masks hold just the classes of the labels" in log
    assert "Warning" not in log

    run = Run.open(folder)
    assert read_record(run.index_facts, IndexFacts).warnings == ()
    assert check_run(run, repair=False)[1] == []
    for entry in run_status(run):
        assert (entry.missing, entry.skipped, entry.failed) == (0, 0, {}), entry

    opened = ws3.open_run(folder)
    assert set(opened.names.values()) == PICTURES.keys()
    for name, labels in PICTURES.items():
        for recipe in ("cam", "crops"):
            maps, mask = opened[recipe].maps(name), opened[recipe].mask(name)
            assert maps.shape == ((1 if labels else 0), 40, 48)
            assert labels or not mask.any()
            assert bool(opened[recipe].samples(name)) == bool(labels)
        assert opened.labels(name) == ((labels,) if labels else ())
    assert run.classifier.metrics.mean_ap is not None
    rows = {(row["recipe"], row["stage"]): row for row in opened.summary()}
    assert set(rows) >= {("crops", "maps"), ("crops", "masks"), ("ground_truth", "segmentation")}
    assert all(row["miou"] is not None for row in rows.values())
    assert snakemake(tmp_path, "--dry-run", config=config).stdout.count("Nothing to be done")

    def ws3_command(*arguments):
        called = subprocess.run(
            ["ws3", *map(str, arguments)],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert called.returncode == 0, called.stderr
        return called.stdout

    assert "4 pictures without labels" in ws3_command("status", folder)
    page = (folder / "report" / "index.html").read_text()
    assert "4 pictures without labels" in page
    assert "IMG (2).jpg [IMG_2-70d30a]" in page or "val/1.jpg" in page
    assert (tmp_path / ws3_command("show", folder, "sub/2.jpg").strip()).is_file()
    ws3_command("maps", folder, "--recipe", "cam", "--image", "IMG (2).jpg")
    out = tmp_path / "voc"
    ws3_command("export", folder, "--recipe", "cam", "--format", "voc", "--out", out)
    names = {path.stem for path in (out / "SegmentationClass").iterdir()}
    assert {"IMG_2-70d30a", "été", "a.b", "healthy"} <= names
    assert len(names) == len(PICTURES)
    ws3_command("export", folder, "--recipe", "cam", "--format", "coco", "--out", tmp_path / "co")
