"""What each image adds to the pooled counts, and the figures that are formed of their sums.

A figure such as mIoU is a ratio of sums over all images. To say how far it would move with other
images, its sums are formed again of other numbers of each image: `weighted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from ws3.metrics.base import FloatArray
from ws3.metrics.confusion import Confusion
from ws3.metrics.pixel_ap import PixelAveragePrecision
from ws3.metrics.ratios import mean_defined, ratio
from ws3.metrics.regions import REGIONS, RegionProfile

Int64Array = npt.NDArray[np.int64]

PIXEL_COUNTS = ("tp", "fp", "fn", "dr_pixels", "dr_found", "ndr_pixels", "ndr_found")
"""Pixels of a class in an image: true positives, false positives, false negatives; those of its DR
and NDR, and how many of them are marked as the class."""
SCORE_STEPS = (
    *(0, 4, 16, 40, 72, 112, 160, 208, 256, 304, 352, 400),
    *(448, 496, 544, 600, 656, 712, 768, 824, 880, 936, 984, 1024),
)
"""Where bins of scores begin, in 1024ths: narrow ones at the bottom, where most scores of a map of
high contrast are; the last is the score 1 alone, which all scores above a percentile are."""
SCORE_COUNTS = tuple(
    f"{pixels}_from_{step}" for pixels in ("class", "other") for step in SCORE_STEPS
)
"""Pixels by the bin of their score in the class's map: those of the class, then the others."""
COUNTS = (*PIXEL_COUNTS, *SCORE_COUNTS)
"""All that is counted of a class in an image."""


def class_counts(
    confusion: Confusion, regions: RegionProfile, precision: PixelAveragePrecision | None = None
) -> Int64Array:
    """Return pooled counts as one table.

    Args:
        confusion: Pixels by class in ground truth and mask.
        regions: Pixels by region.
        precision: Pixels by score, in 1,024 bins; None where there are no maps.

    Returns:
        int64 (`COUNTS`, classes + 1), the background first; it has no regions and no scores.
    """
    table = np.zeros((len(COUNTS), confusion.classes + 1), np.int64)
    hits = confusion.matrix.diagonal()
    table[:3] = hits, confusion.matrix.sum(axis=0) - hits, confusion.matrix.sum(axis=1) - hits
    for row, name in ((3, "dr_recall"), (5, "ndr_recall")):
        region = REGIONS.index(name)
        table[row, 1:] = regions.pixels[:, region]
        table[row + 1, 1:] = regions.marked[:, region]
    if precision is not None:
        table[len(PIXEL_COUNTS) :, 1:] = (
            precision.binned(SCORE_STEPS).reshape(precision.classes, -1).T
        )
    return table


@dataclass(frozen=True)
class PooledFigure:
    """A figure that is formed of counts that are summed over images.

    Attributes:
        counts: Which of `COUNTS` it is formed of.
        of: Sums (..., counts, classes + 1) -> the figure (...), NaN where it is undefined.
    """

    counts: tuple[str, ...]
    of: Callable[[Int64Array], FloatArray]


def _miou(sums: Int64Array) -> FloatArray:
    hits, wrong, missed = np.moveaxis(sums, -2, 0)
    has_objects = (hits + missed)[..., 1:].any(axis=-1)
    return np.where(has_objects, _means(ratio(hits, hits + wrong + missed)), np.nan)


def _recall(sums: Int64Array) -> FloatArray:
    pixels, found = np.moveaxis(sums, -2, 0)
    return _means(ratio(found, pixels)[..., 1:])


def _mean_pixel_ap(sums: Int64Array) -> FloatArray:
    return _means(pixel_ap_of_bins(sums)[..., 1:])


def pixel_ap_of_bins(sums: Int64Array) -> FloatArray:
    """Return the pixel average precision of counts by score, each bin's pixels evenly mixed.

    While the threshold falls through a bin with p pixels of the class and n others, T and F being
    those above it, the precision is (T + pu) / (T + F + (p + n)u) with u from 0 to 1. Its integral
    is what the bin adds. A step per bin would be far off with bins as wide as these.

    Args:
        sums: int64 (..., `SCORE_COUNTS`, classes + 1).

    Returns:
        float64 (..., classes + 1); NaN for a class without pixels.

    Example:
        >>> sums = np.zeros((len(SCORE_COUNTS), 1), np.int64)
        >>> sums[[23, 3, 24 + 9]] = 2  # of the class: two pixels on top, two below two others
        >>> pixel_ap_of_bins(sums).round(4).item()  # 1/2 + 1/2 x (1 - log(3 / 2))
        0.7973
    """
    *others, rows, classes = sums.shape
    bins = np.flip(sums.reshape(*others, 2, rows // 2, classes), axis=-2)
    own, size = bins[..., 0, :, :], bins.sum(axis=-3)
    above, marked = own.cumsum(axis=-2) - own, size.cumsum(axis=-2) - size
    share, first = ratio(own, size), marked == 0
    below = np.where(first, 1, marked)
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = share + (above - share * below) / size * np.log1p(size / below)
        added = np.nansum(own * np.where(first, share, mixed), axis=-2)
        areas: FloatArray = added / own.sum(axis=-2)
    return areas


def _means(values: FloatArray) -> FloatArray:
    """Return the means over the last axis of the values that are not NaN."""
    if values.ndim == 1:
        return np.asarray(mean_defined(values))  # to the last bit what the metric itself says
    known = ~np.isnan(values)
    result = np.full(values.shape[:-1], np.nan)
    number = known.sum(axis=-1)
    np.divide(np.where(known, values, 0).sum(axis=-1), number, out=result, where=number > 0)
    return result


POOLED_FIGURES: Mapping[str, PooledFigure] = {
    "miou": PooledFigure(("tp", "fp", "fn"), _miou),
    "dr_recall": PooledFigure(("dr_pixels", "dr_found"), _recall),
    "ndr_recall": PooledFigure(("ndr_pixels", "ndr_found"), _recall),
    "pxap": PooledFigure(SCORE_COUNTS, _mean_pixel_ap),
}
"""The metrics that have an interval, by name: each with the value that the metric itself has, but
for PxAP, whose bins are coarser; `ImageCounts.with_pixel_ap` makes up for that."""


@dataclass(frozen=True)
class ImageCounts:
    """The counts of each image, of one recipe at one stage on one split.

    Images stand in the order of their names, so that nothing depends on the order that they were
    counted in.

    Attributes:
        images: Names of the images.
        classes: Number of classes, the background not counted.
        table: int64 sparse (`COUNTS` x (classes + 1), images).
        beyond_bins: float64 (classes + 1,): how far the pixel average precision of each class is
            above that of its bins; 0 unless it is known.

    Example:
        >>> one, other = np.zeros((2, len(COUNTS), 2), np.int64)
        >>> one[:3] = [[6, 2], [0, 1], [1, 0]]
        >>> other[:3] = [[3, 1], [1, 0], [0, 1]]
        >>> counts = ImageCounts.of({"b": other, "a": one}, classes=1)
        >>> counts.images, counts.figure("miou").round(4).item()
        (('a', 'b'), 0.7091)
    """

    images: tuple[str, ...]
    classes: int
    table: csr_array
    beyond_bins: FloatArray = field(default_factory=lambda: np.zeros(1))

    @classmethod
    def of(cls, counts: Mapping[str, npt.ArrayLike], classes: int) -> ImageCounts:
        """Make it of the counts of each image, each int64 (`COUNTS`, classes + 1)."""
        cells = [
            (place, kind, value, table[kind, value])
            for place, table in enumerate(map(np.asarray, counts.values()))
            for kind, value in np.argwhere(table)
        ]
        return cls.of_cells(list(counts), np.array(cells, np.int64).reshape(-1, 4), classes)

    @classmethod
    def of_cells(cls, images: Sequence[str], cells: Int64Array, classes: int) -> ImageCounts:
        """Make it of the counts that are not 0.

        Args:
            images: Names of all images, in any order.
            cells: int64 (cells, 4): position of the image in `images`, position in `COUNTS`, class
                value, and the count; each cell at most once.
            classes: Number of classes, the background not counted.
        """
        order = sorted(range(len(images)), key=lambda place: images[place])
        ranks = np.empty(len(images), np.int32)
        ranks[order] = np.arange(len(images))
        place, kind, value, number = cells.T
        rows = (kind * (classes + 1) + value).astype(np.int32)
        shape = (len(COUNTS) * (classes + 1), len(images))
        table = csr_array((number, (rows, ranks[place])), shape=shape)
        return cls(tuple(images[place] for place in order), classes, table)

    def only(self, images: Sequence[str]) -> ImageCounts:
        """Return the counts of some of the images, which stand in the order of their names."""
        if tuple(images) == self.images:
            return self
        place = {name: number for number, name in enumerate(self.images)}
        table = self.table[:, [place[name] for name in images]]
        return replace(self, images=tuple(images), table=table)

    def with_pixel_ap(self, per_class: Sequence[float]) -> ImageCounts:
        """Return counts whose PxAP is exact for all images, and off by little for other sums.

        What the bins miss is added to each class's value, whatever the images weigh. On 133
        photographs, ends of intervals are then off by less than 1 % of the interval's width for
        five recipes of six, and by 3 % for the sixth (`sess`).

        Args:
            per_class: Pixel average precision of each class over all of these images; NaN where it
                is undefined.
        """
        binned = pixel_ap_of_bins(self.sums[len(PIXEL_COUNTS) :])
        beyond = np.nan_to_num(np.array([np.nan, *per_class]) - binned)
        return replace(self, beyond_bins=beyond)

    def of_figure(self, name: str) -> csr_array:
        """Return what a figure is formed of: sparse (its counts x (classes + 1), images)."""
        first, size = COUNTS.index(POOLED_FIGURES[name].counts[0]), self.classes + 1
        last = first + len(POOLED_FIGURES[name].counts)
        return self.table[first * size : last * size]

    @cached_property
    def sums(self) -> Int64Array:
        """int64 (`COUNTS`, classes + 1), summed over the images."""
        summed: Int64Array = self.weighted(np.ones((1, len(self.images)), np.int64))[0]
        return summed

    def weighted(self, weights: Int64Array) -> Int64Array:
        """Return the sums over the images, each counted a number of times.

        Args:
            weights: int64 (resamples, images).

        Returns:
            int64 (resamples, `COUNTS`, classes + 1).
        """
        sums: Int64Array = self.table @ np.ascontiguousarray(weights.T)
        return sums.T.reshape(len(weights), len(COUNTS), self.classes + 1)

    def figure(self, name: str) -> FloatArray:
        """Return a figure of all images together, as a single number; NaN if it is undefined."""
        return self.formed(name, self.sums)

    def formed(self, name: str, sums: Int64Array) -> FloatArray:
        """Return a figure of sums of these images, int64 (..., `COUNTS`, classes + 1)."""
        if name != "pxap" or not self.beyond_bins.any():
            return figure_of(name, sums)
        values = pixel_ap_of_bins(sums[..., len(PIXEL_COUNTS) :, :]) + self.beyond_bins
        return _means(np.clip(values, 0, 1)[..., 1:])


def figure_of(name: str, sums: Int64Array) -> FloatArray:
    """Return one of `POOLED_FIGURES` of sums, int64 (..., `COUNTS`, classes + 1)."""
    figure = POOLED_FIGURES[name]
    return figure.of(sums[..., [COUNTS.index(count) for count in figure.counts], :])


__all__ = [
    "COUNTS",
    "PIXEL_COUNTS",
    "POOLED_FIGURES",
    "SCORE_COUNTS",
    "SCORE_STEPS",
    "ImageCounts",
    "PooledFigure",
    "class_counts",
    "figure_of",
    "pixel_ap_of_bins",
]
