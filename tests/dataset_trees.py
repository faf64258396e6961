"""Fixtures: small datasets in each layout, written into a temporary folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from dataset_files import write_image, write_mask

from ws3.datasets.voc import CLASSES


@pytest.fixture
def folder_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write images/, masks/ and labels.csv for ids and their labels; return the root.

    A mask holds the values that its image's labels have if there is no class list.
    """

    def write(labels: Mapping[str, str], suffix: str = ".jpg") -> Path:
        root = tmp_path / "folder"
        classes = sorted({name for cell in labels.values() for name in cell.split(";") if name})
        for seed, (image, cell) in enumerate(labels.items()):
            write_image(root / "images" / f"{image}{suffix}", seed)
            values = [classes.index(name) + 1 for name in cell.split(";") if name]
            write_mask(root / "masks" / f"{image}.png", *values, 255)
        with (root / "labels.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "labels"])
            writer.writerows(labels.items())
        return root

    return write


@pytest.fixture
def voc_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write a VOC tree for splits of ids and their objects; return VOCdevkit/VOC2012."""

    def write(splits: Mapping[str, Mapping[str, Sequence[str]]]) -> Path:
        root = tmp_path / "VOCdevkit" / "VOC2012"
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (root / "Annotations").mkdir()
        for split, images in splits.items():
            masks = "SegmentationClassAug" if split == "trainaug" else "SegmentationClass"
            (lists / f"{split}.txt").write_text("".join(f"{image}\n" for image in images))
            for seed, (image, objects) in enumerate(images.items()):
                write_image(root / "JPEGImages" / f"{image}.jpg", seed)
                values = [CLASSES.index(name) + 1 for name in objects if name in CLASSES]
                write_mask(root / masks / f"{image}.png", *values, 255)
                text = "".join(
                    f"<object><name>{name}</name><difficult>{number % 2}</difficult>"
                    "<part><name>head</name></part></object>"
                    for number, name in enumerate(objects)
                )
                (root / "Annotations" / f"{image}.xml").write_text(
                    f"<annotation><filename>{image}.jpg</filename>{text}</annotation>"
                )
        return root

    return write


@pytest.fixture
def coco_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write annotations of a split and its images; return the root."""

    def write(split: str, content: Mapping[str, Any], indent: int | None = None) -> Path:
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / split).mkdir()
        text = json.dumps(content, indent=indent)
        (root / "annotations" / f"instances_{split}.json").write_text(text)
        for image in content["images"]:
            size = (image["width"], image["height"])
            write_image(root / split / image["file_name"], image["id"], size)
        return root

    return write
