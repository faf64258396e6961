"""Pixel average precision (PxAP): how well maps rank pixels, without any threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED, checked_maps
from ws3.metrics.base import Counts, EvaluatedImage, FloatArray, Metric
from ws3.metrics.checks import (
    check_bins,
    check_class_values,
    check_classes,
    check_masks,
    check_values,
)
from ws3.metrics.ratios import mean_defined


class PixelAveragePrecision(Counts):
    """Area under each class's pixel-wise precision-recall curve (Choe et al. 2020, PxAP).

    A class's pixels are those of the images that came with a map of it, pooled over the images;
    255 is ignored. The area is the sum over thresholds of (recall gained) x precision, as in
    scikit-learn's `average_precision_score`, with scores rounded down to multiples of 1 / bins.
    (Choe et al. have one class per image and pool all; here it is one number per class.)

    Args:
        classes: Number of classes, the background not counted.
        bins: Steps of a score between 0 and 1, a power of two.

    Example:
        >>> truth = np.array([[1, 0, 1, 0, 255]], np.uint8)
        >>> maps = np.array([[[1.0, 0.75, 0.5, 0.25, 1.0]]])
        >>> precision = PixelAveragePrecision(classes=1)
        >>> precision.update(truth, maps, class_values=[1])
        >>> round(precision.mean(), 3)
        0.833
    """

    needs = ("maps",)

    def __init__(self, classes: int, bins: int = 1024) -> None:
        check_classes(classes)
        check_bins(bins)
        self.classes = classes
        self.bins = bins
        # [class, other pixel or the class's, bin]; one bin more than `bins`, for the score 1.
        self._counts = np.zeros((classes, 2, bins + 1), np.int64)

    def update(
        self,
        truth: npt.NDArray[np.uint8],
        maps: npt.NDArray[np.floating],
        class_values: Sequence[int],
    ) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255 (ignored).
            maps: floating point (C, H, W) in [0, 1], of the image's own classes.
            class_values: The C mask values of the maps.

        Raises:
            ValueError: If a dtype, shape or value is not as above, or a score is NaN.
        """
        check_masks(truth=truth)
        check_values("truth", truth, self.classes)
        check_class_values(class_values, self.classes)
        maps = checked_maps(maps, class_values)
        if maps.shape[1:] != truth.shape:
            raise ValueError(f"the maps are {maps.shape[1:]} pixels, the truth {truth.shape}")
        for value, scores in zip(class_values, maps, strict=True):
            # Rows: other pixel, the class's, ignored. (Faster than to select the known ones.)
            cell = (truth == value) * np.int32(self.bins + 1)
            cell[truth == IGNORED] = 2 * (self.bins + 1)
            cell += (scores * np.float32(self.bins)).astype(np.int32)
            counts = np.bincount(cell.ravel(), minlength=3 * (self.bins + 1))
            self._counts[value - 1] += counts.reshape(3, self.bins + 1)[:2]

    def add(self, image: EvaluatedImage) -> None:
        """Add the score maps of an image.

        Raises:
            ValueError: If it has none, or they don't fit it.
        """
        if image.maps is None:
            raise ValueError("the image came without score maps")
        self.update(image.truth, image.maps, image.class_values)

    def binned(self, starts: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the counts in coarser bins.

        Args:
            starts: Where bins begin, in steps of 1 / `bins`, the first at 0.

        Returns:
            int64 (classes, 2, bins): pixels of the class, then the others, by rising score.
        """
        return np.add.reduceat(self._counts[:, ::-1], starts, axis=2)

    def per_class(self) -> FloatArray:
        """Return the average precision of each class in [0, 1]; NaN if it has no pixel."""
        result = np.full(self.classes, np.nan)
        for index, counts in enumerate(self._counts):
            found = counts[1, ::-1].cumsum()
            marked = found + counts[0, ::-1].cumsum()
            if found[-1]:
                precision = found / np.maximum(marked, 1)
                result[index] = (np.diff(found, prepend=0) * precision).sum() / found[-1]
        return result

    def mean(self) -> float:
        """Return the mean over the classes that have pixels; NaN if none has."""
        return mean_defined(self.per_class())


class MeanPixelAp(Metric[PixelAveragePrecision]):
    """Mean pixel average precision, arXiv 2007.04178."""

    name, title = "pxap", "PxAP"
    counts = PixelAveragePrecision
    formula = (
        "area under the pixel-wise precision-recall curve of the score maps, over the images that "
        "are labelled with the class"
    )
    mean_over = "object classes that have pixels"
    note = "Of score maps only; it needs no threshold."

    def per_class(self, counts: PixelAveragePrecision) -> FloatArray:
        """Return the average precision of each class."""
        return counts.per_class()


__all__ = ["MeanPixelAp", "PixelAveragePrecision"]
