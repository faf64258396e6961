"""All background thresholds in one pass over the maps."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ws3.labels import label_argmax
from ws3.metrics.checks import (
    check_bins,
    check_class_values,
    check_classes,
    check_masks,
    check_values,
)
from ws3.metrics.confusion import Confusion


class ThresholdSweep:
    """The confusion matrix of thresholded maps, for every threshold k / bins at once.

    A pixel belongs to its highest-scoring class if that score is at least the threshold, else to
    the background: the rule of `ws3.masks` without a CRF. So the winner and its score's bin are all
    that must be counted: int64 [truth, winner, bin].

    Args:
        classes: Number of classes, the background not counted.
        bins: Thresholds between 0 and 1, a power of two. (A score times it is then exact, so the
            results are those of thresholding the scores themselves.)

    Example:
        >>> sweep = ThresholdSweep(classes=1)
        >>> truth = np.array([[0, 0, 1, 1]], np.uint8)
        >>> sweep.update(truth, np.array([[[0.1, 0.2, 0.5, 1.0]]]), class_values=[1])
        >>> sweep.best()
        (0.203125, 1.0)
    """

    def __init__(self, classes: int, bins: int = 256) -> None:
        check_classes(classes)
        check_bins(bins)
        self.classes = classes
        self.bins = bins
        # One bin more than `bins`, for the score 1.
        self._counts = np.zeros((classes + 1, classes + 1, bins + 1), np.int64)
        self._ignored = 0

    def update(
        self,
        truth: npt.NDArray[np.uint8],
        maps: npt.NDArray[np.floating],
        class_values: Sequence[int],
    ) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255 (ignored).
            maps: floating point (C, H, W) in [0, 1]; with C = 0 all is background.
            class_values: The C mask values of the maps.

        Raises:
            ValueError: If a dtype, shape or value is not as above, or a score is NaN.
        """
        check_masks(truth=truth)
        check_values("truth", truth, self.classes)
        check_class_values(class_values, self.classes)
        if maps.shape[1:] != truth.shape:
            raise ValueError(f"the maps are {maps.shape[1:]} pixels, the truth {truth.shape}")
        values, score = label_argmax(maps, class_values)
        # Count over the image's own classes, as a histogram over all would be large to add.
        winners = list(class_values) or [0]
        position = np.zeros(256, np.uint8)
        position[winners] = np.arange(len(winners))
        shape = (self.classes + 2, len(winners), self.bins + 1)
        cell = np.minimum(truth, self.classes + 1).astype(np.int32)
        cell *= shape[1]
        cell += np.asarray(cv2.LUT(values, position), np.uint8)
        cell *= shape[2]
        cell += (score * np.float32(self.bins)).astype(np.int32)
        counts = np.bincount(cell.ravel(), minlength=shape[0] * shape[1] * shape[2]).reshape(shape)
        self._counts[:, winners] += counts[:-1]
        self._ignored += int(counts[-1].sum())

    def confusion(self, threshold: float) -> Confusion:
        """Return the confusion matrix of the masks at a threshold, exactly.

        Raises:
            ValueError: If the threshold is not k / bins with k from 0 to bins.
        """
        step = threshold * self.bins
        if not (0 <= step <= self.bins and step == int(step)):
            raise ValueError(f"the threshold must be k / {self.bins} in [0, 1], not {threshold}")
        return self._confusion(self._counts[:, :, int(step) :].sum(axis=2))

    def curve(self) -> list[tuple[float, float]]:
        """Return (threshold, mIoU) for every threshold k / bins, in ascending order."""
        reached = self._counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
        return [
            (step / self.bins, self._confusion(reached[:, :, step]).miou())
            for step in range(self.bins + 1)
        ]

    def best(self) -> tuple[float, float]:
        """Return the threshold of the highest mIoU, the lowest of equals, and that mIoU.

        Raises:
            ValueError: If no pixel has been counted.
        """
        if not self._counts.any():
            raise ValueError("no threshold is best: no pixel of known ground truth was counted")
        return max(self.curve(), key=lambda point: (point[1], -point[0]))

    @property
    def has_objects(self) -> bool:
        """Whether any pixel of the ground truth is of a class."""
        return bool(self._counts[1:].any())

    def _confusion(self, reached: npt.NDArray[np.int64]) -> Confusion:
        """From the pixels [truth, winner] whose score reaches the threshold."""
        result = Confusion(self.classes)
        result.matrix[:, 1:] = reached[:, 1:]
        result.matrix[:, 0] = self._counts.sum(axis=(1, 2)) - reached[:, 1:].sum(axis=1)
        result.ignored = self._ignored
        return result


__all__ = ["ThresholdSweep"]
