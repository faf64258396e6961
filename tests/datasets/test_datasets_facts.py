"""The facts of a dataset: what is counted, what is warned of, and what can't be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import listing_of, write_image, write_mask
from PIL import Image

from ws3.config.dataset import Folder
from ws3.datasets.facts import DatasetFacts, dataset_facts
from ws3.datasets.index import check_files, try_files
from ws3.errors import Ws3Error

Tree = Callable[..., Path]
LABELS = {"a": "cat", "b": "dog", "c": "cat;dog", "d": ""}


def facts_of(root: Path, **keys: Any) -> DatasetFacts:
    listing = listing_of(Folder(kind="folder", root=str(root), **keys))
    return dataset_facts(listing, check_files(listing).rows)


def told(sentences: tuple[str, ...], words: str) -> bool:
    return any(words in sentence for sentence in sentences)


def test_a_dataset_in_order_is_counted_without_a_warning(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "val.txt").write_text("c\n")
    found = facts_of(root, masks="masks", val="val.txt")
    assert found.facts == (
        "4 pictures: 3 train, 1 val",
        "2 classes, with the pictures that show them: cat 2, dog 2",
        "1 picture without labels, which show none of the classes",
        "4 masks of ground truth found",
        "4 of 4 masks hold just the classes of the labels",
    )
    assert found.warnings == ()


def test_classes_are_cut_at_ten(folder_tree: Tree) -> None:
    found = facts_of(folder_tree({f"i{k}": f"c{k:02}" for k in range(13)}))
    assert "13 classes, with the pictures that show them: c00 1, " in found.facts[1]
    assert found.facts[1].endswith("c09 1 and 3 more")


def test_masks_that_are_missing_are_counted(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "masks" / "b.png").unlink()
    found = facts_of(root, masks="masks")
    assert told(found.facts, "3 masks of ground truth found, none for 1 pictures")
    assert told(facts_of(root).facts, "no mask of ground truth")


def test_files_and_rows_without_each_other_are_named(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    write_image(root / "images" / "stray.jpg")
    (root / "images" / "notes.txt").write_text("no picture")
    (root / "images" / "b.jpg").unlink()
    listing = listing_of(Folder(kind="folder", root=str(root)))
    rows = check_files(listing, on_problem="skip").rows
    found = dataset_facts(listing, rows)
    assert told(found.warnings, "1 picture file has no row in labels.csv, such as stray.jpg")
    assert told(found.warnings, "1 row has no picture file, such as b")
    assert told(found.facts, "1 picture skipped")


def test_labels_that_are_no_classes_are_warned_of(folder_tree: Tree) -> None:
    root = folder_tree({"a": "dog,cat", "b": "Tree", "c": "tree", "d": "nan", "e": "['x']"})
    (root / "classes.txt").write_text("dog,cat\nTree\ntree\nnan\n['x']\nunseen\n")
    found = facts_of(root, classes="classes.txt")
    assert told(found.warnings, "'unseen' is a class that no picture shows")
    assert told(found.warnings, "'dog,cat', \"['x']\" look like lists")
    assert told(found.warnings, "'Tree' and 'tree' differ only in capitals, and are 2 classes")
    assert told(found.warnings, "'nan' counts as a class")


def test_one_class_needs_pictures_without_it(folder_tree: Tree) -> None:
    words = "there is one class and every picture shows it"
    assert told(facts_of(folder_tree({"a": "cat", "b": "cat"})).warnings, words)
    assert not told(facts_of(folder_tree({"a": "cat", "b": ""})).warnings, words)


def test_masks_that_contradict_the_labels_are_counted_by_kind(folder_tree: Tree) -> None:
    root = folder_tree(
        {"fine": "cat", "void": "cat", "other": "dog", "half": "cat;dog", "none": ""}
    )
    write_mask(root / "masks" / "void.png", 255)
    write_mask(root / "masks" / "other.png", 1)
    write_mask(root / "masks" / "half.png", 2)
    write_mask(root / "masks" / "none.png", 2, 255)
    found = facts_of(root, masks="masks")
    assert told(found.facts, "1 of 5 masks hold just the classes of the labels")
    assert found.warnings == (
        "1 of 5 masks hold no class at all, though their pictures have labels, such as that of "
        "void: it holds no class, the labels are cat",
        "2 of 5 masks hold a class that their pictures aren't labelled with, such as that of "
        "other: it holds 1 (cat), the labels are dog",
        "2 of 5 masks hold not every class that their pictures are labelled with, such as that of "
        "other: it holds 1 (cat), the labels are dog",
    )


def test_masks_in_another_class_order_are_refused(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat", "b": "dog"})
    write_mask(root / "masks" / "a.png", 2)
    write_mask(root / "masks" / "b.png", 1)
    with pytest.raises(Ws3Error, match=r"a\.png: like all 2 masks it contradicts the labels: it "):
        facts_of(root, masks="masks")


def test_one_small_object_that_no_mask_shows_proves_nothing(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat;dog", "b": "cat"})
    write_mask(root / "masks" / "a.png", 1)
    (root / "masks" / "b.png").unlink()
    assert told(facts_of(root, masks="masks").warnings, "1 of 1 mask hold not every class")


def test_a_class_that_all_masks_lack_is_refused(folder_tree: Tree) -> None:
    root = folder_tree(dict.fromkeys("abc", "cat;dog"))
    for name in "abc":
        write_mask(root / "masks" / f"{name}.png", 1)
    with pytest.raises(Ws3Error, match="like all 3 masks it contradicts the labels"):
        facts_of(root, masks="masks")


def test_binary_masks_tell_nothing_of_several_classes(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat", "b": "dog", "c": ""})
    for name in "abc":
        write_mask(root / "masks" / f"{name}.png", *((255,) if name != "c" else ()))
    with pytest.raises(Ws3Error, match=r"holds 0 and 255 only.*with 2 classes it can't be told"):
        facts_of(root, masks="masks")


def test_binary_masks_mark_a_single_class(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat", "b": ""})
    for name in "ab":
        gray = np.zeros((16, 24), np.uint8)
        gray[0, :4] = 255 if name == "a" else 0
        Image.fromarray(gray).save(root / "masks" / f"{name}.png")
    found = facts_of(root, masks="masks")
    assert told(found.facts, "2 of 2 masks hold just the classes of the labels")


def test_many_missing_pictures_are_one_line(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    for name in LABELS:
        (root / "images" / f"{name}.jpg").unlink()
    with pytest.raises(Ws3Error) as error:
        facts_of(root)
    assert str(error.value).startswith("none of the 4 images is there; the first is ")
    assert "\n" not in str(error.value)


def test_a_sample_is_opened_and_the_rest_is_counted_all_the_same(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    for name in "bcd":
        (root / "images" / f"{name}.jpg").write_bytes(b"no picture")
    listing = listing_of(Folder(kind="folder", root=str(root), masks="masks"))
    rows, opened, refusal = try_files(listing, 1)
    assert (opened, refusal, rows[0].width) == (1, None, 24)
    found = dataset_facts(listing, rows, opened)
    assert told(found.facts, "4 pictures: 4 train")
    assert told(found.facts, "1 of 1 mask that were opened hold just the classes")
    assert try_files(listing, 0)[1:] == (0, None)
    _, opened, refusal = try_files(listing, None)
    assert opened == 4
    assert str(refusal).startswith("3 problems in the dataset")
