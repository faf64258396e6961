"""Trees that the tools themselves write; `make test-tools` installs all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    write_pictures,
)
from other_tools import tool

from ws3.datasets.importing.look import look

WIDTH, HEIGHT = SIZE
LABELLED = [name for name, labels in LABELS.items() if labels]


def supervision_set(root: Path) -> Any:
    sv = tool("supervision")
    write_pictures(root / "source")
    annotations = {}
    for name, labels in LABELS.items():
        values = np.array([CLASSES.index(label) for label in labels], int)
        masks = np.array([true_mask(name) == value + 1 for value in values]).reshape(
            len(values), HEIGHT, WIDTH
        )
        boxes = sv.mask_to_xyxy(masks) if len(values) else np.empty((0, 4))
        annotations[str(root / "source" / name)] = sv.Detections(
            xyxy=boxes.astype(float), mask=masks, class_id=values
        )
    images = [str(root / "source" / name) for name in LABELS]
    return sv.DetectionDataset(classes=list(CLASSES), images=images, annotations=annotations)


def close(found: Any, name: str) -> bool:
    """Return whether a mask is right but for the outermost pixels: outlines go through centres."""
    mask, truth = drawn(found, name), true_mask(name)
    agree = (mask == truth).mean()
    return bool(agree > 0.9 and set(np.unique(mask)) == set(np.unique(truth)))


def test_supervision_coco(tmp_path: Path) -> None:
    out = tmp_path / "out"
    supervision_set(tmp_path).as_coco(
        images_directory_path=str(out / "train"),
        annotations_path=str(out / "annotations" / "instances_train.json"),
    )
    found = look(out)
    assert labels_of(found) == expected()
    assert found.classes == CLASSES
    assert all(close(found, name) for name in LABELLED)


def test_supervision_voc(tmp_path: Path) -> None:
    out = tmp_path / "out"
    supervision_set(tmp_path).as_pascal_voc(
        images_directory_path=str(out / "train" / "JPEGImages"),
        annotations_directory_path=str(out / "train" / "Annotations"),
    )
    found = look(out)
    assert labels_of(found) == expected()
    assert {picture.split for picture in found.pictures} == {"train"}


def test_supervision_yolo(tmp_path: Path) -> None:
    out = tmp_path / "out"
    supervision_set(tmp_path).as_yolo(
        images_directory_path=str(out / "images"),
        annotations_directory_path=str(out / "labels"),
        data_yaml_path=str(out / "data.yaml"),
    )
    found = look(out)
    assert labels_of(found) == expected()
    assert found.classes == CLASSES
    assert all(close(found, name) for name in LABELLED)


DATUMARO = {
    "voc": ("train", True),
    "coco": ("train", True),
    "coco_panoptic": ("train", True),
    "cvat": ("train", True),
    "datumaro": ("train", True),
    "label_me": ("train", True),
    "yolo": ("train", False),
    "imagenet": (None, False),
    "imagenet_with_subset_dirs": ("train", False),
    "imagenet_txt": ("train", False),
    "open_images": ("train", False),
}


@pytest.mark.parametrize("kind", DATUMARO)
def test_datumaro(tmp_path: Path, kind: str) -> None:
    dm = tool("datumaro")
    write_pictures(tmp_path / "source")
    items = []
    for name, labels in LABELS.items():
        annotations: list[Any] = []
        for label in labels:
            value = CLASSES.index(label)
            mask = true_mask(name) == value + 1
            rows, columns = np.nonzero(mask)
            box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            annotations.append(dm.Label(value))
            annotations.append(dm.Mask(mask, label=value, group=value + 1, id=value + 1))
            annotations.append(dm.Bbox(*map(float, box), label=value, group=value + 1))
        picture = dm.Image.from_file(path=str(tmp_path / "source" / name))
        stem = name.rpartition(".")[0]
        items.append(
            dm.DatasetItem(id=stem, subset="train", media=picture, annotations=annotations)
        )
    dataset = dm.Dataset.from_iterable(items, categories=list(CLASSES))
    dataset.export(str(tmp_path / "out"), kind, save_media=True)
    found = look(tmp_path / "out")
    split, has_masks = DATUMARO[kind]
    stems = {picture.path.name.rpartition(".")[0]: picture for picture in found.pictures}
    for name, labels in LABELS.items():
        stem = name.rpartition(".")[0].replace("/", "_")
        picture = stems.get(stem) or stems.get(f"{stem}_leftImg8bit")
        if picture is None:
            # Datumaro writes no mask of a picture without objects, or loses it.
            assert not labels
            continue
        assert set(picture.labels) == set(labels)
        assert picture.split == split
        if has_masks and labels:
            assert picture.draw is not None
            mask = picture.draw(HEIGHT, WIDTH)
            order = np.array([0, *(CLASSES.index(one) + 1 for one in found.classes)], np.uint8)
            assert (order[mask] == true_mask(name)).all()


def test_pascal_voc_writer(tmp_path: Path) -> None:
    writer = tool("pascal_voc_writer")
    write_pictures(tmp_path / "JPEGImages")
    (tmp_path / "Annotations").mkdir()
    for name, labels in LABELS.items():
        page = writer.Writer(str(tmp_path / "JPEGImages" / name), WIDTH, HEIGHT)
        for label in labels:
            page.addObject(label, 1, 1, 5, 5)
        page.save(str(tmp_path / "Annotations" / f"{name.rpartition('.')[0]}.xml"))
    assert labels_of(look(tmp_path)) == expected()


def test_globox_coco(tmp_path: Path) -> None:
    globox = tool("globox")
    write_pictures(tmp_path / "images")
    annotations = [
        globox.Annotation(
            image_id=name,
            image_size=(WIDTH, HEIGHT),
            boxes=[
                globox.BoundingBox(label=label, xmin=1, ymin=1, xmax=5, ymax=5) for label in labels
            ],
        )
        for name, labels in LABELS.items()
    ]
    globox.AnnotationSet(annotations).save_coco(tmp_path / "boxes.json", auto_ids=True)
    found = look(tmp_path)
    assert labels_of(found) == expected()
    assert all(picture.draw is None for picture in found.pictures)
