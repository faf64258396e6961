"""Maps and regions of another program through Snakemake."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from snake import planned, snakemake

pytestmark = pytest.mark.slow


@pytest.fixture
def config(folder_tree, tmp_path):
    images = {f"p{number}": "cat;dog" if number % 3 else "cat" for number in range(6)}
    root = folder_tree(images)
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "val.txt").write_text("p4\np5\n")
    theirs = tmp_path / "theirs"
    segments = tmp_path / "segments"
    theirs.mkdir()
    segments.mkdir()
    for number, (name, labels) in enumerate(images.items()):
        with Image.open(root / "images" / f"{name}.jpg") as image:
            size = image.size[::-1]
        rng = np.random.default_rng(number)
        maps = {key: rng.random(size, np.float32) for key in range(len(labels.split(";")))}
        np.save(theirs / f"{name}.npy", np.array(maps, dtype=object))
        np.savez(segments / f"{name}.npz", rng.integers(1, 9, size))
    return theirs, {
        "run": "theirs",
        "device": "cpu",
        "threads": 1,
        "dataset": {
            "kind": "folder",
            "root": str(root),
            "classes": "classes.txt",
            "masks": "masks",
            "val": "val.txt",
        },
        "recipes": {"irn": {"import": {"maps": str(theirs)}}},
        "reference_recipe": "irn",
        "masks": {
            "crf": "none",
            "background": {"kind": "tuned", "split": "train"},
            "regions": {"kind": "files", "folder": str(segments)},
        },
        "images_per_job": 2,
    }


def test_an_import_ends_with_figures_and_a_report_and_trains_nothing(config, tmp_path):
    theirs, config = config
    done = snakemake(tmp_path, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results/theirs"
    assert not (folder / "classifier.pt").exists()
    assert not (folder / "saliency").exists()
    with (folder / "evaluation/summary.csv").open() as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["maps", "masks"]
    page = (folder / "report/index.html").read_text()
    assert "ecipe irn takes maps (npy-dict) of 6 images from" in page
    assert len(list((folder / "masks/irn").glob("*.png"))) == 6
    assert len(list((folder / "receipts/regions/all_recipes").glob("*.json"))) == 3
    assert "voted" in (folder / "thresholds/irn.json").read_text()
    assert planned(tmp_path, config) == {}
    # A changed file makes its own batch again, and what follows from it.

    with Image.open(tmp_path / "folder/images/p5.jpg") as image:
        size = image.size[::-1]
    np.save(theirs / "p5.npy", np.array({key: np.zeros(size) for key in (0, 1)}, dtype=object))
    plan = planned(tmp_path, config)
    assert (plan["maps"], plan["masks"]) == (1, 1)
    assert not {"index", "train_classifier", "regions"} & plan.keys()
    np.savez(tmp_path / "segments/p5.npz", np.ones(size, int))
    plan = planned(tmp_path, config)
    assert (plan["maps"], plan["regions"], plan["masks"]) == (1, 1, 1)
    done = snakemake(tmp_path, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert planned(tmp_path, config) == {}
