"""The unspoilt folders: datasets of each layout, and a finished run.

Each function is called in the folder that it makes, so that all paths in it are relative.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from dataset_files import write_image, write_mask
from PIL import Image

SIZE = (40, 30)
FORMATS = {
    "a.jpg": "JPEG",
    "b.png": "PNG",
    "c.webp": "WEBP",
    "d.bmp": "BMP",
    "e.tif": "TIFF",
    "f.png": "GIF",
    "g.jpg": "PPM",
}
"""The pictures: one of each format that is read, whatever its ending says."""
OTHER_FORMATS = (".avif", ".dds", ".eps", ".ico", ".jp2", ".pcx", ".sgi", ".tga", ".pdf", ".im")
"""Endings of formats that Pillow writes and ws3 doesn't read."""
IMAGES = tuple(name[0] for name in FORMATS)
RECIPES = ("cam", "crops")
CLASSES = ("cat", "dog")

CONFIG: dict[str, Any] = {
    "run": "tiny",
    "device": "cpu",
    "threads": 1,
    "dataset": {
        "kind": "folder",
        "root": "data",
        "masks": "masks",
        "classes": "classes.txt",
        "train": "train.txt",
        "val": "val.txt",
    },
    "classifier": {"architecture": "shufflenet_v2_x0_5", "checkpoint": "mine.pt", "input_size": 32},
    "recipes": {
        "cam": {"preset": "cam"},
        "crops": {
            "method": "gradient",
            "samples": {"kind": "crops", "count": 4, "samples_per_chunk": 2, "batch": 2},
        },
    },
    "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
    "segmentation": {
        "recipes": ["crops"],
        "architecture": "lraspp_mobilenet_v2",
        "epochs": 1,
        "batch_size": 2,
        "crop_size": 64,
    },
    "images_per_job": 4,
}


def photographs(folder: Path) -> None:
    """Write labelled pictures of all formats with masks and lists, and a configuration."""
    neighbour(folder)
    data = folder / "data"
    for number, (name, form) in enumerate(FORMATS.items()):
        path = data / "images" / name
        write_image(path, number, SIZE)
        Image.open(path).copy().save(path, form)
        image = path.stem
        write_mask(data / f"masks/{image}.png", *([1 + number % 2] * 500), 255, size=SIZE)
    labels = ("cat", "dog", "cat;dog", "dog", "cat", "dog", "cat")
    rows = "".join(f"{image},{names}\n" for image, names in zip(IMAGES, labels, strict=True))
    (data / "labels.csv").write_text(f"image,labels\n{rows}")
    (data / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (data / "train.txt").write_text("".join(f"{image}\n" for image in IMAGES[:4]))
    (data / "val.txt").write_text("".join(f"{image}\n" for image in IMAGES[4:]))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))


def imports(folder: Path) -> None:
    """Write the photographs, and files of other programs for them in every format."""
    import torch

    photographs(folder)
    theirs, size = folder / "theirs", SIZE[::-1]
    kinds = ("npy-dict", "npy", "npz", "png", "zarr", "masks", "regions")
    for kind in kinds:
        (theirs / kind).mkdir(parents=True)
    for number, image in enumerate(IMAGES):
        keys = [[0], [1], [0, 1], [1], [0], [1], [0]][number]
        maps = np.random.default_rng(number).random((len(keys), *size), np.float32)
        content = {"keys": torch.tensor(keys), "high_res": maps, "cam": torch.tensor(maps)}
        np.save(theirs / f"npy-dict/{image}.npy", np.array(content, dtype=object))
        np.save(theirs / f"npy/{image}.npy", maps)
        named = {CLASSES[key]: one for key, one in zip(keys, maps, strict=True)}
        np.savez(theirs / f"npz/{image}.npz", **named)
        zarr.create_array(theirs / f"zarr/{image}", data=maps)
        (theirs / f"png/{image}").mkdir()
        for name, one in named.items():
            gray = np.round(one * 255).astype(np.uint8)
            Image.fromarray(gray).save(theirs / f"png/{image}/{name}.png")
        write_mask(theirs / f"masks/{image}.png", *(key + 1 for key in keys), 255, size=SIZE)
        area = size[0] * size[1]
        runs = {"size": list(size), "counts": [100, 200, area - 300]}
        outline = [[2, 2, 20, 3.5, 20, 20, 3, 18]]
        found = [{"segmentation": runs, "area": 200}, {"segmentation": outline}]
        (theirs / f"regions/{image}.json").write_text(json.dumps(found))
    np.savez(theirs / "regions/b.npz", np.ones(size, np.int64))
    (theirs / "regions/b.json").unlink()
    write_mask(theirs / "regions/c.png", 1, 2, size=SIZE)
    (theirs / "regions/c.json").unlink()


def finished_run(folder: Path) -> None:
    """Write the photographs, and make all results of a run on them."""
    photographs(folder)
    classifier(folder / "mine.pt")
    run = "results/tiny"
    stages = ("saliency", "maps", "threshold", "masks")
    for arguments in (
        ("index", "--config", "config.yaml"),
        ("train-classifier", run),
        *((stage, run, "--recipe", recipe) for recipe in RECIPES for stage in stages),
    ):
        command(*arguments)
    untrained_segmenter(Path(run))
    for arguments in (("predictions", run, "--recipe", "crops"), ("evaluate", run)):
        command(*arguments)
    failure = Path(run, "failed/masks/cam/b.json")
    failure.parent.mkdir(parents=True)
    failure.write_text(json.dumps({"reason": "it is odd"}))


def classifier(path: Path) -> None:
    """Write a classifier of two classes with random weights."""
    import torch

    from ws3.classifier import checkpoints

    torch.manual_seed(0)
    architecture = CONFIG["classifier"]["architecture"]
    network = checkpoints.new_classifier(architecture, CLASSES, 32, None)
    checkpoints.save_classifier(path, network)


def untrained_segmenter(folder: Path) -> None:
    """Write a segmentation network that nobody trained, as if a run had."""
    import torch
    from made_records import segmentation_facts

    from ws3.files import file_sha256
    from ws3.run.folder import Run
    from ws3.run.records import write_record
    from ws3.run.training_inputs import segmentation_fingerprint
    from ws3.segmentation.model import save_model
    from ws3.segmentation.networks import build

    torch.manual_seed(0)
    run, architecture = Run.open(folder), CONFIG["segmentation"]["architecture"]
    model = run.model_file("crops")
    save_model(model, build(architecture, 3, None), architecture, CLASSES)
    facts = segmentation_facts(
        file_sha256(model), fingerprint=segmentation_fingerprint(run, "crops")
    )
    write_record(model.with_suffix(".json"), facts)
    write_record(run.receipt("train_segmentation", "crops"), facts)


def coco(folder: Path) -> None:
    """Write a COCO split with polygons, run lengths of both kinds and a crowd."""
    neighbour(folder)
    width, height = SIZE
    outline = [2, 2, 20, 3.5, 20, 20, 3, 18]
    size = [height, width]
    regions: list[tuple[int, int, Any, int]] = [
        (1, 3, [outline], 0),
        (1, 5, [outline, [1, 1, 5, 1, 5, 5]], 0),
        (2, 3, {"size": size, "counts": [100, 200, width * height - 300]}, 1),
        (2, 5, {"size": size, "counts": "Y1^2Y1XO"}, 0),
        (3, 5, [], 0),
    ]
    content = {
        "info": {"year": 2026},
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": width, "height": height}
            for number in (1, 2, 3)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "segmentation": region,
                "area": 300.5,
                "bbox": [2, 2, 18, 18],
                "iscrowd": crowd,
            }
            for number, (image, category, region, crowd) in enumerate(regions, start=1)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
    }
    root = folder / "data"
    for number in (1, 2, 3):
        write_image(root / f"some/{number}.jpg", number, SIZE)
    (root / "annotations").mkdir()
    (root / "annotations/instances_some.json").write_text(json.dumps(content))
    dataset = {"kind": "coco", "root": "data", "train": "some", "val": None}
    _config_of(folder, dataset)


def voc(folder: Path) -> None:
    """Write a VOC tree of three images."""
    neighbour(folder)
    root = folder / "data"
    lists, annotations = root / "ImageSets/Segmentation", root / "Annotations"
    lists.mkdir(parents=True)
    annotations.mkdir()
    for split, images in (("train", "ab"), ("val", "c")):
        (lists / f"{split}.txt").write_text("".join(f"{image}\n" for image in images))
    for number, image in enumerate("abc"):
        write_image(root / f"JPEGImages/{image}.jpg", number, SIZE)
        write_mask(root / f"SegmentationClass/{image}.png", 8, 15, 255, size=SIZE)
        (annotations / f"{image}.xml").write_text(
            '<?xml version="1.0" encoding="utf-8"?>\n'
            f"<annotation><folder>VOC2012</folder><filename>{image}.jpg</filename>\n"
            "<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin></bndbox>"
            "<part><name>head</name></part></object>\n"
            "<object><name>person</name><truncated>1</truncated></object></annotation>\n"
        )
    _config_of(folder, {"kind": "voc", "root": "data", "train": "train", "val": "val"})


def neighbour(folder: Path) -> None:
    """Write files of the user's own that nothing may change, and to which links lead."""
    place = folder / "neighbour"
    (place / "folder").mkdir(parents=True)
    (place / "mine.txt").write_text("mine")
    (place / "folder/zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (place / "mine.json").write_text('{"mine": 1}')
    Image.new("L", SIZE, 1).save(place / "mine.png")


def command(*arguments: str) -> None:
    """Run a `ws3` command that must end well, in this process.

    Raises:
        SystemExit: If it doesn't.
    """
    from ws3.cli import main

    sys.argv = ["ws3", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def _config_of(folder: Path, dataset: dict[str, Any]) -> None:
    config = {**CONFIG, "dataset": dataset, "on_bad_image": "fail"}
    config["classifier"] = {"architecture": "resnet18", "input_size": 32}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
