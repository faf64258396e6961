"""How right a mask is where it is sure: coverage and precision at every cut of the confidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.labels import CONFIDENCE_STEPS, IGNORED
from ws3.metrics.base import FloatArray
from ws3.metrics.checks import check_classes, check_masks, check_values
from ws3.metrics.ratios import mean_defined, ratio

_AT_ONCE = 1 << 20  # pixels


class ConfidenceCounts:
    """Pixels by the label that the mask gives them, whether that is right, and their confidence.

    A pixel that is 255 in ground truth or mask counts nowhere. At the cut k / 256 the pixels are
    kept whose confidence has the value k or more: at cut 0 all of them. *Coverage* is the share of
    the pixels that are kept, *precision* the share of those kept that are right. So the precision
    at cut 0 is that of `ws3.metrics.confusion`, to the last bit.

    Args:
        classes: Number of classes, the background not counted.

    Attributes:
        classes: As given.
        pixels: int64 (2, classes + 1, 256): wrong ones and right ones, by the mask's label and the
            value of the confidence.
        objects: Number of pixels that are of a class in the ground truth.

    Example:
        >>> counts = ConfidenceCounts(classes=1)
        >>> truth, mask = np.array([[0, 1, 1, 0]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
        >>> counts.update(truth, mask, np.array([[255, 200, 128, 127]], np.uint8))
        >>> counts.class_precision()[1, [0, 128, 201]].round(3).tolist()  # 2 of 3, 2 of 2, none
        [0.667, 1.0, nan]
        >>> counts.coverage()[[0, 128, 201]].tolist()
        [1.0, 0.75, 0.25]
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self.classes = classes
        self.pixels = np.zeros((2, classes + 1, CONFIDENCE_STEPS), np.int64)
        self.objects = 0

    @classmethod
    def of(cls, pixels: npt.ArrayLike, objects: int) -> ConfidenceCounts:
        """Return counts that were written down; see the attributes."""
        table = np.array(pixels, np.int64)
        counts = cls(table.shape[1] - 1)
        counts.pixels, counts.objects = table, objects
        return counts

    def update(
        self,
        truth: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.uint8],
        confidence: npt.NDArray[np.uint8],
    ) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255 (ignored).
            mask: uint8 (H, W), the same values.
            confidence: uint8 (H, W), in 256ths.

        Raises:
            ValueError: If a dtype, shape or value is not as above.
        """
        check_masks(truth=truth, mask=mask, confidence=confidence)
        check_values("truth", truth, self.classes)
        check_values("mask", mask, self.classes)
        # Some rows at a time, as a whole number per pixel takes eight times the picture's memory.
        rows = max(1, _AT_ONCE // max(1, truth.shape[1]))
        for first in range(0, len(truth), rows):
            self._add(*(part[first : first + rows] for part in (truth, mask, confidence)))

    def _add(
        self,
        truth: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.uint8],
        confidence: npt.NDArray[np.uint8],
    ) -> None:
        known = (truth != IGNORED) & (mask != IGNORED)
        truth, mask, confidence = truth[known], mask[known], confidence[known]
        cell = (truth == mask).astype(np.int64)
        cell *= self.classes + 1
        cell += mask
        cell *= CONFIDENCE_STEPS
        cell += confidence
        counts = np.bincount(cell, minlength=self.pixels.size)
        self.pixels += counts.reshape(self.pixels.shape)
        self.objects += int(np.count_nonzero(truth))

    def add(self, other: ConfidenceCounts) -> None:
        """Add the counts of other images.

        Raises:
            ValueError: If they are of another number of classes.
        """
        if other.classes != self.classes:
            raise ValueError(f"counts of {other.classes} classes don't go with {self.classes}")
        self.pixels += other.pixels
        self.objects += other.objects

    def kept(self) -> npt.NDArray[np.int64]:
        """Return how many wrong and right pixels each cut keeps, int64 (2, classes + 1, 256)."""
        kept: npt.NDArray[np.int64] = self.pixels[..., ::-1].cumsum(axis=-1)[..., ::-1]
        return kept

    def class_coverage(self) -> FloatArray:
        """Return the coverage of each label, float64 (classes + 1, 256), the background first.

        NaN where the mask doesn't show the label.
        """
        kept = self.kept().sum(axis=0)
        return ratio(kept, np.broadcast_to(kept[:, :1], kept.shape))

    def class_precision(self) -> FloatArray:
        """Return the precision of each label, float64 (classes + 1, 256).

        NaN where no pixel of the label is kept.
        """
        kept = self.kept()
        return ratio(kept[1], kept.sum(axis=0))

    def coverage(self) -> FloatArray:
        """Return the share of all pixels that each cut keeps, float64 (256,)."""
        kept = self.kept().sum(axis=(0, 1))
        return ratio(kept, np.broadcast_to(kept[:1], kept.shape))

    def precision(self) -> FloatArray:
        """Return the share of all pixels kept that are right, float64 (256,)."""
        kept = self.kept().sum(axis=1)
        return ratio(kept[1], kept.sum(axis=0))

    def mean_coverage(self) -> FloatArray:
        """Return the mean of the labels' coverages, over those that the mask shows."""
        return self._means(self.class_coverage())

    def mean_precision(self) -> FloatArray:
        """Return the mean of the labels' precisions, over those of which a pixel is kept.

        NaN, as the mean precision of a mask is, if the ground truth has no object pixel.
        """
        return self._means(self.class_precision())

    def precision_of_all(self) -> FloatArray:
        """Return the mean precision where a cut leaves pixels of all labels that the mask shows.

        Returns:
            float64 (256,): as `mean_precision`, and NaN where a label is lost: a mean over the rest
            would be of something else.
        """
        coverage = self.class_coverage()
        shown = ~np.isnan(coverage[:, 0])
        return np.where((coverage[shown] > 0).all(axis=0), self.mean_precision(), np.nan)

    def lowest_cut(self, precision: float) -> int | None:
        """Return the lowest cut whose `precision_of_all` reaches a share; None if there is none.

        Args:
            precision: In [0, 1].

        Returns:
            The least value of the confidence that is kept.
        """
        reached = np.flatnonzero(self.precision_of_all() >= precision)
        return int(reached[0]) if reached.size else None

    def _means(self, values: FloatArray) -> FloatArray:
        if not self.objects:
            return np.full(CONFIDENCE_STEPS, np.nan)
        return np.array([mean_defined(of_cut) for of_cut in values.T])


__all__ = ["ConfidenceCounts"]
