"""Where along an object a recipe finds it: near the reference map's peak, or far from it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED, checked_maps
from ws3.metrics.base import Counts, EvaluatedImage, FloatArray, Mask, Metric
from ws3.metrics.checks import check_classes, check_masks, check_values
from ws3.metrics.ratios import mean_defined, ratio

TENTHS = 10
"""Parts of the way from an object's peak to its farthest pixel."""


def tenths_of_objects(
    truth: Mask, maps: npt.NDArray[np.floating], class_values: Sequence[int]
) -> Mask:
    """Return how far each object's pixels lie from the peak of the reference recipe's map.

    An object is a connected region of a class in the ground truth, corners included, so two dogs
    in one picture are two objects with a peak each. Its peak is where the class's map is highest
    within it; of several such pixels the nearest counts, which makes the result independent of the
    order of the pixels. The distance is Euclidean and divided by that of the object's farthest
    pixel: 0 at the peak, 1 at the far end, whatever the object's size or shape.

    Args:
        truth: uint8 (H, W), 0 background, 255 ignored, anything else a class.
        maps: floating point (C, H, W) in [0, 1], the reference's maps of the image's classes.
        class_values: The C mask values of the maps.

    Returns:
        uint8 (H, W): t from 0 to 9 where the distance lies in [t / 10, (t + 1) / 10), the far end
        counted with 9; 255 outside the objects of these classes, and in an object that has no
        peak as all its pixels score the same.

    Raises:
        ValueError: If a dtype, shape or value is not as above, or a score is NaN.

    Example:
        >>> truth = np.array([[1, 1, 1, 1, 1, 0]], np.uint8)
        >>> maps = np.array([[[0.5, 0.9, 0.2, 0.1, 0.0, 1.0]]])
        >>> tenths_of_objects(truth, maps, [1])
        array([[  3,   0,   3,   6,   9, 255]], dtype=uint8)
    """
    check_masks(truth=truth)
    maps = checked_maps(maps, class_values)
    if maps.shape[1:] != truth.shape:
        raise ValueError(f"the maps are {maps.shape[1:]} pixels, the truth {truth.shape}")
    tenths = np.full(truth.shape, IGNORED, np.uint8)
    for value, scores in zip(class_values, maps, strict=True):
        same = (truth == value).view(np.uint8)
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(same, connectivity=8)
        for number in range(1, count):
            left, top, width, height, _ = boxes[number].tolist()
            box = np.s_[top : top + height, left : left + width]
            inside = labels[box] == number
            tenths[box][inside] = _tenths(inside, scores[box])
    return tenths


def _tenths(inside: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32]) -> Mask:
    """Return the tenth of each pixel of one object, in the order of `scores[inside]`."""
    peak = inside & (scores == scores[inside].max())
    rest = (~peak).view(np.uint8)
    distance = cv2.distanceTransform(rest, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[inside]
    # Squares are whole numbers, which makes the edges between tenths exact: where a share of them
    # is a square number, so are quotient and root.
    square = np.rint(np.square(distance, dtype=np.float64))
    farthest = square.max()
    if farthest == 0:
        return np.full(square.shape, IGNORED, np.uint8)
    square *= TENTHS**2
    square /= farthest
    found: Mask = np.minimum(np.sqrt(square, out=square), TENTHS - 1, out=square).astype(np.uint8)
    return found


class DistanceRecall(Counts):
    """Recall of objects' pixels by their distance from the peak of the reference recipe's map.

    Per class, over the images labelled with it; see `tenths_of_objects`. Pixels that are 255 in
    the mask are ignored.

    Args:
        classes: Number of classes, the background not counted.

    Example:
        >>> truth, found = np.array([[[1, 1, 1, 1, 1]], [[1, 1, 1, 0, 1]]], np.uint8)
        >>> recall = DistanceRecall(classes=1)
        >>> recall.update(truth, np.array([[3, 0, 3, 6, 9]], np.uint8), found)
        >>> recall.shares()[0, [0, 3, 6, 9]].tolist()
        [1.0, 1.0, 0.0, 1.0]
    """

    needs = ("tenths",)

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self.classes = classes
        self.pixels = np.zeros((classes, TENTHS), np.int64)
        self.found = np.zeros((classes, TENTHS), np.int64)

    def update(self, truth: Mask, tenths: Mask, prediction: Mask) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255.
            tenths: uint8 (H, W), 0 to 9, and 255 for a pixel that does not count.
            prediction: uint8 (H, W), values 0 to `classes` and 255.

        Raises:
            ValueError: If a dtype, shape or value is not as above.
        """
        check_masks(truth=truth, tenths=tenths, prediction=prediction)
        check_values("truth", truth, self.classes)
        check_values("tenths", tenths, TENTHS - 1)
        check_values("prediction", prediction, self.classes)
        known = (tenths != IGNORED) & (prediction != IGNORED)
        known &= (truth != 0) & (truth != IGNORED)
        cells = (truth[known] - 1) * np.int32(TENTHS) + tenths[known]
        self.pixels += self._counted(cells)
        self.found += self._counted(cells[truth[known] == prediction[known]])

    def add(self, image: EvaluatedImage) -> None:
        """Add the mask of an image whose distances are known.

        Raises:
            ValueError: If they are not, or the masks don't fit each other.
        """
        if image.tenths is None:
            raise ValueError("the image came without the distances of its objects' pixels")
        self.update(image.truth, image.tenths, image.mask)

    def shares(self) -> FloatArray:
        """Return the share found, float64 (classes, 10), the tenth nearest to the peak first.

        NaN where a class has no pixel.
        """
        return ratio(self.found, self.pixels)

    def mean_shares(self) -> FloatArray:
        """Return the mean of `shares` over the classes where it is defined, float64 (10,)."""
        return np.array([mean_defined(of_tenth) for of_tenth in self.shares().T])

    def recall(self, tenths: slice) -> FloatArray:
        """Return the share found of some tenths' pixels together, float64 (classes,)."""
        return ratio(self.found[:, tenths].sum(axis=1), self.pixels[:, tenths].sum(axis=1))

    def _counted(self, cells: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        counts = np.bincount(cells, minlength=self.classes * TENTHS)
        return counts.reshape(self.classes, TENTHS)


class _HalfRecall(Metric[DistanceRecall]):
    """Recall of one half of the way from the peak."""

    counts = DistanceRecall
    table = "regions"
    note = "Distances are shares of the way from the peak to the object's farthest pixel."
    half: slice

    def per_class(self, counts: DistanceRecall) -> FloatArray:
        """Return the recall of each class."""
        return counts.recall(self.half)


class NearRecall(_HalfRecall):
    """Recall of what lies near the peak of the reference's map."""

    name, title, half = "near_recall", "Near recall", slice(0, TENTHS // 2)
    formula = (
        "marked pixels / all pixels of the objects that lie less than half way from the peak of "
        "the reference's map"
    )


class FarRecall(_HalfRecall):
    """Recall of what lies far from the peak of the reference's map."""

    name, title, half = "far_recall", "Far recall", slice(TENTHS // 2, TENTHS)
    formula = (
        "marked pixels / all pixels of the objects that lie half way or farther from the peak of "
        "the reference's map"
    )


__all__ = ["TENTHS", "DistanceRecall", "FarRecall", "NearRecall", "tenths_of_objects"]
