"""Other datasets than the drawn one, through Snakemake."""

from __future__ import annotations

import csv

import pytest
import yaml
from snake import REPOSITORY, planned, snakemake

from ws3.datasets.voc import CLASSES

pytestmark = pytest.mark.slow


def test_the_voc_configuration_plans_a_tree_in_voc_layout(voc_tree, tmp_path):
    train = {f"2007_{number:06}": [CLASSES[number % 20]] for number in range(130)}
    val = {f"2008_{number:06}": ["dog", "person"] for number in range(10)}
    root = voc_tree({"trainaug": train, "val": val})
    config = yaml.safe_load((REPOSITORY / "config/voc12.yaml").read_text())
    config["dataset"]["root"] = str(root)
    done = snakemake(tmp_path, "--dry-run", config=config)
    assert done.returncode != 0
    assert "ImageSets/Segmentation/train.txt: No such file" in done.stdout + done.stderr
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_000001\n2007_000007\n")
    jobs = planned(tmp_path, config)
    # 130 training and 10 validation images, 6 recipes: 3 and 1 batches of 64, 1 and 1 of 512.
    assert (jobs["saliency"], jobs["maps"], jobs["masks"]) == (24, 12, 12)
    assert (jobs["train_segmentation"], jobs["predictions"], jobs["evaluate"]) == (2, 2, 6)


@pytest.fixture
def folder_config(folder_tree):
    images = {f"p10_{number}": "cat;dog" if number % 3 else "cat" for number in range(6)}
    root = folder_tree(images)
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "val.txt").write_text("p10_4\np10_5\n")
    return root, {
        "run": "mine",
        "device": "cpu",
        "threads": 1,
        "dataset": {
            "kind": "folder",
            "root": str(root),
            "classes": "classes.txt",
            "val": "val.txt",
        },
        "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1, "batch_size": 4},
        "recipes": {"cam": {"method": "cam"}},
        "masks": {"crf": "none"},
        "images_per_job": 2,
    }


def test_photographs_without_any_mask_end_with_masks_and_a_report(folder_config, tmp_path):
    _, config = folder_config
    done = snakemake(tmp_path, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "results/mine/masks/cam").glob("*.png"))) == 6
    with (tmp_path / "results/mine/evaluation/summary.csv").open() as file:
        assert list(csv.DictReader(file)) == []
    assert "p10_4" in (tmp_path / "results/mine/report/index.html").read_text()


def test_a_changed_image_or_label_reruns_its_batch_alone(folder_config, tmp_path):
    root, config = folder_config
    assert snakemake(tmp_path, config=config).returncode == 0
    assert planned(tmp_path, config) == {}
    photograph = root / "images/p10_5.jpg"
    photograph.write_bytes((root / "images/p10_1.jpg").read_bytes())
    plan = planned(tmp_path, config)
    assert (plan["saliency"], plan["maps"], plan["masks"]) == (1, 1, 1)
    assert not {"index", "train_classifier"} & plan.keys()
    assert snakemake(tmp_path, config=config).returncode == 0
    assert planned(tmp_path, config) == {}
    mask = root.parent / "results/mine/masks/cam"
    assert (mask / "p10_5.png").read_bytes()[60:] != b""
    labels = root / "labels.csv"
    labels.write_text(labels.read_text().replace("p10_4,cat;dog", "p10_4,dog"))
    plan = planned(tmp_path, config)
    assert (plan["saliency"], plan["maps"], plan["masks"]) == (1, 1, 1)
    assert "train_classifier" not in plan
    done = snakemake(tmp_path, config=config)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bad_images_stop_a_run_together_or_are_left_out(folder_config, tmp_path):
    root, config = folder_config
    whole = (root / "images/p10_1.jpg").read_bytes()
    (root / "images/p10_1.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "images/p10_5.jpg").write_bytes(b"not an image")
    stopped = snakemake(tmp_path, config=config)
    text = stopped.stdout + stopped.stderr
    assert stopped.returncode != 0
    assert "2 problems in the dataset" in text
    assert "p10_1.jpg" in text
    assert "p10_5.jpg" in text
    assert "Traceback" not in text
    done = snakemake(tmp_path, config={**config, "on_bad_image": "skip"})
    assert done.returncode == 0, done.stdout + done.stderr
    masks = {path.stem for path in (tmp_path / "results/mine/masks/cam").glob("*.png")}
    assert masks == {"p10_0", "p10_2", "p10_3", "p10_4"}
    page = (tmp_path / "results/mine/report/index.html").read_text()
    assert "p10_1" in page
    assert "p10_5" in page
