"""The confusion matrix of masks, and everything that is derived from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED
from ws3.metrics.checks import check_classes, check_masks
from ws3.metrics.ratios import mean_defined, ratio

FloatArray = npt.NDArray[np.float64]


class Confusion:
    """Counts of (ground truth, prediction) pairs over the pixels of any number of images.

    A pixel that is 255 in either mask is ignored and only counted in `ignored`. Results are
    arrays of `classes` + 1 numbers, the background first; NaN is undefined.

    Args:
        classes: number of classes, the background not counted.

    Attributes:
        classes: as given.
        matrix: int64 (classes + 1, classes + 1); rows are the ground truth.
        ignored: number of ignored pixels.
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self.classes = classes
        self.matrix = np.zeros((classes + 1, classes + 1), np.int64)
        self.ignored = 0

    def update(self, truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255.
            prediction: uint8 (H, W), likewise.

        Raises:
            ValueError: if dtypes, shapes or values are others.
        """
        check_masks(truth=truth, prediction=prediction)
        pairs = (truth.astype(np.uint16) << 8) | prediction
        counts = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
        known = self.classes + 1
        for name, strange in (
            ("truth", counts[known:IGNORED]),
            ("prediction", counts.T[known:255]),
        ):
            if strange.any():
                value = known + int(strange.any(axis=1).argmax())
                raise ValueError(
                    f"{name} holds the value {value}; 0 to {self.classes} and 255 (ignored) "
                    "are legal"
                )
        valid = counts[:known, :known]
        self.matrix += valid
        self.ignored += truth.size - int(valid.sum())

    def merge(self, other: Confusion) -> None:
        """Add another's counts.

        Raises:
            ValueError: if it is over another number of classes.
        """
        if other.classes != self.classes:
            raise ValueError(f"can't merge counts of {other.classes} and {self.classes} classes")
        self.matrix += other.matrix
        self.ignored += other.ignored

    def iou(self) -> FloatArray:
        """Intersection over union; NaN for a class that occurs in neither mask."""
        return ratio(self._hits(), self._union())

    def miou(self) -> float:
        """Mean IoU over the classes that occur in ground truth or prediction.

        The background is one of them: the convention of Pascal VOC (Everingham et al. 2010).
        """
        return mean_defined(self.iou())

    def precision(self) -> FloatArray:
        """Share of the pixels predicted as a class that are right; NaN if none is."""
        return ratio(self._hits(), self.matrix.sum(axis=0))

    def recall(self) -> FloatArray:
        """Share of a class's pixels that are found; NaN if it has none."""
        return ratio(self._hits(), self.matrix.sum(axis=1))

    def mean_precision(self) -> float:
        """Mean precision over the classes where it is defined, the background included."""
        return mean_defined(self.precision())

    def mean_recall(self) -> float:
        """Mean recall over the classes where it is defined, the background included."""
        return mean_defined(self.recall())

    def fp_share(self) -> FloatArray:
        """False positives as a share of the union: IoU + FP share + FN share = 1 per class."""
        return ratio(self.matrix.sum(axis=0) - self._hits(), self._union())

    def fn_share(self) -> FloatArray:
        """False negatives as a share of the union: IoU + FP share + FN share = 1 per class."""
        return ratio(self.matrix.sum(axis=1) - self._hits(), self._union())

    def mean_fp_share(self) -> float:
        """Mean false-positive share over the classes of `miou`; the three means add up to 1."""
        return mean_defined(self.fp_share())

    def mean_fn_share(self) -> float:
        """Mean false-negative share over the classes of `miou`; the three means add up to 1."""
        return mean_defined(self.fn_share())

    def ignored_share(self) -> float:
        """Share of all pixels that are 255 in either mask; NaN if there is no pixel."""
        pixels = self.ignored + int(self.matrix.sum())
        return self.ignored / pixels if pixels else float("nan")

    def _hits(self) -> npt.NDArray[np.int64]:
        return self.matrix.diagonal()

    def _union(self) -> npt.NDArray[np.int64]:
        union: npt.NDArray[np.int64] = (
            self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - self.matrix.diagonal()
        )
        return union


__all__ = ["Confusion"]
