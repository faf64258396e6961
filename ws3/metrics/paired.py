"""Whether two recipes differ, measured on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ws3.metrics.base import FloatArray
from ws3.metrics.bootstrap import Interval, interval, over_runs
from ws3.metrics.image_counts import POOLED_FIGURES, ImageCounts

PERMUTATIONS = 9999
"""How many times recipes are swapped at random; the smallest p value is 1 / (1 + this)."""
_AT_ONCE = 50
_SWAPS = 2  # stream of random numbers, another than those of the bootstrap

Pair = tuple[ImageCounts, ImageCounts]
"""Counts of two recipes in one run, of the same images."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one recipe is above another.

    Attributes:
        mean: Figure of the one minus that of the other, the mean over the runs.
        ends: Interval of it; None if it is undefined.
        p: How often a difference at least as large comes about when both recipes are the same.
    """

    mean: float
    ends: Interval | None
    p: float


def difference(
    pairs: Sequence[Pair],
    name: str,
    drawn: tuple[FloatArray, FloatArray],
    seed: int,
    permutations: int = PERMUTATIONS,
) -> Difference | None:
    """Compare two recipes by one figure.

    Args:
        pairs: The counts of both in each run, all of the same images.
        name: One of `POOLED_FIGURES`.
        drawn: The figures of both, float64 (runs, resamples), of the same drawn images; see
            `ws3.metrics.bootstrap.resampled`.
        seed: Where the random numbers start.
        permutations: How many swaps are drawn.

    Returns:
        None if the figure is undefined for one of them in a run, or there is but one image.
    """
    mean = float(np.mean([one.figure(name) - other.figure(name) for one, other in pairs]))
    if np.isnan(mean) or len(pairs[0][0].images) < 2:
        return None
    ends = interval(over_runs(drawn[0] - drawn[1], seed))
    return Difference(mean, ends, swap_test(pairs, name, seed, permutations))


def swap_test(
    pairs: Sequence[Pair], name: str, seed: int, permutations: int = PERMUTATIONS
) -> float:
    """Return the p value of a paired permutation test of a pooled figure, two-sided.

    If two recipes are the same, it doesn't matter which one made an image's mask. So both are
    swapped in a random half of the images (in all runs alike), and the difference of the figures is
    formed again of the swapped sums: a ratio of sums can't be tested by differences per image. The
    p value is the share of swaps that give a difference at least as large as the one found, the
    swap of nothing included. Where there are no more ways to swap than `permutations`, all are
    taken, and p is exact. (Of PxAP, the figure that its bins give is tested.)

    Args:
        pairs: The counts of both recipes in each run, all of the same images.
        name: One of `POOLED_FIGURES`.
        seed: Where the random numbers start.
        permutations: How many swaps are drawn.

    Returns:
        A number in (0, 1]; NaN if the figure is undefined for a recipe.

    Example:
        >>> right, wrong = np.zeros((2, 7, 2), np.int64)
        >>> right[:3], wrong[:3] = [[4, 4], [0, 0], [0, 0]], [[0, 0], [4, 4], [4, 4]]
        >>> good, bad = (ImageCounts.of(dict.fromkeys("abcd", one), 1) for one in (right, wrong))
        >>> swap_test([(good, bad)], "miou", seed=0)  # of 16 swaps, none and all
        0.125
    """
    figure = POOLED_FIGURES[name]

    def formed(sums: npt.NDArray[np.int64], classes: int) -> FloatArray:
        return figure.of(sums.reshape(*sums.shape[:-1], len(figure.counts), classes + 1))

    first, second = ([pair[side].of_figure(name) for pair in pairs] for side in (0, 1))
    sums = [(one.sum(axis=1), other.sum(axis=1)) for one, other in zip(first, second, strict=True)]
    apart = [(one - other).tocsr() for one, other in zip(first, second, strict=True)]

    def differences(swapped: npt.NDArray[np.int64]) -> FloatArray:
        found = np.zeros(len(swapped))
        for (one, other), moved, pair in zip(sums, apart, pairs, strict=True):
            change = np.asarray(moved @ np.ascontiguousarray(swapped.T)).T
            of_one = formed(one - change, pair[0].classes)
            of_other = formed(other + change, pair[1].classes)
            found += of_one - of_other
        return np.abs(found / len(pairs))

    images = len(pairs[0][0].images)
    # Vectorised like all others, so that equal sums give equal figures.
    found = differences(np.zeros((1, images), np.int64))[0]
    if np.isnan(found):
        return float("nan")
    exact = 2**images <= permutations
    as_large = total = 0
    for swapped in _all_swaps(images) if exact else _drawn_swaps(images, seed, permutations):
        # A tie by its words may differ in the last digit.
        as_large += int((differences(swapped) >= found - 1e-12).sum())
        total += len(swapped)
    return as_large / total if exact else (as_large + 1) / (total + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values that are adjusted for their number, by Holm's step-down procedure (1979).

    To call those at most alpha different is wrong for any of them with a probability of at most
    alpha, however the comparisons depend on each other.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = largest
    return adjusted


def _all_swaps(images: int) -> Iterator[npt.NDArray[np.int64]]:
    numbers = np.arange(2**images)
    yield (numbers[:, None] >> np.arange(images)) & 1


def _drawn_swaps(images: int, seed: int, permutations: int) -> Iterator[npt.NDArray[np.int64]]:
    stream = np.random.default_rng([seed, _SWAPS])
    for first in range(0, permutations, _AT_ONCE):
        number = min(_AT_ONCE, permutations - first)
        yield stream.integers(0, 2, (number, images))


__all__ = ["PERMUTATIONS", "Difference", "Pair", "difference", "holm", "swap_test"]
