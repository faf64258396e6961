"""Exported masks, read back by other programs' readers."""

from __future__ import annotations

import ast
import json
from dataclasses import replace

import numpy as np
import pytest
from dataset_files import listing_of
from defusedxml import ElementTree
from PIL import Image
from pycocotools.coco import COCO
from stage_work import with_masks, work
from typer.testing import CliRunner

from ws3.cli.app import app
from ws3.config.dataset import Coco
from ws3.config.load import resolve
from ws3.datasets.coco import draw_coco_masks
from ws3.datasets.index import ImageRow
from ws3.datasets.masks import read_label_mask
from ws3.datasets.names import image_ids
from ws3.errors import StaleResultError, Ws3Error
from ws3.exports import mmseg
from ws3.exports.coco import write_coco
from ws3.exports.item import Item, write_photograph
from ws3.exports.voc import write_voc
from ws3.masks.png import read_mask
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.tools.export import export, export_names


def expected(run):
    """The mask that an export has to hold, of each image."""
    return {
        row.image: RecipeResults(run, "cam").mask(row)
        if row.split == "train"
        else read_label_mask(row.mask)
        for row in run.index.rows
    }


def test_only_the_training_images_that_got_masks_are_exported(run, tmp_path):
    data = run.config.model_dump(mode="json")
    fewer = Run(run.folder, resolve({**data, "evaluation": {"train_images": 2}}))
    run.result("masks", "cam", run.index.rows[1].image).unlink()
    assert export(fewer, "cam", "voc", tmp_path / "voc") == {"train": 2, "val": 3}


def test_voc_tree(run, tmp_path):
    out = tmp_path / "voc"
    assert export(run, "cam", "voc", out) == {"train": 5, "val": 3}
    lists = {
        split: (out / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        for split in ("train", "val")
    }
    assert lists == {split: [row.image for row in run.rows([split])] for split in ("train", "val")}
    assert (out / "classes.txt").read_text().splitlines() == list(run.index.classes)
    for name, mask in expected(run).items():
        with Image.open(out / "SegmentationClass" / f"{name}.png") as image:
            assert image.mode == "P"
            palette = image.getpalette() or []
            assert palette[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
            assert palette[-3:] == [224, 224, 192]
            assert np.array_equal(np.array(image), mask)
        with Image.open(out / "JPEGImages" / f"{name}.jpg") as image:
            assert (image.format, image.size) == ("JPEG", mask.shape[::-1])


def test_coco_json_as_pycocotools_reads_it(run, tmp_path, capsys):
    out = tmp_path / "coco"
    export(run, "cam", "coco", out)
    wanted = expected(run)
    for split in ("train", "val"):
        coco = COCO(str(out / "annotations" / f"instances_{split}.json"))
        names = {value: entry["name"] for value, entry in coco.cats.items()}
        assert names == dict(enumerate(run.index.classes, start=1))
        assert len(coco.imgs) == len(run.rows([split]))
        for number, facts in coco.imgs.items():
            mask = wanted[facts["file_name"].removesuffix(".jpg")]
            assert (facts["height"], facts["width"]) == mask.shape
            drawn = np.zeros_like(mask)
            for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[number])):
                region = coco.annToMask(annotation).astype(bool)
                drawn[region] = annotation["category_id"]
                assert annotation["area"] == region.sum()
                rows, columns = np.nonzero(region)
                x, y, width, height = annotation["bbox"]
                assert (x, y) == (columns.min(), rows.min())
                assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
            assert np.array_equal(drawn, mask)
            with Image.open(out / split / facts["file_name"]) as image:
                assert image.size == mask.shape[::-1]


def item(tmp_path, mask, split="train", suffix="png"):
    path = tmp_path / f"photo.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return Item("photo", split, (2, 1), path, mask)


def with_ignored():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:4], mask[3:5, 2:7], mask[0] = 1, 2, 255
    return mask


def coco_of(folder, split="train"):
    return json.loads((folder / "annotations" / f"instances_{split}.json").read_text())


def test_ignored_pixels_are_no_object_in_coco_and_lie_beside(tmp_path):
    mask, out = with_ignored(), tmp_path / "out"
    unlabelled = replace(item(tmp_path, np.where(mask == 255, mask, 0)), image="none")
    items = [item(tmp_path, mask), replace(unlabelled, class_values=())]
    write_coco(out, [*items, replace(items[0], split="val")], ["cat", "dog"])
    coco = coco_of(out)
    assert [(one["category_id"], one["iscrowd"]) for one in coco["annotations"]] == [(1, 0), (2, 0)]
    assert sum(one["area"] for one in coco["annotations"]) == ((mask == 1) | (mask == 2)).sum()
    for entry in coco["images"]:
        with Image.open(out / entry["ignored"]) as image:
            assert image.mode == "L"
            assert np.array_equal(np.array(image), np.where(mask == 255, 255, 0))
    assert [entry["ignored"] for entry in coco_of(out, "val")["images"]] == [
        "ignored/val/photo.png"
    ]


def test_ignored_pixels_as_a_crowd_come_back_from_coco(tmp_path):
    mask, out = with_ignored(), tmp_path / "out"
    unlabelled = replace(item(tmp_path, np.where(mask == 255, mask, 0)), class_values=())
    items = [item(tmp_path, mask), replace(unlabelled, image="none"), item(tmp_path, mask, "val")]
    write_coco(out, items, ["cat", "dog"], ignored="crowd")
    found = sorted(path.name for path in (out / "annotations").iterdir())
    assert found == ["instances_train.json", "instances_val.json"]
    crowds = [entry for entry in coco_of(out)["annotations"] if entry["iscrowd"]]
    assert [(entry["image_id"], entry["category_id"], entry["area"]) for entry in crowds] == [
        (1, 2, 8)
    ]
    # No class can be given to the crowd of an image without labels.
    assert [entry.get("ignored") for entry in coco_of(out)["images"]] == [
        None,
        "ignored/train/none.png",
    ]
    path = out / "annotations" / "instances_train.json"
    draw_coco_masks(path, out / "masks" / "train")
    assert np.array_equal(read_label_mask(out / "masks/train/photo.png"), mask)
    config = Coco(kind="coco", root=str(out), train="train", val="val")
    listing = listing_of(config)
    assert listing.classes == ("cat", "dog")
    assert [(row.image, row.split, row.labels) for row in listing.rows if row.labels] == [
        ("photo", "train", ("cat", "dog")),
        ("photo", "val", ("cat", "dog")),
    ]


def test_a_mask_of_background_alone_has_no_annotation(tmp_path):
    write_coco(tmp_path / "out", [item(tmp_path, np.zeros((3, 4), np.uint8))], ["cat", "dog"])
    coco = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert coco["annotations"] == []
    assert len(coco["images"]) == 1


def test_a_jpeg_is_copied_unless_readers_would_turn_it(tmp_path):
    mask = np.zeros((8, 12), np.uint8)
    plain = item(tmp_path, mask, suffix="jpg")
    copy = write_photograph(plain, tmp_path / "out")
    assert copy.read_bytes() == plain.photograph.read_bytes()
    with Image.open(plain.photograph) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(plain.photograph, exif=exif)
    with Image.open(write_photograph(plain, tmp_path / "out")) as image:
        assert image.size == (12, 8)
        assert 0x0112 not in image.getexif()


def assignments(text):
    """The names that a configuration assigns, and what of it is plain data."""
    found = {}
    for statement in ast.parse(text).body:
        assert isinstance(statement, ast.Assign)
        for target in statement.targets:
            assert isinstance(target, ast.Name)
            found[target.id] = statement.value
    return found


def keywords(call):
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    assert call.func.id == "dict"
    return {keyword.arg: keyword.value for keyword in call.keywords}


def test_mmseg_configuration_is_python_that_names_the_masks(run, tmp_path):
    out = tmp_path / "mmseg"
    export(run, "cam", "mmseg", out)
    assert (out / "SegmentationClass" / "train_0000.png").exists()
    text = (out / mmseg.CONFIG).read_text()
    compile(text, mmseg.CONFIG, "exec")
    found = assignments(text)
    assert ast.literal_eval(found["data_root"]) == "{{ fileDirname }}"
    facts = keywords(found["metainfo"])
    assert ast.literal_eval(facts["classes"]) == ("background", *run.index.classes)
    assert ast.literal_eval(facts["palette"]) == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
    ]
    for head in ("decode_head", "auxiliary_head"):
        assert ast.literal_eval(keywords(keywords(found["model"])[head])["num_classes"]) == 4
    for loader, split in (("train", "train"), ("val", "val"), ("test", "val")):
        dataset = keywords(keywords(found[f"{loader}_dataloader"])["dataset"])
        assert (out / ast.literal_eval(dataset["ann_file"])).exists()
        assert ast.literal_eval(dataset["ann_file"]).endswith(f"/{split}.txt")
        folders = keywords(dataset["data_prefix"])
        assert all((out / ast.literal_eval(value)).is_dir() for value in folders.values())
        assert ast.literal_eval(dataset["ignore_index"]) == 255
    without = assignments(mmseg.config(["a"], has_val=False))
    assert ast.literal_eval(without["val_dataloader"]) is None
    assert ast.literal_eval(without["test_evaluator"]) is None


@pytest.mark.parametrize("name", ['it\'s a "class"', "back\\slash", "{brace}", "日本"])
def test_mmseg_configuration_survives_any_class_name(name):
    facts = keywords(assignments(mmseg.config([name], has_val=True))["metainfo"])
    assert ast.literal_eval(facts["classes"]) == ("background", name)


def test_the_command(run, tmp_path):
    arguments = ["export", str(run.folder), "--recipe", "cam", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--format", "coco"])
    assert done.exit_code == 0, done.output
    assert "5 train images, 3 val images" in done.output
    assert (tmp_path / "out" / "annotations" / "instances_val.json").exists()


def test_options_of_another_format_are_refused(run, tmp_path):
    arguments = ["export", str(run.folder), "--recipe", "cam", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--format", "coco", "--devkit"])
    assert str(done.exception) == "--devkit does not go with --format coco; it goes with: voc"
    done = CliRunner().invoke(app, [*arguments, "--format", "mmseg", "--image-folder"])
    assert str(done.exception).endswith("--format mmseg; it goes with: coco")
    assert not (tmp_path / "out").exists()


def test_pseudo_masks_of_all_splits(run, tmp_path):
    assert export(run, "cam", "voc", tmp_path / "out", what="pseudo-masks") == {
        "train": 5,
        "val": 3,
    }
    for row in run.index.rows:
        mask = RecipeResults(run, "cam").mask(row)
        path = tmp_path / "out" / "SegmentationClass" / f"{row.image}.png"
        assert np.array_equal(read_label_mask(path), mask)
    differ = [row for row in run.rows(["val"]) if (expected(run)[row.image] != mask).any()]
    assert differ, "the ground truth must not pass for pseudo-masks"


def test_predictions(predicted_run, tmp_path):
    run, out = predicted_run, tmp_path / "out"
    assert export(run, "cam", "mmseg", out, what="predictions", mask_mode="L") == {"val": 3}
    for row in run.rows(["val"]):
        with Image.open(out / "SegmentationClass" / f"{row.image}.png") as image:
            assert image.mode == "L"
            assert np.array_equal(np.array(image), RecipeResults(run, "cam").prediction(row))
    with pytest.raises(Ws3Error, match="no segmentation network of this run is called 'ground_tru"):
        export(run, "ground_truth", "voc", tmp_path / "other", what="predictions")


def test_voc_annotations_hold_the_labels_with_boxes_of_their_regions(tmp_path):
    mask = with_ignored()
    mask[mask == 2] = 0
    write_voc(tmp_path / "out", [item(tmp_path, mask)], ["cat", "R&D <dog>"])
    root = ElementTree.fromstring((tmp_path / "out/Annotations/photo.xml").read_bytes())
    assert [root.findtext(name) for name in ("filename", "size/width", "size/height")] == [
        "photo.jpg",
        "8",
        "6",
    ]
    found = [
        (
            one.findtext("name"),
            one.findtext("difficult"),
            [int(side.text or "") for side in one.findall("bndbox/*")],
        )
        for one in root.iter("object")
    ]
    # The dog has no pixel: it is somewhere in the image.
    assert found == [("R&D <dog>", "1", [1, 1, 8, 6]), ("cat", "0", [2, 2, 4, 3])]


def test_voc_lists_and_labelmap(tmp_path, caplog):
    plain = item(tmp_path, np.zeros((3, 4), np.uint8))
    items = [plain, replace(plain, image="other", split="val", class_values=(1,))]
    write_voc(tmp_path / "out", items, ["cat", "a/b"])
    sets = tmp_path / "out" / "ImageSets"
    for kind in ("Segmentation", "Main"):
        lists = {name: (sets / kind / f"{name}.txt").read_text() for name in ("train", "trainval")}
        assert lists == {"train": "photo\n", "trainval": "photo\nother\n"}
    assert (sets / "Main" / "cat_trainval.txt").read_text() == "photo  1\nother  1\n"
    labelmap = tmp_path / "out" / "labelmap.txt"
    assert labelmap.read_text().splitlines()[1:] == [
        "background:0,0,0::",
        "cat:128,0,0::",
        "a/b:0,128,0::",
    ]
    write_voc(tmp_path / "more", [item(tmp_path, with_ignored())], ["ignored", "dog"])
    assert (
        (tmp_path / "more/labelmap.txt").read_text().endswith("dog:0,128,0::\nvoid:224,224,192::\n")
    )
    write_voc(tmp_path / "odd", [plain], ["a:b", "dog"])
    assert not (tmp_path / "odd" / "labelmap.txt").exists()
    assert "labelmap.txt is left out: it can't hold the class 'a:b'" in caplog.text


def test_what_is_wrong_is_said(run, tmp_path):
    with pytest.raises(Ws3Error, match=r"--format: 'yolo' is unknown; choose from: voc, coco, mm"):
        export(run, "cam", "yolo", tmp_path / "out")
    with pytest.raises(Ws3Error, match="'sam' is not a recipe"):
        export(run, "sam", "voc", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(Ws3Error, match="something is there already"):
        export(run, "cam", "voc", tmp_path / "full")
    row = run.rows(["train"])[2]
    run.result("masks", "cam", row.image).unlink()
    with pytest.raises(StaleResultError, match=rf"ws3 masks .* --image {row.image}"):
        export(run, "cam", "voc", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "results"]


def test_files_are_called_as_the_pictures_where_that_is_fit():
    names = ("été.jpg", "a.b.jpg", "IMG (2).jpg", "x/1.jpg", "y/1.jpg", "图片(1).png", "-rf.jpg")
    rows = [
        ImageRow(image, "train", (), name, "", "", name=name)
        for name, image in image_ids(names).items()
    ]
    found = {row.name: export_names(rows)[row.image] for row in rows}
    assert found == {row.name: row.image for row in rows} | {
        "été.jpg": "été",
        "a.b.jpg": "a.b",
        "图片(1).png": "图片(1)",
    }
    assert len(set(found.values())) == len(names)


@pytest.mark.parametrize(
    ("format_name", "place"),
    [
        ("voc", "Confidence/{}.png"),
        ("mmseg", "Confidence/{}.png"),
        ("coco", "confidence/train/{}.png"),
    ],
)
def test_the_confidence_of_pseudo_masks_goes_along(run, tmp_path, format_name, place):
    keeping = with_masks(run, confidence=True)
    work(keeping, "masks", "cam")
    export(keeping, "cam", format_name, tmp_path / "out")
    results = RecipeResults(keeping, "cam")
    rows = keeping.rows(["train"])
    for row in rows:
        path = tmp_path / "out" / place.format(row.image)
        assert Image.open(path).mode == "L"
        assert np.array_equal(read_mask(path), results.confidence(row))
    # Ground truth, of the val split, has none.
    folder = (tmp_path / "out" / place).parent
    assert len(list(folder.glob("*"))) == len(rows)
    assert not (tmp_path / "out" / "confidence" / "val").exists()
