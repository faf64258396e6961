"""Exports, read by the libraries that people read them with.

torchvision and pycocotools are always there; `make test-tools` installs supervision and datumaro.
"""

from __future__ import annotations

import numpy as np
import pytest
from other_tools import tool
from PIL import Image

from ws3.exports.coco import write_coco
from ws3.exports.item import Item
from ws3.exports.voc import write_voc

CLASSES = ("Red Fox", "狗", "a & b")
LABELS = {"a": (2, 1), "b.x": (), "c": (3,), "d": (2,)}


@pytest.fixture
def masks():
    """Return four masks with ignored pixels: two classes, none, one, and a label without pixel."""
    masks = {name: np.zeros((30, 40), np.uint8) for name in LABELS}
    masks["a"][5:15, 5:20], masks["a"][16:20, 3:9] = 1, 2
    masks["c"][3:9, 3:9] = 3
    for mask in masks.values():
        mask[0] = 255
    return masks


@pytest.fixture
def items(masks, tmp_path):
    """Return the four images; the last two are of the val split."""
    found: list[Item] = []
    for name, mask in masks.items():
        path = tmp_path / f"{name}.png"
        pixels = np.random.default_rng(len(found)).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        split = "val" if name in ("c", "d") else "train"
        found.append(Item(name, split, LABELS[name], path, mask))
    return found


def objects(mask):
    """Return a mask as a reader that knows no ignored pixels sees it."""
    return np.where(mask == 255, 0, mask)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_torchvision_opens_the_devkit(items, masks, tmp_path, mode):
    from torchvision.datasets import VOCDetection, VOCSegmentation

    write_voc(tmp_path / "out", items, CLASSES, mask_mode=mode, devkit=True)
    for split, names in (("train", "a b.x"), ("val", "c d"), ("trainval", "a b.x c d")):
        found = VOCSegmentation(str(tmp_path / "out"), year="2012", image_set=split)
        assert len(found) == len(names.split())
        for (photograph, target), name in zip(found, names.split(), strict=True):
            assert photograph.size == target.size == (40, 30)
            assert target.mode == mode
            assert np.array_equal(np.array(target), masks[name])
    boxes = VOCDetection(str(tmp_path / "out"), year="2012", image_set="train")
    named = [one["name"] for one in boxes[0][1]["annotation"]["object"]]
    assert named == ["狗", "Red Fox"]


def test_supervision_reads_voc(items, tmp_path):
    sv = tool("supervision")
    write_voc(tmp_path / "out", items, CLASSES)
    found = sv.DetectionDataset.from_pascal_voc(
        str(tmp_path / "out" / "JPEGImages"), str(tmp_path / "out" / "Annotations")
    )
    assert sorted(found.classes) == sorted(CLASSES)
    read = {path.rsplit("/", 1)[1]: boxes for path, _, boxes in found}
    names = {
        image: {found.classes[number] for number in boxes.class_id} for image, boxes in read.items()
    }
    assert names == {
        f"{image}.jpg": {CLASSES[value - 1] for value in values} for image, values in LABELS.items()
    }
    assert read["c.jpg"].xyxy.tolist() == [[3, 3, 9, 9]]


@pytest.mark.parametrize("image_folder", [False, True])
def test_supervision_reads_coco_without_objects_that_are_none(items, masks, tmp_path, image_folder):
    sv = tool("supervision")
    out = tmp_path / "out"
    write_coco(out, items, CLASSES, image_folder=image_folder)
    for split in ("train", "val"):
        found = sv.DetectionDataset.from_coco(
            str(out / "images" / split if image_folder else out / split),
            str(out / "annotations" / f"instances_{split}.json"),
            force_masks=True,
        )
        assert tuple(found.classes) == CLASSES
        for path, _, regions in found:
            name = path.rsplit("/", 1)[1].removesuffix(".jpg")
            drawn = np.zeros((30, 40), np.uint8)
            of_picture = () if regions.mask is None else regions.mask
            for region, number in zip(of_picture, regions.class_id, strict=True):
                drawn[region] = number + 1
            assert np.array_equal(drawn, objects(masks[name]))


def drawn_by_datumaro(item, names):
    """Return the mask that datumaro reads of an item, by the names of its classes."""
    drawn = np.zeros((30, 40), np.uint8)
    for one in item.annotations:
        if one.type.name == "mask" and names[one.label] in CLASSES:
            drawn[one.image.astype(bool)] = CLASSES.index(names[one.label]) + 1
    return drawn


@pytest.mark.parametrize("kind", ["voc", "voc_segmentation"])
def test_datumaro_reads_names_and_pixels_of_voc(items, masks, tmp_path, kind):
    datumaro = tool("datumaro")
    write_voc(tmp_path / "out", items, CLASSES)
    found = datumaro.Dataset.import_from(str(tmp_path / "out"), kind)
    names = [one.name for one in found.categories()[datumaro.AnnotationType.label]]
    assert names == ["background", *CLASSES, "ignored"]
    read = {item.id: item for item in found if item.subset != "trainval"}
    assert sorted(read) == sorted(masks)
    for name, item in read.items():
        assert np.array_equal(drawn_by_datumaro(item, names), objects(masks[name]))
        labels = {names[one.label] for one in item.annotations if one.type.name == "label"}
        wanted = {CLASSES[value - 1] for value in LABELS[name]} if kind == "voc" else set()
        assert labels == wanted


@pytest.mark.parametrize("kind", ["coco", "coco_instances"])
def test_datumaro_reads_names_and_pixels_of_coco(items, masks, tmp_path, kind):
    datumaro = tool("datumaro")
    write_coco(tmp_path / "out", items, CLASSES, image_folder=True)
    found = datumaro.Dataset.import_from(str(tmp_path / "out"), kind)
    names = [one.name for one in found.categories()[datumaro.AnnotationType.label]]
    assert tuple(names) == CLASSES
    assert sorted((item.id, item.subset) for item in found) == sorted(
        (one.image, one.split) for one in items
    )
    for item in found:
        assert np.array_equal(drawn_by_datumaro(item, names), objects(masks[item.id]))
