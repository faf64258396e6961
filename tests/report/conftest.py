"""A made-up but plausible run: drawn photographs, maps around the drawn objects, and scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import classifier_facts, distance_profile, evaluation_of

from ws3.report.gallery import write_gallery_entry
from ws3.report.model import (
    DatasetFacts,
    GalleryEntry,
    Report,
    SkippedImage,
    Timing,
)
from ws3.run.records import ClassifierMetrics

CLASSES = ("badger", "heron", "newt", "otter", "shrew")
SIZE = 128


def metrics(level: float, stage: str, **changes: Any) -> dict[str, Any]:
    thresholds = np.linspace(0, 1, 21)
    found: dict[str, Any] = {
        "images": 60,
        "miou": level,
        "precision": level + 0.14,
        "recall": level + 0.21,
        "pxap": level + 0.08 if stage == "maps" else None,
        "dr_recall": level + 0.3,
        "ndr_recall": level - 0.05,
        "fpr_region_rate": 0.81 - level,
        "tn_region_rate": 0.0431,
        "fp_share": 0.6 * (1 - level),
        "fn_share": 0.4 * (1 - level),
        "boundary_iou": level - 0.2,
        "threshold": 0.27 if stage != "segmentation" else None,
        "threshold_kind": "tuned" if stage != "segmentation" else "",
        "threshold_split": "train" if stage != "segmentation" else "",
        "ignored_share": 0.0123,
        "sweep": [[float(t), float(level * np.exp(-8 * (t - 0.27) ** 2))] for t in thresholds]
        if stage == "maps"
        else None,
        "per_class": {
            name: {
                "iou": max(0.0, level + 0.06 * (i - 2)),
                "precision": 0.5,
                "recall": 0.6,
                "pxap": None,
                "images": 12 + i,
            }
            for i, name in enumerate(("background", *CLASSES))
        },
    }
    return {**found, **changes}


def evaluation(recipe: str, level: float, reference: str = "cam", **changes: Any) -> dict[str, Any]:
    """Return what makes an evaluation, to be changed: see `evaluation_of`."""
    return {
        "recipe": recipe,
        "reference": reference,
        "splits": {
            "val": {
                "maps": metrics(level, "maps", **changes),
                "masks": metrics(level + 0.06, "masks", **changes),
            }
        },
    }


def with_pairs(found: dict[str, Any]) -> dict[str, Any]:
    """Return what makes an evaluation, with distances, confusions and classes of one image."""
    side = len(CLASSES) + 1
    for level, stage in enumerate(found["splits"]["val"].values(), start=2):
        falling = [0.95 / (1 + np.exp(tenth - 2 * level)) for tenth in range(10)]
        stage["distances"] = distance_profile(*map(float, falling))
        stage["confusion"] = [
            [
                9000 if row == column else 100 * (5 * row + 3 * column) % 700
                for column in range(side)
            ]
            for row in range(side)
        ]
    together = [[14 if a == b else (a + b) % 4 for b in range(side - 1)] for a in range(side - 1)]
    return {**found, "classes": CLASSES, "together": {"val": together}}


def photograph(seed: int, objects: int) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return a drawn photograph, its ground truth, and the class ids in it."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    coarse = generator.uniform(60, 190, size=(9, 9, 3))
    image = np.kron(coarse, np.ones((15, 15, 1)))[:SIZE, :SIZE]
    truth = np.zeros((SIZE, SIZE), dtype=np.uint8)
    ids = tuple(sorted(generator.choice(len(CLASSES), size=objects, replace=False).tolist()))
    for place, class_id in enumerate(ids):
        cx, cy = 32 + 64 * (place % 2), 40 + 44 * (place // 2) + 10
        inside = ((x - cx) / 27) ** 2 + ((y - cy) / 18) ** 2 < 1
        image[inside] = generator.uniform(0, 255, size=3)
        truth[inside] = class_id + 1
    image += generator.normal(0, 14, size=image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), truth, ids


def maps_of(truth: np.ndarray, ids: tuple[int, ...], blur: int) -> np.ndarray:
    """Return scores that are high around each object, the blurrier the less to the point."""
    kernel = np.ones(blur) / blur
    found = []
    for class_id in ids:
        score = (truth == class_id + 1).astype(np.float32)
        for axis in (0, 1):
            score = np.apply_along_axis(np.convolve, axis, score, kernel, mode="same")
        found.append(score / max(1e-6, float(score.max())))
    return np.stack(found).astype(np.float16)


def mask_of(maps: np.ndarray, ids: tuple[int, ...]) -> np.ndarray:
    values = np.array([0, *(class_id + 1 for class_id in ids)], dtype=np.uint8)
    scores = np.concatenate([np.full((1, *maps.shape[1:]), 0.45), maps])
    mask = values[scores.argmax(axis=0)]
    mask[:6, :20] = 255
    return mask


def gallery_entry(
    folder: Path, image_id: str, recipes: tuple[str, ...], seed: int, objects: int = 1
) -> GalleryEntry:
    image, truth, ids = photograph(seed, objects)
    maps = {name: maps_of(truth, ids, 9 + 8 * i) for i, name in enumerate(recipes)}
    masks = {name: mask_of(scores, ids) for name, scores in maps.items()}
    return write_gallery_entry(
        folder,
        image_id,
        "val",
        image,
        [CLASSES[i] for i in ids],
        ids,
        maps,
        masks,
        truth,
        {recipes[-1]: truth},
    )


@pytest.fixture(scope="session")
def make_metrics() -> Callable[..., dict[str, Any]]:
    return metrics


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., dict[str, Any]]:
    return evaluation


@pytest.fixture(scope="session")
def make_gallery_entry() -> Callable[..., GalleryEntry]:
    return gallery_entry


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    """Build a report in a folder; keywords replace its fields."""

    def build(folder: Path, **changes: Any) -> Report:
        recipes = ("cam", "gradcam", "saliency", "saliency_crops")
        evaluations = [
            evaluation(name, level)
            for name, level in zip(recipes, (0.412, 0.405, 0.361, 0.487), strict=True)
        ]
        evaluations[-1]["splits"]["val"]["segmentation"] = metrics(0.583, "segmentation")
        evaluations = [with_pairs(each) for each in evaluations]
        fields: dict[str, Any] = {
            "run": "creatures",
            "config": {
                "run": "creatures",
                "seed": 3,
                "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
                "recipes": {name: {"method": "gradient"} for name in recipes},
            },
            "evaluations": evaluations,
            "dataset": DatasetFacts(
                name="synthetic",
                classes=CLASSES,
                images={"train": 240, "val": 60},
                class_images={
                    "train": {name: 60 + i for i, name in enumerate(CLASSES)},
                    "val": {name: 14 + i for i, name in enumerate(CLASSES)},
                },
                skipped=(SkippedImage("img_0017", "train", "truncated JPEG"),),
            ),
            "classifier": classifier_facts(
                epochs=6,
                metrics=ClassifierMetrics(
                    split="val",
                    mean_ap=0.913,
                    per_class_ap={name: 0.99 - 0.04 * i for i, name in enumerate(CLASSES)},
                ),
            ),
            "gallery": tuple(
                gallery_entry(folder, f"img_{seed:04d}", recipes, seed, objects)
                for seed, objects in ((1, 1), (2, 2))
            ),
            "timings": (
                Timing("classifier", "", 240, 95.2, 44_800_000),
                Timing("saliency", "cam", 300, 30.5, 12_300_000),
                Timing("saliency", "saliency_crops", 300, 3725.0, 98_700_000),
                Timing("masks", "cam", 300, 41.0, 512),
            ),
            "versions": {"ws3": "0.1.0", "torch": "2.15.0"},
        }
        fields |= changes
        fields["evaluations"] = [evaluation_of(**each) for each in fields["evaluations"]]
        return Report(**fields)

    return build
