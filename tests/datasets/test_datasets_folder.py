"""A user's own folder: every way of writing it down, and every slip."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import HEIGHT, WIDTH, listing_of, write_image, write_mask
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ws3.config.dataset import Folder
from ws3.datasets import dataset_root, list_dataset
from ws3.datasets.colors import mask_colors
from ws3.datasets.index import check_files, row_named, rows_fingerprint
from ws3.datasets.names import SUFFIXES, image_ids, is_legal_id
from ws3.errors import Ws3Error
from ws3.run.samples import load_image

Tree = Callable[..., Path]
LABELS = {"a": "dog", "b": "cat;dog", "c": "cat"}


def folder(root: Path, **keys: Any) -> Folder:
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


NAMES = ("IMG (2).jpg", "été.png", "图片.jpg", "a.b.v2.jpg", "train/cat/1.jpg", "val/dog/1.jpg")


@pytest.fixture
def named_tree(tmp_path: Path) -> Path:
    """Pictures with blanks, accents, dots and folders, and a mask of each by its id."""
    root = tmp_path / "named"
    ids = image_ids(NAMES)
    for seed, name in enumerate(NAMES):
        write_image(root / "images" / name, seed)
        write_mask(root / "masks" / f"{ids[name]}.png", 1)
    rows = "".join(f"{name},cat\n" for name in NAMES)
    (root / "labels.csv").write_text(f"image,labels\n{rows}")
    return root


def test_names_stand_beside_ids(named_tree: Path) -> None:
    (named_tree / "val.txt").write_text("val/dog/1.jpg\n./images/图片.jpg\n")
    rows = listing_of(folder(named_tree, masks="masks", val="val.txt")).rows
    assert {row.name: row.image for row in rows} == image_ids(NAMES)
    assert all(Path(row.path).is_file() and Path(row.mask).is_file() for row in rows)
    assert [row.name for row in rows if row.split == "val"] == ["val/dog/1.jpg", "图片.jpg"]
    assert len({row.image for row in rows}) == len(NAMES)
    index = check_files(listing_of(folder(named_tree)))
    assert row_named(index.rows, "IMG (2).jpg") is row_named(index.rows, "IMG (2)")
    titles = {row.name: row.title for row in index.rows}
    assert titles["a.b.v2.jpg"] == "a.b.v2"
    assert titles["IMG (2).jpg"] == "IMG (2).jpg [IMG_2-70d30a]"


def test_a_name_is_taken_as_it_stands_where_a_file_bears_it(folder_tree: Tree) -> None:
    root = folder_tree({" a": "cat", "b\\c": "dog"})
    (root / "val.txt").write_text("b\\c\n")
    rows = check_files(listing_of(folder(root, masks="masks", val="val.txt"))).rows
    assert [(row.name, row.split) for row in rows] == [(" a.jpg", "train"), ("b\\c.jpg", "val")]
    (root / "val.txt").write_text("a.jpg\n")
    assert [row.name for row in listing_of(folder(root, val="val.txt")).rows][1] == " a.jpg"


@given(
    st.lists(
        st.text(st.sampled_from("aAbß1 ._-/\n"), min_size=1, max_size=8).map("{}.jpg".format)
        | st.sampled_from(["zarr.json.jpg", "x/zarr.json.png", f"{'n' * 201}.jpg"]),
        max_size=6,
    )
)
def test_ids_are_legal_and_no_two_are_alike(names: list[str]) -> None:
    ids = image_ids(names)
    assert list(ids) == list(dict.fromkeys(names))
    assert all(map(is_legal_id, ids.values()))
    assert len({image.casefold() for image in ids.values()}) == len(ids)


def test_a_name_is_in_the_message_about_its_picture(named_tree: Path) -> None:
    (named_tree / "images" / "IMG (2).jpg").write_bytes(b"no picture")
    with pytest.raises(Ws3Error, match=r"IMG \(2\)\.jpg \[IMG_2-70d30a\]: .*truncated"):
        check_files(listing_of(folder(named_tree)))


def test_a_picture_that_moves_to_another_folder_is_noticed(named_tree: Path) -> None:
    before = listing_of(folder(named_tree)).rows
    moved = before[4]._replace(path=before[4].path.replace("train", "test"), name="test/cat/1.jpg")
    assert rows_fingerprint([before[4]]) != rows_fingerprint([moved])


def test_a_link_that_leads_back_is_followed_once(named_tree: Path) -> None:
    (named_tree / "images" / "loop").symlink_to(named_tree / "images")
    (named_tree / "images" / "up").symlink_to(named_tree)
    assert len(listing_of(folder(named_tree)).rows) == len(NAMES)


@pytest.mark.parametrize(
    "mask",
    [
        "{}.png",
        "{}_mask.png",
        "{}-mask.PNG",
        "{}_label.tif",
        "{}-label.bmp",
        "{}.jpg.png",
        "{}.TIFF",
    ],
)
def test_masks_are_found_by_what_tools_call_them(folder_tree: Tree, mask: str) -> None:
    root = folder_tree({"a": "cat", "b": "cat"})
    for name in "ab":
        (root / "masks" / f"{name}.png").unlink()
        path = root / "masks" / mask.format(name)
        Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(path)
    rows = check_files(listing_of(folder(root, masks="masks"))).rows
    assert [Path(row.mask).name for row in rows] == [mask.format("a"), mask.format("b")]
    assert [row.mask_values for row in rows] == [(1,), (1,)]


def test_masks_beside_their_pictures(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat", "b": "cat"}, ".png")
    write_mask(root / "images" / "a_mask.png", 1)
    rows = listing_of(folder(root, masks="images")).rows
    assert [Path(row.mask).name for row in rows] == ["a_mask.png", ""]


def test_a_mask_without_folders_is_not_shared(named_tree: Path) -> None:
    for path in (named_tree / "masks").iterdir():
        path.unlink()
    write_mask(named_tree / "masks" / "1.png", 1)
    write_mask(named_tree / "masks" / "IMG (2)_mask.png", 1)
    write_mask(named_tree / "masks" / "val" / "dog" / "1.png", 1)
    rows = listing_of(folder(named_tree, masks="masks")).rows
    found = {row.name: row.mask.removeprefix(f"{named_tree}/masks/") for row in rows}
    assert {name: mask for name, mask in found.items() if mask} == {
        "IMG (2).jpg": "IMG (2)_mask.png",
        "val/dog/1.jpg": "val/dog/1.png",
    }


def test_a_folder_in_which_no_mask_is_found_is_refused(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat", "b": "cat"})
    for name in "ab":
        (root / "masks" / f"{name}.png").rename(root / "masks" / f"zebra-{name}.png")
    with pytest.raises(
        Ws3Error, match=r"masks: not one mask is found: looked for a\.png, .*such as zebra-a\.png"
    ):
        listing_of(folder(root, masks="masks"))


COLORED = {"labelmap.txt": "# label:color\nbackground:0,0,0::\ndog:9,0,0::\ncat:0,9,0::\n"}
COLORED["classes.csv"] = "name,r,g,b\nbackground,0,0,0\ndog,9,0,0\ncat,0,9,0\n"
COLORED["tabs.csv"] = COLORED["classes.csv"].replace(",", ";")


@pytest.mark.parametrize("table", [*COLORED, "configuration"])
def test_coloured_masks_are_read_with_a_table(folder_tree: Tree, table: str) -> None:
    root = folder_tree({"a": "dog", "b": "cat"})
    for name, color in (("a", (9, 0, 0)), ("b", (0, 9, 0))):
        mask = Image.new("RGB", (WIDTH, HEIGHT))
        mask.putpixel((0, 0), color)
        mask.save(root / "masks" / f"{name}.png")
    colors: Any = {"background": (0, 0, 0), "dog": (9, 0, 0), "cat": (0, 9, 0)}
    if table in COLORED:
        (root / table).write_text(COLORED[table])
        colors = table
    config = folder(root, masks="masks", colors=colors)
    listing = listing_of(config)
    assert listing.classes == ("dog", "cat")
    found = check_files(listing, colors=mask_colors(config, root, listing.classes)).rows
    assert [row.mask_values for row in found] == [(0, 1), (0, 2)]
    assert found[0].coding.startswith("colors-")
    other = listing_of(folder(root, masks="masks", colors={"dog": (9, 0, 0), "cat": (0, 9, 0)}))
    assert rows_fingerprint(other.rows) != rows_fingerprint(listing.rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog:9,0,0::\n", "the class 'cat' has no colour"),
        ("dog:9,0,0::\ncat:9,0,0::\n", r"the colour \(9, 0, 0\) is there twice"),
        ("dog:9,0,0::\ncat:300,0,0::\n", "'cat' has no colour of three numbers"),
        ("dog:9,0,0::\nyeti:1,0,0::\ncat:2,2,2::\n", "'yeti' isn't in the class list"),
        ("", "no colours"),
    ],
)
def test_malformed_tables_of_colours(folder_tree: Tree, text: str, words: str) -> None:
    root = folder_tree(LABELS)
    (root / "labelmap.txt").write_text(text)
    (root / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(Ws3Error, match=rf"labelmap\.txt: .*{words}"):
        listing_of(folder(root, masks="masks", colors="labelmap.txt", classes="classes.txt"))


def test_zero_can_be_ignored_in_masks(folder_tree: Tree) -> None:
    root = folder_tree(LABELS)
    rows = check_files(listing_of(folder(root, masks="masks", reduce_zero_label=True))).rows
    assert rows[0].mask_values == (2, 255)
    plain = check_files(listing_of(folder(root, masks="masks"))).rows
    assert rows[0].mask_sha256 != plain[0].mask_sha256


@pytest.mark.parametrize("name", ["background", "_background_", "__background__", "BG"])
def test_a_background_at_the_head_of_the_classes_is_dropped(folder_tree: Tree, name: str) -> None:
    root = folder_tree(LABELS)
    (root / "classes.txt").write_text(f"{name}\ncat\ndog\n")
    listing = listing_of(folder(root, classes="classes.txt"))
    assert listing.classes == ("cat", "dog")
    assert listing.facts == (
        f"'{name}' at the head of classes.txt is the background, and no class",
    )


def test_rotation_by_exif_is_named_and_applied_on_request(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat", "b": "cat"})
    sideways = Image.Exif()
    sideways[0x0112] = 6
    path = root / "images" / "a.jpg"
    Image.open(path).save(path, exif=sideways)
    write_mask(root / "masks" / "a.png", 1, size=(HEIGHT, WIDTH))
    with pytest.raises(Ws3Error, match=r"EXIF tag turns it, .*set dataset\.exif: upright"):
        check_files(listing_of(folder(root, masks="masks")))
    rows = check_files(listing_of(folder(root, masks="masks", exif="upright"))).rows
    assert (rows[0].width, rows[0].height, rows[0].coding) == (HEIGHT, WIDTH, "upright+binary")
    assert load_image(rows[0]).shape == (WIDTH, HEIGHT, 3)
    write_mask(root / "masks" / "a.png", 1)
    with pytest.raises(Ws3Error, match=r"set dataset\.exif: stored"):
        check_files(listing_of(folder(root, masks="masks", exif="upright")))
