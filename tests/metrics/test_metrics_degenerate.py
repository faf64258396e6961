"""Every metric on the cases that break metrics, with answers by hand; no warning is allowed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ws3.metrics.boundary import BoundaryIou
from ws3.metrics.confusion import (
    Confusion,
    ConfusionMetric,
    FalsePositiveShare,
    MeanIou,
    Precision,
    Recall,
)
from ws3.metrics.pixel_ap import PixelAveragePrecision
from ws3.metrics.regions import REGIONS, PartRecall, RegionProfile
from ws3.metrics.sweep import ThresholdSweep

pytestmark = pytest.mark.filterwarnings("error")

CLASSES = 2
NAN = math.nan
EMPTY = np.zeros((6, 8), np.uint8)
IGNORED = np.full((6, 8), 255, np.uint8)
FULL = np.ones((6, 8), np.uint8)  # class 1 everywhere
HALF = np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 6, axis=0).astype(np.uint8)

# truth, mask, then mIoU, mean precision, mean recall, boundary IoU, ignored share; the mask of the
# reference recipe is HALF: then the region profile.
CASES = {
    "an empty mask": (HALF, EMPTY, (0.25, 0.5, 0.5, 0.0, 0.0), (0.0, NAN, NAN, 0.0)),
    "an empty ground truth": (EMPTY, HALF, (0.25, 0.5, 0.5, 0.0, 0.0), (NAN, NAN, 1.0, 0.0)),
    "both empty": (EMPTY, EMPTY, (1.0, 1.0, 1.0, NAN, 0.0), (NAN, NAN, 0.0, 0.0)),
    "ground truth all ignored": (IGNORED, HALF, (NAN, NAN, NAN, NAN, 1.0), (NAN,) * 4),
    "mask all ignored": (HALF, IGNORED, (NAN, NAN, NAN, NAN, 1.0), (NAN,) * 4),
    "both all ignored": (IGNORED, IGNORED, (NAN, NAN, NAN, NAN, 1.0), (NAN,) * 4),
    "one class fills the image": (FULL, FULL, (1.0, 1.0, 1.0, 1.0, 0.0), (1.0, 1.0, NAN, NAN)),
    "one class fills the image and is missed": (
        *(FULL, EMPTY),
        *((0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, NAN, NAN)),
    ),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def test_masks(case):
    truth, mask, (miou, precision, recall, boundary, ignored), _ = case
    confusion, bands = Confusion(CLASSES), BoundaryIou(CLASSES)
    confusion.update(truth, mask)
    bands.update(truth, mask)
    assert confusion.miou() == pytest.approx(miou, nan_ok=True)
    assert confusion.mean_precision() == pytest.approx(precision, nan_ok=True)
    assert confusion.mean_recall() == pytest.approx(recall, nan_ok=True)
    assert bands.mean() == pytest.approx(boundary, nan_ok=True)
    assert confusion.ignored_share() == ignored
    total = confusion.miou() + confusion.mean_fp_share() + confusion.mean_fn_share()
    assert total == pytest.approx(1 if not math.isnan(miou) else NAN, nan_ok=True)
    # The absent class is undefined, not 0, and spoils no mean.
    for values in (confusion.iou(), confusion.precision(), confusion.recall()):
        assert math.isnan(values[2])
    assert math.isnan(bands.per_class()[1])


def test_region_profile(case):
    truth, mask, _, expected = case
    regions = RegionProfile(CLASSES)
    regions.update(truth, HALF, mask, [1])
    wanted = dict(zip(REGIONS, expected, strict=True))
    assert regions.mean_profile() == pytest.approx(wanted, nan_ok=True)
    for values in regions.profile().values():
        assert math.isnan(values[1])
    unlabelled = RegionProfile(CLASSES)
    unlabelled.update(truth, HALF, mask, [])
    assert all(math.isnan(value) for value in unlabelled.mean_profile().values())


def test_known_parts(case):
    truth, mask, _, _ = case
    parts = PartRecall(CLASSES)
    parts.update(truth, np.full_like(truth, 1), mask)
    known = (truth == 1) & (mask != 255)
    expected = (mask == 1)[known].mean() if known.any() else NAN
    assert parts.mean_recall() == pytest.approx(
        {"discriminative": expected, "shared": NAN}, nan_ok=True
    )


@pytest.mark.parametrize(
    ("truth", "score", "precision", "best"),
    [
        (EMPTY, 0.5, NAN, (0.5 + 1 / 256, 1.0)),  # above the score all is background
        (FULL, 0.5, 1.0, (0.0, 1.0)),
        (HALF, 0.5, 0.5, (0.0, 0.25)),
        (FULL, 0.0, 1.0, (0.0, 1.0)),
        (EMPTY, 1.0, NAN, (0.0, 0.0)),  # no threshold is above the score 1
    ],
)
def test_constant_maps(truth, score, precision, best):
    maps = np.full((1, 6, 8), score, np.float32)
    area, sweep = PixelAveragePrecision(CLASSES), ThresholdSweep(CLASSES)
    area.update(truth, maps, [1])
    sweep.update(truth, maps, [1])
    assert area.mean() == pytest.approx(precision, nan_ok=True)
    assert math.isnan(area.per_class()[1])
    assert sweep.best() == pytest.approx(best)


def test_nothing_known_ranks_nothing():
    area, sweep = PixelAveragePrecision(CLASSES), ThresholdSweep(CLASSES)
    area.update(IGNORED, np.full((1, 6, 8), 0.5, np.float32), [1])
    sweep.update(IGNORED, np.full((1, 6, 8), 0.5, np.float32), [1])
    assert math.isnan(area.mean())
    assert math.isnan(sweep.confusion(0.5).miou())
    with pytest.raises(ValueError, match="no threshold is best"):
        sweep.best()


@pytest.mark.parametrize("metric", [MeanIou(), Precision(), Recall(), FalsePositiveShare()])
def test_ground_truth_without_objects_gives_no_mean(metric: ConfusionMetric) -> None:
    nothing = np.zeros((4, 5), np.uint8)
    nothing[0] = 255
    counts = Confusion(classes=2)
    counts.update(nothing, np.zeros((4, 5), np.uint8))
    assert counts.miou() == 1.0  # of the background alone, which says nothing
    assert not counts.has_objects
    assert math.isnan(metric.mean(counts))
    sweep = ThresholdSweep(classes=2)
    sweep.update(nothing, np.zeros((0, 4, 5), np.float32), [])
    assert not sweep.has_objects
    one = nothing.copy()
    one[2, 2] = 2
    counts.update(one, nothing)
    sweep.update(one, np.zeros((0, 4, 5), np.float32), [])
    assert counts.has_objects
    assert sweep.has_objects
    assert not math.isnan(metric.mean(counts))
