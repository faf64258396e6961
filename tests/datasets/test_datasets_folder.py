"""A user's own folder: every way of writing it down, and every slip."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_files import listing_of, write_image

from ws3.config.dataset import Folder
from ws3.datasets import dataset_root, list_dataset
from ws3.datasets.index import check_files
from ws3.datasets.names import SUFFIXES
from ws3.errors import Ws3Error

Tree = Callable[..., Path]
LABELS = {"a": "dog", "b": "cat;dog", "c": "cat"}


def folder(root: Path, **keys: str) -> Folder:
    return Folder(kind="folder", root=str(root), **keys)


def test_listing_and_index(folder_tree: Tree, tmp_path: Path) -> None:
    root = folder_tree(LABELS)
    listing = list_dataset(folder(root, masks="masks"), tmp_path / "run")
    assert listing.classes == ("cat", "dog")
    assert [(r.image, r.split, r.labels) for r in listing.rows] == [
        ("a", "train", ("dog",)),
        ("b", "train", ("cat", "dog")),
        ("c", "train", ("cat",)),
    ]
    image, mask = root / "images" / "a.jpg", root / "masks" / "a.png"
    assert (listing.rows[0].path, listing.rows[0].mask) == (str(image), str(mask))
    facts = [f"{p.stat().st_size}-{p.stat().st_mtime_ns}" for p in (image, mask)]
    assert listing.rows[0].stat_key == ";".join(facts)
    assert all(row.problem == "" for row in check_files(listing).rows)
    assert dataset_root(folder(root), "run") == root


def test_the_stat_key_follows_the_file(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    before = listing_of(folder(root)).rows
    os.utime(root / "images" / "b.jpg", ns=(1, 1))
    after = listing_of(folder(root)).rows
    assert [x.stat_key == y.stat_key for x, y in zip(before, after, strict=True)] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".JPG", ".Jpeg"])
def test_every_ending(folder_tree: Tree, suffix: str) -> None:
    root = folder_tree({"a.b": "cat"}, suffix)
    assert listing_of(folder(root)).rows[0].path == str(root / "images" / f"a.b{suffix}")


def test_ids_with_ending(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "labels.csv").write_text("image,labels\na.jpg,dog\nb.JPG,cat\n")
    (root / "val.txt").write_text("b.jpg\n")
    rows = listing_of(folder(root, val="val.txt")).rows
    assert [(r.image, r.split, Path(r.path).name) for r in rows] == [
        ("a", "train", "a.jpg"),
        ("b", "val", "b.jpg"),
    ]


def test_excel_and_blanks(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    text = "image , labels\r\n a , dog ; cat;dog; \r\n\r\n,\r\nb,Éléphant\r\n"
    (root / "labels.csv").write_bytes(text.encode("utf-8-sig"))
    listing = listing_of(folder(root))
    assert listing.classes == ("cat", "dog", "Éléphant")
    assert [r.labels for r in listing.rows] == [("cat", "dog"), ("Éléphant",)]


def test_class_file_gives_the_order(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "classes.txt").write_text("dog\n\n horse \ncat\n")
    listing = listing_of(folder(root, classes="classes.txt"))
    assert listing.classes == ("dog", "horse", "cat")
    assert listing.rows[1].labels == ("dog", "cat")


def test_splits(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "train.txt").write_text("c\na\n")
    (root / "val.txt").write_text("b\n")
    rows = listing_of(folder(root, train="train.txt", val="val.txt")).rows
    assert [(r.image, r.split) for r in rows] == [("c", "train"), ("a", "train"), ("b", "val")]
    rows = listing_of(folder(root, val="val.txt")).rows
    assert [(r.image, r.split) for r in rows] == [("a", "train"), ("c", "train"), ("b", "val")]


def test_masks_are_optional_per_image(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "masks" / "b.png").unlink()
    rows = listing_of(folder(root, masks="masks")).rows
    assert [bool(r.mask) for r in rows] == [True, False, True]
    assert [";" in r.stat_key for r in rows] == [True, False, True]
    assert all(r.mask == "" for r in listing_of(folder(root)).rows)


def test_a_missing_image_is_kept_and_reported(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "images" / "b.jpg").unlink()
    listing = listing_of(folder(root))
    assert listing.rows[1].stat_key == "missing"
    with pytest.raises(Ws3Error, match=r"1 problem in(.|\n)*b: .*images/b: no such file"):
        check_files(listing)


def test_two_files_of_one_name(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    write_image(root / "images" / "a.png")
    with pytest.raises(Ws3Error, match=r"a: several files bear this name: a\.jpg, a\.png"):
        check_files(listing_of(folder(root)))


def test_labels_outside_the_class_file_are_reported(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "classes.txt").write_text("dog\nCat\n")
    listing = listing_of(folder(root, classes="classes.txt"))
    assert listing.rows[1].labels == ("dog", "cat")
    with pytest.raises(Ws3Error, match=r"2 problems(.|\n)*b: label 'cat'(.|\n)*c: label 'cat'"):
        check_files(listing)


def test_an_image_listed_twice_is_reported(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    with (root / "labels.csv").open("a") as file:
        file.write("a,cat\n")
    (root / "train.txt").write_text("a\nb\n")
    for keys in ({}, {"train": "train.txt"}):
        with pytest.raises(Ws3Error, match="a: 2 times in train"):
            check_files(listing_of(folder(root, **keys)))


def test_split_ids_without_labels(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    (root / "val.txt").write_text("b\n" + "".join(f"x{k}\n" for k in range(7)))
    with pytest.raises(Ws3Error, match=r"val\.txt: .*x0, x1, x2, x3, x4 and 2 more"):
        listing_of(folder(root, val="val.txt"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "should be 'image,labels'"),
        (b"image;labels\na;cat\n", "'image;labels'.*should be 'image,labels'"),
        (b"file,labels\na,cat\n", "'file,labels'.*should be"),
        (b"image,labels\na,cat\nb,cat,dog\n", "line 3 .*joined by ';'.*b,cat,dog"),
        (b"image,labels\na\n", "line 2"),
        (b"image,labels\n,cat\n", "line 2"),
        (b"image,labels\na,caf\xe9\n", "UTF-8"),
        (b'image,labels\na,"cat\n', "no CSV table"),
        (b"image,labels\n", "no classes"),
        (b"image,labels\na,background;cat\n", "leave out 'background'"),
    ],
)
def test_malformed_tables(folder_tree: Tree, content: bytes, words: str) -> None:
    root = folder_tree(LABELS)
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(Ws3Error, match=rf"labels\.csv: .*{words}"):
        listing_of(folder(root))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no classes"),
        ("cat\ndog\ncat\n", "'cat' is listed twice"),
        ("cat;dog\n", "can't be a class name"),
        ("cat\nBackground\n", "leave out 'Background'"),
        ("cat\n_background_\n", "leave out '_background_'"),
        ("caf\u00e9\ncafe\u0301\n", "can't be told apart"),
        ("tree\u00a0frog\ntree frog\n", "can't be told apart"),
        ("".join(f"c{k}\n" for k in range(255)), "255 classes"),
    ],
)
def test_malformed_class_files(folder_tree: Tree, content: str, words: str) -> None:
    root = folder_tree(LABELS)
    (root / "classes.txt").write_text(content)
    with pytest.raises(Ws3Error, match=rf"classes\.txt: .*{words}"):
        listing_of(folder(root, classes="classes.txt"))


@pytest.mark.parametrize(
    "keys",
    [
        {"images": "gone"},
        {"labels": "gone"},
        {"masks": "gone"},
        {"classes": "gone"},
        {"train": "gone"},
        {"val": "gone"},
    ],
)
def test_missing_parts_are_named(folder_tree: Tree, keys: dict[str, str]) -> None:
    with pytest.raises(Ws3Error, match="gone: No such file or directory; expected here"):
        listing_of(folder(folder_tree(LABELS), **keys))


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(Ws3Error, match="nowhere"):
        listing_of(folder(tmp_path / "nowhere"))


@pytest.mark.real_data
def test_photographs_in_voc_layout() -> None:
    place = os.environ.get("WS3_REAL_DATA")
    if not place:
        pytest.skip("WS3_REAL_DATA names no folder of photographs")
    config = folder(
        Path(place) / "pascal10",
        images="JPEGImages",
        masks="SegmentationClass",
        classes="classes.txt",
        train="ImageSets/Segmentation/train.txt",
        val="ImageSets/Segmentation/val.txt",
    )
    listing = listing_of(config)
    assert [sum(r.split == s for r in listing.rows) for s in ("train", "val")] == [560, 133]
    assert len(listing.classes) == 20
    index = check_files(listing)
    assert all(r.width and r.height and r.mask_sha256 and not r.problem for r in index.rows)
