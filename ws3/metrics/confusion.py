"""The confusion matrix of masks, and everything that is derived from it."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED
from ws3.metrics.base import Counts, EvaluatedImage, FloatArray, Metric
from ws3.metrics.checks import check_classes, check_masks
from ws3.metrics.ratios import mean_defined, ratio

_MEAN_OVER = "classes where it is defined, and the background"
_UNION_MEAN_OVER = "classes that occur in the ground truth or the masks, and the background"


class Confusion(Counts):
    """Counts of (ground truth, prediction) pairs over the pixels of any number of images.

    A pixel that is 255 in either mask is ignored and only counted in `ignored`. Results are
    arrays of `classes` + 1 numbers, the background first; NaN is undefined.

    Args:
        classes: Number of classes, the background not counted.

    Attributes:
        classes: As given.
        matrix: int64 (classes + 1, classes + 1); rows are the ground truth.
        ignored: Number of ignored pixels.

    Example:
        >>> confusion = Confusion(classes=1)
        >>> confusion.update(np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 1]], np.uint8))
        >>> confusion.iou().tolist(), confusion.miou()
        ([0.5, 0.5], 0.5)
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
            prediction: uint8 (H, W), the same values.

        Raises:
            ValueError: If a dtype, shape or value is not as above.
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

    def add(self, image: EvaluatedImage) -> None:
        """Add the mask of an image."""
        self.update(image.truth, image.mask)

    def iou(self) -> FloatArray:
        """Intersection over union; NaN for a class that occurs in neither mask."""
        return ratio(self._hits(), self._union())

    def miou(self) -> float:
        """Mean IoU over the classes that occur in ground truth or prediction.

        The background is one of them: the convention of Pascal VOC (Everingham et al. 2010).
        """
        return mean_defined(self.iou())

    @property
    def has_objects(self) -> bool:
        """Whether any pixel of the ground truth is of a class, where both masks are known."""
        return bool(self.matrix[1:].any())

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


class ConfusionMetric(Metric[Confusion]):
    """A figure of the confusion matrix whose mean counts the background as a class."""

    counts = Confusion
    mean_over = _MEAN_OVER

    @abstractmethod
    def values(self, counts: Confusion) -> FloatArray:
        """Return the figure of the background and each class, float64 (classes + 1,)."""

    def per_class(self, counts: Confusion) -> FloatArray:
        """Return the figure of each object class, float64 (classes,); NaN where undefined."""
        return self.values(counts)[1:]

    def mean(self, counts: Confusion) -> float:
        """Return the mean over the classes where it is defined, the background included.

        NaN if the ground truth has no object pixel: masks without any object would be perfect.
        """
        return mean_defined(self.values(counts)) if counts.has_objects else float("nan")


class MeanIou(ConfusionMetric):
    """Mean intersection over union (Everingham et al. 2010)."""

    name, title = "miou", "mIoU"
    formula = "TP / (TP + FP + FN), over all pixels of the split together"
    mean_over = _UNION_MEAN_OVER

    @property
    def class_name(self) -> str:
        """Key of one class's figure in JSON."""
        return "iou"

    def values(self, counts: Confusion) -> FloatArray:
        """Return the IoU of the background and each class."""
        return counts.iou()


class Precision(ConfusionMetric):
    """Mean precision."""

    name, title = "precision", "Precision"
    formula = "TP / (TP + FP)"

    def values(self, counts: Confusion) -> FloatArray:
        """Return the precision of the background and each class."""
        return counts.precision()


class Recall(ConfusionMetric):
    """Mean recall."""

    name, title = "recall", "Recall"
    formula = "TP / (TP + FN)"

    def values(self, counts: Confusion) -> FloatArray:
        """Return the recall of the background and each class."""
        return counts.recall()


class FalsePositiveShare(ConfusionMetric):
    """Mean share of false positives in the union."""

    name, title = "fp_share", "FP share"
    formula = "FP / (TP + FP + FN)"
    mean_over = _UNION_MEAN_OVER
    note = "IoU, FP share and FN share add up to one."
    direction = "lower"

    def values(self, counts: Confusion) -> FloatArray:
        """Return the share of the background and each class."""
        return counts.fp_share()


class FalseNegativeShare(ConfusionMetric):
    """Mean share of false negatives in the union."""

    name, title = "fn_share", "FN share"
    formula = "FN / (TP + FP + FN)"
    mean_over = _UNION_MEAN_OVER
    note = FalsePositiveShare.note
    direction = "lower"

    def values(self, counts: Confusion) -> FloatArray:
        """Return the share of the background and each class."""
        return counts.fn_share()


__all__ = [
    "Confusion",
    "ConfusionMetric",
    "FalseNegativeShare",
    "FalsePositiveShare",
    "MeanIou",
    "Precision",
    "Recall",
]
