"""Folders per class, and trees of pictures and masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from import_trees import (
    CLASSES,
    LABELS,
    SIZE,
    drawn,
    expected,
    labels_of,
    true_mask,
    write_gray,
    write_pictures,
)
from PIL import Image

from ws3.datasets.importing.look import look
from ws3.errors import Ws3Error


def class_tree(root: Path, none: str = "no_label", split: str = "") -> Path:
    write_pictures(root.parent / "pictures")
    for name, labels in LABELS.items():
        for label in labels or (none,):
            (root / split / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(root.parent / "pictures" / name, root / split / label / name)
    return root


@pytest.mark.parametrize("none", ["no_label", "_unlabeled", "Unlabelled", "background"])
def test_a_picture_in_two_folders_has_both_labels(tmp_path: Path, none: str) -> None:
    found = look(class_tree(tmp_path / "tree", none))
    assert labels_of(found) == expected()
    assert found.classes == tuple(sorted(CLASSES))
    assert "2 pictures in several classes' folders: taken to show all of them" in found.notes


@pytest.mark.parametrize(
    ("name", "split"), [("train", "train"), ("valid", "val"), ("test", "test")]
)
def test_folders_of_splits_hold_folders_of_classes(tmp_path: Path, name: str, split: str) -> None:
    found = look(class_tree(tmp_path / "tree", split=name))
    assert labels_of(found) == expected()
    assert {picture.split for picture in found.pictures} == {split}


def test_train_is_a_class_among_others(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", ["a01.jpg"])
    write_pictures(tmp_path / "bus", ["a02.jpg"])
    assert look(tmp_path).classes == ("bus", "train")


def test_other_bytes_under_one_name_are_another_picture(tmp_path: Path) -> None:
    write_pictures(tmp_path / "fox", ["a01.jpg"])
    write_pictures(tmp_path / "tree", ["a02.jpg"])
    (tmp_path / "tree" / "a02.jpg").rename(tmp_path / "tree" / "a01.jpg")
    assert [p.labels for p in look(tmp_path).pictures] == [("fox",), ("tree",)]


@pytest.mark.parametrize("folders", [["images"], ["images", "masks"], ["train", "val"], ["."]])
def test_folders_that_are_no_classes_tell_no_labels(tmp_path: Path, folders: list[str]) -> None:
    for folder in folders:
        write_pictures(tmp_path / folder)
    with pytest.raises(
        Ws3Error, match=r"nothing that tells their labels|nothing names the classes"
    ):
        look(tmp_path)


def mask_tree(root: Path, image: str, mask: str) -> Path:
    for name in LABELS:
        stem, split = name.rpartition(".")[0], "train" if name < "b" else "val"
        long = {"train": "training", "val": "validation"}[split]
        at = root / image.format(split=split, long=long, stem=stem)
        at.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE).save(at)
        if LABELS[name]:
            write_gray(root / mask.format(split=split, long=long, stem=stem), true_mask(name))
    return root


LAYOUTS = {
    "cityscapes": (
        "leftImg8bit/{split}/{stem}_leftImg8bit.jpg",
        "gtFine/{split}/{stem}_gtFine_labelIds.png",
    ),
    "kitti": ("{split}/image_2/{stem}.jpg", "{split}/semantic/{stem}.png"),
    "camvid": ("{split}/{stem}.jpg", "{split}annot/{stem}.png"),
    "mmsegmentation": ("images/{long}/{stem}.jpg", "annotations/{long}/{stem}.png"),
    "marked": ("pictures/{stem}.jpg", "masks/{stem}_mask.png"),
}


@pytest.mark.parametrize(("image", "mask"), LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("head", [[], ["_background_"]])
def test_masks_tell_labels_where_a_list_names_the_classes(
    tmp_path: Path, image: str, mask: str, head: list[str]
) -> None:
    root = mask_tree(tmp_path, image, mask)
    (root / "label_colors.txt").write_text("".join(f" {name}\n" for name in [*head, *CLASSES]))
    found = look(root)
    assert found.classes == CLASSES
    pictures = {
        p.path.name.rpartition(".")[0].replace("_leftImg8bit", ""): p for p in found.pictures
    }
    for name, labels in LABELS.items():
        picture = pictures.get(name.rpartition(".")[0])
        assert (picture is None) == (not labels)
        if picture is not None:
            assert set(picture.labels) == set(labels)
            assert (drawn(found, picture.path.name) == true_mask(name)).all()
    assert any(note.startswith("1 picture without a mask: left out") for note in found.notes)


def test_masks_without_names_are_refused(tmp_path: Path) -> None:
    root = mask_tree(tmp_path, "pictures/{stem}.jpg", "masks/{stem}.png")
    with pytest.raises(Ws3Error, match=r"nothing names the classes; add a file classes.txt"):
        look(root)


def test_a_numbering_from_0_without_background_is_refused(tmp_path: Path) -> None:
    root = tmp_path
    for name in LABELS:
        at = root / "pictures" / f"{name}.jpg"
        at.parent.mkdir(exist_ok=True)
        Image.new("RGB", SIZE).save(at)
        write_gray(root / "masks" / f"{name}.png", np.maximum(true_mask(name), 1) - 1)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    with pytest.raises(Ws3Error, match=r"0 may be 'Red Fox' or the background"):
        look(root)
