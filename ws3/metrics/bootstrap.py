"""Intervals of pooled figures: how far other images, and other trainings, would move them.

The bootstrap (Efron and Tibshirani 1993): as many images are drawn with replacement as there are,
the figure is formed of their sums again, and the middle 95 % of 2,000 such figures are the
interval. Images are drawn, not pixels: the pixels of an image succeed or fail together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ws3.metrics.base import FloatArray
from ws3.metrics.image_counts import POOLED_FIGURES, ImageCounts

RESAMPLES = 2000
"""How many sets of images are drawn."""
ENDS = (0.025, 0.975)
"""Shares of the drawn figures that lie below an interval's ends: it holds 95 % of them."""
_AT_ONCE = 50
_IMAGES, _RUNS = 0, 1  # streams of random numbers

Interval = tuple[float, float]
"""Lower and upper end."""


def resampled(
    runs: Sequence[ImageCounts], seed: int, resamples: int = RESAMPLES
) -> dict[str, FloatArray]:
    """Return the figures of drawn sets of images; each set is the same for all runs.

    Whatever is drawn for the same number of images with the same seed is the same, so figures of
    two recipes on the same images are pairs.

    Args:
        runs: The counts of each run, of the same images; at least one.
        seed: Where the random numbers start.
        resamples: How many sets are drawn.

    Returns:
        By figure float64 (runs, resamples); NaN where a set leaves a figure undefined.

    Example:
        >>> one, other = np.zeros((2, 7, 2), np.int64)
        >>> one[:3], other[:3] = [[9, 9], [0, 0], [0, 0]], [[0, 0], [5, 5], [5, 5]]
        >>> values = resampled([ImageCounts.of({"a": one, "b": other}, classes=1)], seed=0)
        >>> np.unique(values["miou"].round(2)).tolist()  # b b, a b, a a
        [0.0, 0.47, 1.0]
    """
    images = len(runs[0].images)
    found = {name: np.empty((len(runs), resamples)) for name in POOLED_FIGURES}
    done = 0
    for weights in _drawn_images(images, seed, resamples):
        here = slice(done, done + len(weights))
        for number, counts in enumerate(runs):
            sums = counts.weighted(weights)
            for name, values in found.items():
                values[number, here] = counts.formed(name, sums)
        done += len(weights)
    return found


def over_runs(values: FloatArray, seed: int) -> FloatArray:
    """Return the mean over runs that are drawn with replacement, for each set of images.

    Together with `resampled` this is the hierarchical bootstrap: runs are drawn, then images, and
    the images are the same for all runs, as all runs are measured on the same images.

    Args:
        values: float64 (runs, resamples).
        seed: Where the random numbers start; equal ones draw the same runs.

    Returns:
        float64 (resamples,); of a single run its own values.
    """
    runs, resamples = values.shape
    stream = np.random.default_rng([seed, _RUNS])
    drawn = stream.integers(0, runs, (resamples, runs))
    means: FloatArray = values[drawn, np.arange(resamples)[:, None]].mean(axis=1)
    return means


def interval(values: FloatArray) -> Interval | None:
    """Return the percentile interval of drawn figures: the middle 95 % of those that are defined.

    Returns:
        None if none is defined.

    Example:
        >>> interval(np.arange(201.0))
        (5.0, 195.0)
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, ENDS).tolist()
    return low, high


def intervals(runs: Sequence[ImageCounts], seed: int) -> dict[str, Interval]:
    """Return the interval of the mean over runs of each of `POOLED_FIGURES` that is defined.

    Args:
        runs: The counts of each run, of the same images.
        seed: Where the random numbers start.

    Returns:
        By the figure's name; nothing where there are fewer than two images, which say nothing of
        how images differ.
    """
    if len(runs[0].images) < 2:
        return {}
    found = {
        name: interval(over_runs(values, seed)) for name, values in resampled(runs, seed).items()
    }
    return {name: ends for name, ends in found.items() if ends is not None}


def on_same_images(tables: Sequence[ImageCounts]) -> list[ImageCounts]:
    """Return counts of the images alone that all tables have, in one order."""
    common = set(tables[0].images).intersection(*(table.images for table in tables[1:]))
    return [table.only(sorted(common)) for table in tables]


def _drawn_images(images: int, seed: int, resamples: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each image is drawn, int64 (some resamples, images), a few at a time."""
    stream = np.random.default_rng([seed, _IMAGES])
    for first in range(0, resamples, _AT_ONCE):
        number = min(_AT_ONCE, resamples - first)
        drawn = stream.integers(0, images, (number, images))
        drawn += np.arange(number)[:, None] * images
        yield np.bincount(drawn.ravel(), minlength=number * images).reshape(number, images)


__all__ = [
    "ENDS",
    "RESAMPLES",
    "Interval",
    "interval",
    "intervals",
    "on_same_images",
    "over_runs",
    "resampled",
]
