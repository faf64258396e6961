"""Boundary IoU: agreement of outlines."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED
from ws3.metrics.base import Counts, EvaluatedImage, FloatArray, Metric
from ws3.metrics.checks import check_classes, check_masks, check_values
from ws3.metrics.ratios import mean_defined, ratio


class BoundaryIou(Counts):
    """IoU of the inner boundary bands of masks, per object class (Cheng et al. 2021).

    A class's band is its pixels within d of its contour or of the image border, where
    d = `dilation` x the image's diagonal, rounded, at least 1 pixel. Intersections and unions are
    summed over the images before they are divided, as for mIoU. Pixels that are 255 in either
    mask belong to no class in both, so that masks which agree on all others score 1.

    Args:
        classes: Number of classes, the background not counted.
        dilation: Width of the band as a share of the image's diagonal.

    Example:
        >>> truth, shifted = np.zeros((2, 60, 80), np.uint8)
        >>> truth[10:30, 10:30] = shifted[10:30, 11:31] = 1
        >>> boundary = BoundaryIou(classes=1)
        >>> boundary.update(truth, shifted)
        >>> round(boundary.mean(), 3)
        0.6
    """

    def __init__(self, classes: int, dilation: float = 0.02) -> None:
        check_classes(classes)
        if not 0 < dilation <= 1:
            raise ValueError(f"dilation must lie in (0, 1], not {dilation}")
        self.classes = classes
        self.dilation = dilation
        self._intersection = np.zeros(classes, np.int64)
        self._union = np.zeros(classes, np.int64)

    def update(self, truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255.
            prediction: uint8 (H, W), the same values.

        Raises:
            ValueError: If a dtype, shape or value is not as above.
        """
        check_masks(truth=truth, prediction=prediction)
        check_values("truth", truth, self.classes)
        check_values("prediction", prediction, self.classes)
        width = max(1, round(self.dilation * float(np.hypot(*truth.shape))))
        known = (truth != IGNORED) & (prediction != IGNORED)
        present = np.bincount(truth[known], minlength=256)
        present += np.bincount(prediction[known], minlength=256)
        for value in np.flatnonzero(present[1:]) + 1:
            expected = _band(known & (truth == value), width)
            found = _band(known & (prediction == value), width)
            self._intersection[value - 1] += np.count_nonzero(expected & found)
            self._union[value - 1] += np.count_nonzero(expected | found)

    def add(self, image: EvaluatedImage) -> None:
        """Add the mask of an image."""
        self.update(image.truth, image.mask)

    def per_class(self) -> FloatArray:
        """Return the boundary IoU of each class; NaN for a class that occurs in neither mask."""
        return ratio(self._intersection, self._union)

    def mean(self) -> float:
        """Return the mean over the object classes that occur; NaN if none does."""
        return mean_defined(self.per_class())


class MeanBoundaryIou(Metric[BoundaryIou]):
    """Mean boundary IoU, arXiv 2103.16562."""

    name, title = "boundary_iou", "Boundary IoU"
    counts = BoundaryIou
    formula = "IoU of the bands along the inside of the outlines, 2 % of the diagonal wide"
    mean_over = "object classes that occur in the ground truth or the masks"

    def per_class(self, counts: BoundaryIou) -> FloatArray:
        """Return the boundary IoU of each class."""
        return counts.per_class()


def _band(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    # A frame of zeros, so that an object cut off by the image border has its contour there.
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    core = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)
    band: npt.NDArray[np.bool_] = mask & (core[1:-1, 1:-1] == 0)
    return band


__all__ = ["BoundaryIou", "MeanBoundaryIou"]
