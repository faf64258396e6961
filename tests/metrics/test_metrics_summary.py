import json
from typing import Any

import numpy as np
import pytest

from ws3.metrics.boundary import BoundaryIou
from ws3.metrics.confusion import Confusion
from ws3.metrics.pixel_ap import PixelAveragePrecision
from ws3.metrics.regions import RegionProfile
from ws3.metrics.summary import summarise
from ws3.metrics.sweep import ThresholdSweep

TRUTH = np.array([[0, 0, 1, 1, 255]], np.uint8)
MASK = np.array([[0, 1, 1, 1, 1]], np.uint8)
MAPS = np.array([[[0.0, 0.5, 0.75, 1.0, 1.0]]], np.float32)


def measured():
    metrics: dict[str, Any] = {
        "boundary": BoundaryIou(2),
        "regions": RegionProfile(2),
        "pixel_ap": PixelAveragePrecision(2),
        "sweep": ThresholdSweep(2, 4),
    }
    metrics["boundary"].update(TRUTH, MASK)
    metrics["regions"].update(TRUTH, MASK, MASK, [1])
    metrics["pixel_ap"].update(TRUTH, MAPS, [1])
    metrics["sweep"].update(TRUTH, MAPS, [1])
    return metrics


def summary(**metrics):
    confusion = Confusion(2)
    confusion.update(TRUTH, MASK)
    return summarise(
        ["cat", "dog"],
        confusion,
        images=1,
        class_images=[1, 0],
        threshold=0.5,
        threshold_kind="tuned",
        threshold_split="train",
        **metrics,
    )


def test_all_figures_by_hand():
    result = summary(**measured())
    sweep = result.pop("sweep")
    assert [point for point, _ in sweep] == [0, 0.25, 0.5, 0.75, 1]
    assert [miou for _, miou in sweep] == pytest.approx(
        [0.25, (1 / 2 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2, 1, (2 / 3 + 1 / 2) / 2]
    )
    assert result == {
        "images": 1,
        "miou": pytest.approx((1 / 2 + 2 / 3) / 2),
        "precision": pytest.approx((1 + 2 / 3) / 2),
        "recall": pytest.approx((1 / 2 + 1) / 2),
        "pxap": 1.0,
        "dr_recall": 1.0,
        "ndr_recall": None,
        "fpr_region_rate": 1.0,
        "tn_region_rate": 0.0,
        "fp_share": pytest.approx((0 + 1 / 3) / 2),
        "fn_share": pytest.approx((1 / 2 + 0) / 2),
        "boundary_iou": pytest.approx(2 / 3),
        "threshold": 0.5,
        "threshold_kind": "tuned",
        "threshold_split": "train",
        "ignored_share": 0.2,
        "per_class": {
            "cat": {
                "iou": pytest.approx(2 / 3),
                "precision": pytest.approx(2 / 3),
                "recall": 1.0,
                "pxap": 1.0,
                "images": 1,
            },
            "dog": {"iou": None, "precision": None, "recall": None, "pxap": None, "images": 0},
        },
    }


def test_it_survives_strict_json():
    result = summary(**measured())
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_what_was_not_measured_is_none():
    result = summary()
    assert "sweep" not in result
    assert result["pxap"] is result["boundary_iou"] is result["dr_recall"] is None
    assert result["per_class"]["cat"]["pxap"] is None
    assert result["miou"] is not None


def test_nothing_counted_is_none():
    result = summarise(
        ["cat"],
        Confusion(1),
        images=0,
        class_images=[0],
        threshold=None,
        threshold_kind="power",
        threshold_split="",
        boundary=BoundaryIou(1),
        regions=RegionProfile(1),
        pixel_ap=PixelAveragePrecision(1),
        sweep=ThresholdSweep(1, 2),
    )
    json.dumps(result, allow_nan=False)
    assert result["miou"] is result["ignored_share"] is result["threshold"] is None
    assert result["sweep"] == [[0, None], [0.5, None], [1, None]]


def test_other_numbers_of_classes_are_refused():
    with pytest.raises(ValueError, match="classes"):
        summarise(
            ["cat"],
            Confusion(2),
            images=0,
            class_images=[0],
            threshold=None,
            threshold_kind="power",
            threshold_split="",
        )
