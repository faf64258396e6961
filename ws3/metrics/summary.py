"""The metrics of one recipe, split and stage as plain data, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ws3.metrics.boundary import BoundaryIou
from ws3.metrics.confusion import Confusion
from ws3.metrics.pixel_ap import PixelAveragePrecision
from ws3.metrics.regions import REGIONS, RegionProfile
from ws3.metrics.sweep import ThresholdSweep


def summarise(
    classes: Sequence[str],
    confusion: Confusion,
    *,
    images: int,
    class_images: Sequence[int],
    threshold: float | None,
    threshold_kind: str,
    threshold_split: str,
    boundary: BoundaryIou | None = None,
    regions: RegionProfile | None = None,
    pixel_ap: PixelAveragePrecision | None = None,
    sweep: ThresholdSweep | None = None,
) -> dict[str, object]:
    """Return all figures by name; what is undefined or was not measured is None.

    `miou`, `precision`, `recall`, `fp_share` and `fn_share` are means with the background, all
    other means and `per_class` are over object classes.

    Args:
        classes: names of the classes, in class-list order, without the background.
        confusion: the counts of the masks.
        images: number of images counted.
        class_images: number of images labelled with each class.
        threshold: background score that made the masks; None if it is not a constant.
        threshold_kind: constant, power or tuned.
        threshold_split: the split whose ground truth chose the threshold, or "".
        boundary: boundary IoU of the masks.
        regions: region profile of the masks.
        pixel_ap: PxAP of the maps.
        sweep: all thresholds of the maps; gives `sweep`, a list of [threshold, mIoU].

    Returns:
        A dict of str, int, float, None, lists and dicts, which `json.dumps(allow_nan=False)`
        accepts.

    Raises:
        ValueError: if the numbers of classes differ.
    """
    if not len(classes) == len(class_images) == confusion.classes:
        raise ValueError(
            f"{len(classes)} class names and {len(class_images)} image counts came with "
            f"{confusion.classes} classes"
        )
    profile = dict.fromkeys(REGIONS, math.nan) if regions is None else regions.mean_profile()
    undefined = np.full(len(classes), np.nan)
    pxap = undefined if pixel_ap is None else pixel_ap.per_class()
    iou, precision, recall = confusion.iou(), confusion.precision(), confusion.recall()
    summary: dict[str, object] = {
        "images": images,
        "miou": _number(confusion.miou()),
        "precision": _number(confusion.mean_precision()),
        "recall": _number(confusion.mean_recall()),
        "pxap": None if pixel_ap is None else _number(pixel_ap.mean()),
        **{name: _number(value) for name, value in profile.items()},
        "fp_share": _number(confusion.mean_fp_share()),
        "fn_share": _number(confusion.mean_fn_share()),
        "boundary_iou": None if boundary is None else _number(boundary.mean()),
        "threshold": threshold,
        "threshold_kind": threshold_kind,
        "threshold_split": threshold_split,
        "ignored_share": _number(confusion.ignored_share()),
        "per_class": {
            name: {
                "iou": _number(iou[index + 1]),
                "precision": _number(precision[index + 1]),
                "recall": _number(recall[index + 1]),
                "pxap": _number(pxap[index]),
                "images": int(class_images[index]),
            }
            for index, name in enumerate(classes)
        },
    }
    if sweep is not None:
        summary["sweep"] = [[point, _number(miou)] for point, miou in sweep.curve()]
    return summary


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


__all__ = ["summarise"]
