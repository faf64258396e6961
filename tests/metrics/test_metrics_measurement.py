"""All metrics of one stage together: by hand, undefined, and not measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ws3.errors import Ws3Error
from ws3.metrics.base import Counts, EvaluatedImage, Metric
from ws3.metrics.confusion import Confusion, ConfusionMetric, MeanIou
from ws3.metrics.measurement import Measurement
from ws3.metrics.registry import all_metrics
from ws3.metrics.sweep import ThresholdSweep

TRUTH = np.array([[0, 0, 1, 1, 255]], np.uint8)
MASK = np.array([[0, 1, 1, 1, 1]], np.uint8)
MAPS = np.array([[[0.0, 0.5, 0.75, 1.0, 1.0]]], np.float32)
TENTHS = np.array([[255, 255, 0, 9, 255]], np.uint8)
PARTS = np.array([[0, 0, 1, 2, 2]], np.uint8)


def measured(metrics=None, truth=TRUTH, mask=MASK, **changes):
    measurement = Measurement(2, all_metrics() if metrics is None else metrics)
    measurement.add(EvaluatedImage(truth, mask, reference=MASK, class_values=(1,), **changes))
    return measurement


def test_all_figures_by_hand():
    measurement = measured(maps=MAPS)
    assert measurement.means() == {
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
    }
    assert measurement.ignored_share() == 0.2
    cat, dog = measurement.per_class()
    assert cat == {
        "iou": pytest.approx(2 / 3),
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
        "pxap": 1.0,
        "dr_recall": 1.0,
        "ndr_recall": None,
        "fpr_region_rate": 1.0,
        "tn_region_rate": 0.0,
        "fp_share": pytest.approx(1 / 3),
        "fn_share": 0.0,
        "boundary_iou": pytest.approx(2 / 3),
    }
    assert dog == dict.fromkeys(cat)


def test_every_threshold_by_hand():
    sweep = ThresholdSweep(2, 4)
    sweep.update(TRUTH, MAPS, [1])
    points, mious = zip(*sweep.curve(), strict=True)
    assert points == (0, 0.25, 0.5, 0.75, 1)
    assert mious == pytest.approx(
        [0.25, (1 / 2 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2, 1, (2 / 3 + 1 / 2) / 2]
    )


def test_it_survives_strict_json():
    measurement = measured(maps=MAPS)
    for figures in (measurement.means(), *measurement.per_class()):
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_what_was_not_measured_is_absent():
    bare, whole = measured(), measured(maps=MAPS, parts=PARTS, tenths=TENTHS)
    assert set(whole.means()) - set(bare.means()) == {
        "pxap",
        "discriminative_part_recall",
        "shared_part_recall",
        "near_recall",
        "far_recall",
    }
    assert "pxap" not in bare.per_class()[0]
    assert bare.means()["miou"] is not None
    assert set(whole.means()) == {metric.name for metric in all_metrics()}


def test_nothing_known_is_none():
    ignored = np.full_like(TRUTH, 255)
    measurement = measured(truth=ignored, maps=MAPS, parts=PARTS)
    figures = measurement.means()
    json.dumps(figures, allow_nan=False)
    assert set(figures.values()) == {None}
    assert measurement.ignored_share() == 1
    assert Measurement(2, all_metrics()).ignored_share() is None


def test_images_add_up():
    measurement = measured(maps=MAPS)
    measurement.add(EvaluatedImage(MASK, TRUTH, reference=MASK, class_values=(1,)))
    together = Confusion(2)
    together.update(TRUTH, MASK)
    together.update(MASK, TRUTH)
    assert measurement.means()["miou"] == together.miou()


def test_metrics_of_the_same_counts_count_once(monkeypatch):
    calls = []
    update = Confusion.update

    def counted(self, *masks):
        calls.append(1)
        update(self, *masks)

    monkeypatch.setattr(Confusion, "update", counted)
    measured()
    assert calls == [1]


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="prediction holds the value 9"):
        measured(mask=np.full_like(TRUTH, 9))
    with pytest.raises(ValueError, match="the maps are"):
        measured(maps=MAPS[:, :, 1:])


class Images(Counts):
    """The number of images that were labelled with each class."""

    def __init__(self, classes):
        self.images = np.zeros(classes, np.int64)

    def add(self, image):
        self.images[np.array(image.class_values) - 1] += 1


class LabelledImages(Metric[Images]):
    name, title, formula, unit = "labelled", "Labelled", "labelled images", "images"
    counts = Images

    def per_class(self, counts):
        return counts.images.astype(float)


def test_a_metric_may_bring_counts_of_its_own():
    measurement = measured([LabelledImages()])
    assert measurement.means() == {"labelled": 0.5}
    assert measurement.per_class() == [{"labelled": 1.0}, {"labelled": 0.0}]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones(3), r"labelled returned \(3,\) numbers for 2 classes; correct its per_class"),
        (np.array([0.5, np.inf]), "labelled is infinite; it must return NaN"),
    ],
)
def test_a_metric_that_returns_nonsense_is_named(values, words):
    class Odd(LabelledImages):
        def per_class(self, counts):
            return values

    with pytest.raises(Ws3Error, match=words):
        measured([Odd()]).per_class()


def test_a_confusion_metric_counts_the_background_in_its_mean():
    class One(ConfusionMetric):
        name, title, formula = "one", "One", "1 for the background, else 0"

        def values(self, counts):
            return np.array([1.0, 0.0, 0.0])

    measurement = measured([One(), MeanIou()])
    assert measurement.means()["one"] == pytest.approx(1 / 3)
    assert [figures["one"] for figures in measurement.per_class()] == [0, 0]
