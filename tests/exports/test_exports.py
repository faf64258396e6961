"""Exported masks, read back by other programs' readers."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest
from dataset_files import listing_of
from PIL import Image
from pycocotools.coco import COCO
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


def test_ignored_pixels_come_back_from_coco(tmp_path):
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:4], mask[3:5, 2:7], mask[0] = 1, 2, 255
    items = [item(tmp_path, mask), item(tmp_path, mask, "val")]
    write_coco(tmp_path / "out", items, ["cat", "dog"])
    found = sorted(path.name for path in (tmp_path / "out" / "annotations").iterdir())
    assert found == ["instances_train.json", "instances_val.json"]
    path = tmp_path / "out" / "annotations" / "instances_train.json"
    crowds = [entry for entry in json.loads(path.read_text())["annotations"] if entry["iscrowd"]]
    assert [(entry["category_id"], entry["area"]) for entry in crowds] == [(2, 8)]
    draw_coco_masks(path, tmp_path / "out" / "masks" / "train")
    assert np.array_equal(read_label_mask(tmp_path / "out/masks/train/photo.png"), mask)
    config = Coco(kind="coco", root=str(tmp_path / "out"), train="train", val="val")
    listing = listing_of(config)
    assert listing.classes == ("cat", "dog")
    assert [(row.image, row.split, row.labels) for row in listing.rows] == [
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
