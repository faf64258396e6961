"""Pascal VOC: its lists, its annotations, and what may be missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_files import HEIGHT, WIDTH, listing_of, write_image, write_mask
from PIL import Image

from ws3.config.dataset import Voc
from ws3.datasets import list_dataset
from ws3.datasets.importing.look import look
from ws3.datasets.index import check_files
from ws3.datasets.voc import CLASSES, watched
from ws3.datasets.xml_files import object_names, parse_xml
from ws3.errors import Ws3Error

Tree = Callable[..., Path]
SPLITS = {
    "train": {"2007_000032": ["person", "aeroplane", "person"], "2007_000039": ["tvmonitor"]},
    "val": {"2007_000033": ["dog"]},
    "trainaug": {"2008_000002": ["tvmonitor", "cat"], "2007_000032": ["aeroplane", "person"]},
}


def voc(root: Path, train: str = "train", val: str | None = "val") -> Voc:
    return Voc.model_validate({"kind": "voc", "root": str(root), "train": train, "val": val})


def test_listing_and_index(voc_tree: Tree, tmp_path: Path) -> None:
    root = voc_tree(SPLITS)
    listing = list_dataset(voc(root), tmp_path)
    assert listing.classes == CLASSES
    assert len(CLASSES) == 20
    assert [(r.image, r.split, r.labels) for r in listing.rows] == [
        ("2007_000032", "train", ("aeroplane", "person")),
        ("2007_000039", "train", ("tvmonitor",)),
        ("2007_000033", "val", ("dog",)),
    ]
    assert listing.rows[0].path == str(root / "JPEGImages" / "2007_000032.jpg")
    assert listing.rows[0].mask == str(root / "SegmentationClass" / "2007_000032.png")
    assert all(row.problem == "" for row in check_files(listing).rows)


def test_without_validation(voc_tree: Tree) -> None:
    assert {r.split for r in listing_of(voc(voc_tree(SPLITS), val=None)).rows} == {"train"}


@pytest.mark.parametrize(
    "place", ["Segmentation/trainaug", "Segmentation/train_aug", "SegmentationAug/train_aug"]
)
def test_augmented_list(voc_tree: Tree, place: str) -> None:
    root = voc_tree(SPLITS)
    sets = root / "ImageSets"
    (sets / "SegmentationAug").mkdir()
    (sets / "Segmentation" / "trainaug.txt").rename(sets / f"{place}.txt")
    rows = listing_of(voc(root, "trainaug")).rows
    assert [r.image for r in rows] == ["2008_000002", "2007_000032", "2007_000033"]
    assert [Path(r.mask).parent.name for r in rows] == [
        "SegmentationClassAug",
        "SegmentationClassAug",
        "SegmentationClass",
    ]


def test_augmented_list_of_paths(voc_tree: Tree) -> None:
    root = voc_tree(SPLITS)
    (root / "ImageSets" / "Segmentation" / "trainaug.txt").write_text(
        "/JPEGImages/2008_000002.jpg /SegmentationClassAug/2008_000002.png\n"
    )
    assert [r.image for r in listing_of(voc(root, "trainaug", None)).rows] == ["2008_000002"]


def test_absent_lists_and_folders_are_named(voc_tree: Tree) -> None:
    root = voc_tree({"train": SPLITS["train"]})
    with pytest.raises(Ws3Error, match=r"augmented training list is in none of .*trainaug\.txt"):
        listing_of(voc(root, "trainaug", None))
    with pytest.raises(Ws3Error, match=r"val\.txt: No such file"):
        listing_of(voc(root))
    (root / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("2007_000032\n")
    with pytest.raises(Ws3Error, match=r"no folder JPEGImages.*VOCdevkit/VOC2012"):
        listing_of(voc(root.parent))


def test_masks_are_optional_and_their_absence_is_told(voc_tree: Tree) -> None:
    root = voc_tree(SPLITS)
    (root / "SegmentationClass" / "2007_000039.png").unlink()
    masks = {row.image: row.mask for row in listing_of(voc(root)).rows}
    assert masks["2007_000039"] == ""
    assert masks["2007_000032"] == str(root / "SegmentationClass" / "2007_000032.png")
    (root / "SegmentationClass").rename(root / "elsewhere")
    listing = listing_of(voc(root))
    assert not any(row.mask for row in listing.rows)
    sentence = "there is no folder SegmentationClass, so no mask for the train split"
    assert sentence in listing.warnings
    other = voc(root).model_copy(update={"masks": "elsewhere"})
    assert any(row.mask for row in listing_of(other).rows)


def test_a_tree_with_classes_and_folders_of_ones_own(voc_tree: Tree) -> None:
    root = voc_tree({"mine": {"a.v2": ["Red Fox"], "b": ["Tree", "Red Fox"]}})
    (root / "ImageSets" / "Segmentation").rename(root / "ImageSets" / "Main")
    (root / "JPEGImages").rename(root / "pictures")
    (root / "Annotations").rename(root / "labels")
    write_mask(root / "SegmentationClass" / "a.v2.png", 2)
    write_mask(root / "SegmentationClass" / "b.png", 1, 2)
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nTree:1,2,3::\nRed Fox:::\n"
    (root / "labelmap.txt").write_text(text)
    config = voc(root, "mine", None).model_copy(
        update={"classes": "labelmap.txt", "images": "pictures", "annotations": "labels"}
    )
    listing = listing_of(config)
    assert listing.classes == ("Tree", "Red Fox")
    assert [(r.image, r.labels) for r in listing.rows] == [
        ("a.v2", ("Red Fox",)),
        ("b", ("Tree", "Red Fox")),
    ]
    assert all(not row.problem for row in check_files(listing).rows)


def test_classes_are_named_in_the_configuration_itself(voc_tree: Tree) -> None:
    root = voc_tree({"mine": {"a": ["Red Fox"], "b": ["Tree", "Red Fox"]}})
    section = {"kind": "voc", "root": str(root), "train": "mine", "val": None}
    config = Voc.model_validate({**section, "classes": ["background", "Tree", "Red Fox"]})
    listing = listing_of(config)
    assert listing.classes == ("Tree", "Red Fox")
    assert [row.labels for row in listing.rows] == [("Red Fox",), ("Tree", "Red Fox")]
    assert "Tree" not in watched(config)
    with pytest.raises(Ws3Error, match=r"dataset\.classes: the class 'Tree' is listed twice"):
        listing_of(config.model_copy(update={"classes": ["Tree", "Tree"]}))


def test_missing_files_are_reported_together(voc_tree: Tree) -> None:
    root = voc_tree(SPLITS)
    (root / "Annotations" / "2007_000032.xml").unlink()
    (root / "JPEGImages" / "2007_000033.jpg").unlink()
    listing = listing_of(voc(root))
    assert listing.rows[2].stat_key.startswith("missing;")
    with pytest.raises(Ws3Error) as error:
        check_files(listing)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("2 problems")
    for line, name in zip(lines[1:], ("000032.xml", "000033.jpg"), strict=True):
        assert f"{name}: no such file" in line


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<annotation><object>", "no valid XML"),
        ("", "no valid XML"),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
            "<annotation><object><name>&x;</name></object></annotation>",
            "DOCTYPE",
        ),
        ("<annotation><object><name>yeti</name></object></annotation>", "label 'yeti'"),
    ],
)
def test_bad_annotations_are_reported(voc_tree: Tree, xml: str, words: str) -> None:
    root = voc_tree(SPLITS)
    (root / "Annotations" / "2007_000032.xml").write_text(xml)
    with pytest.raises(Ws3Error, match=rf"1 problem in(.|\n)*2007_000032: .*{words}"):
        check_files(listing_of(voc(root)))


UNUSABLE = ["x-made-up", "utf-7", "utf-16", "rot13", "idna"]


@pytest.mark.parametrize("encoding", UNUSABLE)
def test_an_annotation_in_an_unusable_encoding_is_one_line(voc_tree: Tree, encoding: str) -> None:
    root = voc_tree(SPLITS)
    text = f'<?xml version="1.0" encoding="{encoding}"?><annotation></annotation>'
    (root / "Annotations" / "2007_000032.xml").write_text(text)
    with pytest.raises(Ws3Error) as error:
        check_files(listing_of(voc(root)))
    head, line = str(error.value).splitlines()
    assert head.startswith("1 problem in the dataset")
    assert "2007_000032.xml: no valid XML (" in line


@pytest.mark.parametrize(
    ("declared", "written", "word"),
    [
        ("gb2312", "gb2312", "\u732b"),
        ("GB2312", "gb18030", "\u9577\u5d2e"),  # as many tools do: more than they declare
        ("gbk", "gbk", "\u732b"),
        ("shift_jis", "cp932", "\u732b\u2460"),
        ("euc-kr", "cp949", "\uace0\uc591"),
        ("big5", "big5", "\u8c93"),
        ("windows-1252", "cp1252", "\u20ac"),
        ("koi8-r", "koi8-r", "\u043a\u043e\u0442"),
    ],
)
def test_an_annotation_is_read_in_the_encoding_that_it_declares(
    voc_tree: Tree, declared: str, written: str, word: str
) -> None:
    path = voc_tree(SPLITS) / "Annotations" / "2007_000032.xml"
    text = (
        f'<?xml version="1.0" encoding="{declared}"?>\n<annotation>'
        f"<object><name>dog</name></object><object><name>{word}</name></object></annotation>"
    )
    path.write_bytes(text.encode(written))
    assert object_names(parse_xml(path, 1000)) == ["dog", word]


def test_bytes_of_another_encoding_are_one_line(voc_tree: Tree) -> None:
    root = voc_tree(SPLITS)
    text = '<?xml version="1.0" encoding="shift_jis"?><annotation>\u732b</annotation>'
    (root / "Annotations" / "2007_000032.xml").write_bytes(text.encode("utf-8") + b"\x81")
    with pytest.raises(Ws3Error, match=r"2007_000032.xml: no valid XML \("):
        check_files(listing_of(voc(root)))


def test_a_name_is_read_whole_past_a_comment(voc_tree: Tree) -> None:
    root = voc_tree(SPLITS)
    (root / "Annotations" / "2007_000032.xml").write_text(
        "<annotation><object><name> do<!-- a comment -->g\n</name></object></annotation>"
    )
    assert listing_of(voc(root)).rows[0].labels == ("dog",)


def test_overlapping_splits_are_refused(voc_tree: Tree) -> None:
    root = voc_tree({"trainval": SPLITS["train"], "val": {"2007_000032": ["person"]}})
    with pytest.raises(Ws3Error, match="2007_000032: in both train and val"):
        check_files(listing_of(voc(root, "trainval")))


def test_ids_with_dots_and_pictures_of_any_ending(voc_tree: Tree) -> None:
    root = voc_tree({"train": {"a_jpg.rf.0a1b": ["dog"], "a_jpg": ["cat"], "b c": ["dog"]}})
    (root / "JPEGImages" / "b c.jpg").unlink()
    write_image(root / "JPEGImages" / "b c.PNG")
    rows = check_files(listing_of(voc(root, "train", None))).rows
    assert [row.name for row in rows] == ["a_jpg.rf.0a1b.jpg", "a_jpg.jpg", "b c.PNG"]
    assert [row.image for row in rows][:2] == ["a_jpg.rf.0a1b", "a_jpg"]
    assert [row.labels for row in rows] == [("dog",), ("cat",), ("dog",)]
    assert rows[2].title == f"b c.PNG [{rows[2].image}]"


@pytest.mark.parametrize("line", ["a.v2", "a.v2.jpg", "a.v2 1", "/JPEGImages/a.v2.jpg /X/a.v2.png"])
def test_lines_of_lists(voc_tree: Tree, line: str) -> None:
    root = voc_tree({"train": {"a.v2": ["dog"]}})
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text(f"{line}\n")
    assert [row.image for row in listing_of(voc(root, "train", None)).rows] == ["a.v2"]


def test_an_annotation_without_objects_is_a_negative(voc_tree: Tree) -> None:
    root = voc_tree({"train": {"full": ["dog"], "empty": []}})
    rows = check_files(listing_of(voc(root, "train", None))).rows
    assert [(row.labels, row.problem) for row in rows] == [(("dog",), ""), ((), "")]


def test_masks_in_colours_are_refused_and_the_remedy_helps(voc_tree: Tree, tmp_path: Path) -> None:
    root = voc_tree(SPLITS)
    for path in (root / "SegmentationClass").glob("*.png"):
        with Image.open(path) as mask:
            mask.convert("RGB").save(path)
    listing = list_dataset(voc(root), tmp_path)
    with pytest.raises(Ws3Error, match=r"holds colours .* ws3 import FOLDER") as error:
        check_files(listing)
    assert str(root / "SegmentationClass" / "2007_000033.png") in str(error.value)
    found = look(root)
    pictures = {picture.path.stem: picture for picture in found.pictures}
    for row in listing.rows:
        picture = pictures[row.image]
        assert set(picture.labels) == set(row.labels)
        assert picture.draw is not None
        assert set(np.unique(picture.draw(HEIGHT, WIDTH))) - {0, 255} == {
            found.classes.index(label) + 1 for label in row.labels
        }
