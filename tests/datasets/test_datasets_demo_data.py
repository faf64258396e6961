"""`ws3 demo-data` and `kind: synthetic` draw over nothing that isn't provably theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image
from snapshots import snapshot
from verified_run import ws3

SIZES = ("--train-images", 2, "--val-images", 1, "--size", 64)
OURS = {"version": 1, "size": 64, "classes": ["auklet", "bufflehead"], "seed": 0}


def jpegs(root):
    (root / "images").mkdir(parents=True)
    for name in ("train_0000.jpg", "mine.jpg"):
        Image.new("RGB", (9, 9)).save(root / "images" / name)


def dataset_of_another_program(root):
    jpegs(root)
    for name in ("images", "masks", "parts"):
        (root / name).mkdir(exist_ok=True)
        Image.new("L", (9, 9)).save(root / name / "train_0000.png")
    for name in ("labels.csv", "train.txt", "val.txt", "classes.txt"):
        (root / name).write_text("mine\n")
    (root / "dataset.json").write_text('{"name": "flowers", "size": 102}')


def half_of_a_dataset(root):
    root.mkdir()
    (root / "labels.csv").write_text("image,labels\na,cat\n")


def almost_ours(root):
    (root / "masks").mkdir(parents=True)
    Image.new("L", (9, 9)).save(root / "masks/train_0000.png")
    (root / "dataset.json").write_text(json.dumps(OURS))


def drawn(root):
    assert ws3("demo-data", root, *SIZES)[0] == 0


def a_picture_added(root):
    drawn(root)
    Image.new("RGB", (9, 9)).save(root / "images/mine.png")


def a_jpeg_added(root):
    drawn(root)
    (root / "parts/train_0000.jpg").write_bytes(b"mine")


def labels_edited(root):
    drawn(root)
    path = root / "labels.csv"
    path.write_text(path.read_text() + "mine,cat\n")


def split_edited(root):
    drawn(root)
    (root / "train.txt").write_text("train_0001\n")


def linked_folder(root):
    drawn(root)
    shutil.move(root / "masks", root.parent / "elsewhere")
    (root / "masks").symlink_to(root.parent / "elsewhere")


def linked_picture(root):
    drawn(root)
    shutil.move(root / "masks/train_0000.png", root.parent / "mine.png")
    (root / "masks/train_0000.png").symlink_to(root.parent / "mine.png")


KINDS = [
    jpegs,
    dataset_of_another_program,
    half_of_a_dataset,
    almost_ours,
    a_picture_added,
    a_jpeg_added,
    labels_edited,
    split_edited,
    linked_folder,
    linked_picture,
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_was_not_drawn_stays_as_it_is(tmp_path: Path, make, seed) -> None:
    root = tmp_path / "mine"
    make(root)
    before = snapshot(tmp_path)
    status, said = ws3("demo-data", root, *SIZES, "--seed", seed)
    assert status == 2
    assert len(said.splitlines()) == 1
    assert str(root) in said
    assert "choose an empty folder" in said
    assert snapshot(tmp_path) == before


def test_a_configured_root_that_was_not_drawn_stays_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    dataset_of_another_program(root)
    sizes = {"train_images": 2, "val_images": 1, "size": 64, "classes": 2}
    config = {
        "run": "r",
        "results": str(tmp_path / "results"),
        "dataset": {"kind": "synthetic", "root": str(root), **sizes},
        "recipes": {"cam": {"preset": "cam"}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    before = snapshot(root)
    status, said = ws3("index", "--config", tmp_path / "config.yaml")
    assert (status, f"{root}: holds images, but no dataset.json" in said) == (2, True)
    assert snapshot(root) == before


def test_other_parameters_draw_again_beside_files_of_the_users(tmp_path: Path) -> None:
    root = tmp_path / "drawn"
    drawn(root)
    (root / "notes.txt").write_text("mine")
    (root / "images/.tmp-train_0001.png-4711-0123abcd").write_bytes(b"half")
    before = snapshot(root / "notes.txt")
    assert ws3("demo-data", root, *SIZES, "--seed", 1)[0] == 0
    assert json.loads((root / "dataset.json").read_text())["seed"] == 1
    assert snapshot(root / "notes.txt") == before
    other = tmp_path / "other"
    assert ws3("demo-data", other, *SIZES, "--seed", 1)[0] == 0
    names = {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    assert {path.relative_to(root) for path in root.rglob("*.png")} <= names
    assert all((root / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_file_is_no_folder_to_draw_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    status, said = ws3("demo-data", tmp_path / "mine")
    assert (status, "this is a file" in said) == (2, True)
