"""YOLO's trees as users have them: splits, names that come twice, keypoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_files import write_image

from ws3.datasets.importing.look import look
from ws3.errors import Ws3Error

BOX = "0 0.8 0.8 0.1 0.1"
NAMES = "names: [fox, tree]\n"


def tree(root: Path, pictures: list[str], texts: dict[str, str]) -> None:
    """Write pictures, each another one, and texts."""
    for seed, name in enumerate(pictures):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / name, seed=seed, size=(24, 16))
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def shown(root: Path) -> dict[str, tuple[tuple[str, ...], str | None]]:
    """Return labels and split of each picture by its path."""
    return {
        one.path.relative_to(root).as_posix(): (one.labels, one.split)
        for one in look(root).pictures
    }


def test_the_same_name_in_two_splits(tmp_path: Path) -> None:
    tree(
        tmp_path,
        ["images/train/1.jpg", "images/val/1.jpg", "images/val/2.jpg"],
        {"labels/train/1.txt": BOX, "labels/val/1.txt": "1 .5 .5 .1 .1", "data.yaml": NAMES},
    )
    assert shown(tmp_path) == {
        "images/train/1.jpg": (("fox",), "train"),
        "images/val/1.jpg": (("tree",), "val"),
        "images/val/2.jpg": ((), "val"),
    }
    assert any("1 picture without a label file" in note for note in look(tmp_path).notes)


def test_a_label_file_without_its_picture_takes_no_other(tmp_path: Path) -> None:
    tree(
        tmp_path,
        ["images/val/1.jpg"],
        {"labels/train/1.txt": BOX, "labels/val/1.txt": "1 .5 .5 .1 .1", "data.yaml": NAMES},
    )
    assert shown(tmp_path) == {"images/val/1.jpg": (("tree",), "val")}
    assert any("1 label file without a picture" in note for note in look(tmp_path).notes)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("images/part1", "images/part2"),
        ("../images/part1", "./images/part2/"),
        ("/home/me/set/images/part1", "C:\\me\\images\\part2"),
        ("[images/part1]", "[images/part2]"),
        ("first.txt", "./second.txt"),
    ],
)
def test_splits_of_data_yaml(tmp_path: Path, train: str, val: str) -> None:
    tree(
        tmp_path,
        ["images/part1/a.jpg", "images/part2/b.jpg"],
        {
            "labels/part1/a.txt": BOX,
            "labels/part2/b.txt": "",
            "data.yaml": f"{NAMES}path: /home/me\ntrain: {train}\nval: {val}\n",
            "first.txt": "./images/part1/a.jpg\n",
            "second.txt": "/home/me/images/part2/b.jpg\n",
        },
    )
    assert shown(tmp_path) == {
        "images/part1/a.jpg": (("fox",), "train"),
        "images/part2/b.jpg": ((), "val"),
    }


def test_keypoints_are_no_outline(tmp_path: Path) -> None:
    texts = {"labels/1.txt": f"{BOX} .1 .1 .2 .2 .3 .9", "data.yaml": NAMES + "kpt_shape: [3, 2]"}
    tree(tmp_path, ["images/1.jpg"], texts)
    (picture,) = look(tmp_path).pictures
    assert picture.labels == ("fox",)
    assert picture.draw is None


def test_lists_of_classes_that_differ_are_refused(tmp_path: Path) -> None:
    tree(
        tmp_path,
        ["train/images/a.jpg", "val/images/b.jpg"],
        {
            "train/labels/a.txt": BOX,
            "val/labels/b.txt": BOX,
            "train/data.yaml": NAMES,
            "val/data.yaml": "names: [tree, fox]",
        },
    )
    with pytest.raises(Ws3Error, match=r"val/data\.yaml: its names are others"):
        look(tmp_path)


def test_damaged_yaml_is_refused(tmp_path: Path) -> None:
    texts = {"labels/1.txt": BOX, "data.yaml": "names: [fox\n tree: {"}
    tree(tmp_path, ["images/1.jpg"], texts)
    with pytest.raises(Ws3Error, match=r"data\.yaml"):
        look(tmp_path)
