"""Pairs of classes: which is taken for which, and which occur in the same images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ws3.metrics.base import FloatArray
from ws3.metrics.checks import check_class_values, check_classes
from ws3.metrics.ratios import ratio

Kind = Literal["classes", "missed", "invented"]
"""Object for another object, object for background, background for an object."""


class Pair(NamedTuple):
    """Pixels of one class that a mask gives to another.

    Attributes:
        truth: Mask value in the ground truth, 0 being the background.
        called: Mask value in the mask.
        share: Of all pixels that are `truth`, in [0, 1].
        pixels: Their number.
    """

    truth: int
    called: int
    share: float
    pixels: int


def shares_of_truth(matrix: npt.ArrayLike) -> FloatArray:
    """Return what the pixels of each class are called, as shares of its pixels.

    Args:
        matrix: Integers (classes + 1, classes + 1), as `Confusion.matrix`; rows are ground truth.

    Returns:
        float64 of the same shape: each row adds up to 1, and is NaN if the class has no pixel. The
        diagonal is the recall.

    Example:
        >>> shares_of_truth([[8, 2], [1, 3]]).tolist()
        [[0.8, 0.2], [0.25, 0.75]]
    """
    counts = np.asarray(matrix, np.int64)
    return ratio(counts, np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape))


def largest_confusions(matrix: npt.ArrayLike, kind: Kind, count: int) -> list[Pair]:
    """Return the largest confusions of one kind, as shares of the pixels that are confused.

    Args:
        matrix: As for `shares_of_truth`.
        kind: Which pairs: of two object classes, of objects that are called background (missed),
            or of background that is called an object (invented).
        count: How many at most; pairs without a pixel are none.

    Returns:
        The largest share first; of equals the class that comes first in the class list.

    Example:
        >>> [pair] = largest_confusions([[9, 0, 1], [0, 6, 2], [0, 0, 5]], "classes", count=3)
        >>> pair.truth, pair.called, pair.share, pair.pixels
        (1, 2, 0.25, 2)
    """
    counts = np.array(matrix, np.int64)
    shares = shares_of_truth(counts)
    np.fill_diagonal(counts, 0)
    here = np.zeros_like(counts)
    region = {"classes": np.s_[1:, 1:], "missed": np.s_[1:, :1], "invented": np.s_[:1, 1:]}[kind]
    here[region] = counts[region]
    pairs = [
        Pair(truth, called, float(shares[truth, called]), int(counts[truth, called]))
        for truth, called in np.argwhere(here).tolist()
    ]
    return sorted(pairs, key=lambda pair: (-pair.share, pair.truth, pair.called))[:count]


def images_together(labels: Iterable[Sequence[int]], classes: int) -> npt.NDArray[np.int64]:
    """Return how many images are labelled with both classes of each pair.

    Args:
        labels: Mask values of each image's classes.
        classes: Number of classes, the background not counted.

    Returns:
        int64 (classes, classes), symmetric; the diagonal is the number of images with the class.

    Raises:
        ValueError: If a value is none of a class, or repeated.

    Example:
        >>> images_together([[1, 2], [2], []], classes=2).tolist()
        [[1, 1], [1, 2]]
    """
    check_classes(classes)
    together = np.zeros((classes, classes), np.int64)
    for values in labels:
        check_class_values(values, classes)
        places = np.array(values, np.intp) - 1
        together[np.ix_(places, places)] += 1
    return together


__all__ = [
    "Kind",
    "Pair",
    "images_together",
    "largest_confusions",
    "shares_of_truth",
]
