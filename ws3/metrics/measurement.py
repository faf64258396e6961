"""All metrics of one stage on one split, image by image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ws3.errors import Ws3Error
from ws3.metrics.base import Counts, CountsType, EvaluatedImage, Metric
from ws3.metrics.confusion import Confusion
from ws3.metrics.image_counts import class_counts
from ws3.metrics.pixel_ap import PixelAveragePrecision
from ws3.metrics.regions import RegionProfile


class Measurement:
    """Figures of any number of images.

    In its results a figure is None where it is undefined, and absent where it was not measured:
    no image had what the metric needs, such as score maps.

    Args:
        classes: Number of classes, the background not counted.
        metrics: What to measure.

    Example:
        >>> from ws3.metrics.confusion import MeanIou
        >>> half = np.array([[1, 1, 0, 0]], np.uint8)
        >>> measurement = Measurement(1, [MeanIou()])
        >>> measurement.add(EvaluatedImage(half, 1 - half, reference=half, class_values=(1,)))
        >>> measurement.means()
        {'miou': 0.0}
    """

    def __init__(self, classes: int, metrics: Sequence[Metric[Any]]) -> None:
        self.classes = classes
        self._metrics = tuple(metrics)
        self._pixels = Confusion(classes)
        self._regions = RegionProfile(classes)
        self._counts: dict[type[Counts], Counts] = {
            Confusion: self._pixels,
            RegionProfile: self._regions,
        }
        for metric in metrics:
            if metric.counts not in self._counts:
                self._counts[metric.counts] = metric.counts(classes)
        self._counted: set[type[Counts]] = set()

    def add(self, image: EvaluatedImage) -> None:
        """Add one image.

        Raises:
            ValueError: If a dtype, shape or value is not as `EvaluatedImage` says.
        """
        for kind, counts in self._counts.items():
            if all(getattr(image, name) is not None for name in kind.needs):
                counts.add(image)
                self._counted.add(kind)

    def add_counting(self, image: EvaluatedImage) -> npt.NDArray[np.int64]:
        """Add one image, and return what it adds to the pooled counts.

        Returns:
            int64 (`COUNTS`, classes + 1); see `ws3.metrics.image_counts`.

        Raises:
            ValueError: As for `add`.
        """
        precision = self._counts.get(PixelAveragePrecision)
        scores = precision if isinstance(precision, PixelAveragePrecision) else None
        before = class_counts(self._pixels, self._regions, scores)
        self.add(image)
        return class_counts(self._pixels, self._regions, scores) - before

    def means(self) -> dict[str, float | None]:
        """Return the figures of all classes, by the metrics' names.

        Raises:
            Ws3Error: If a metric returns something else than a finite number or NaN.
        """
        return {
            metric.name: _number(metric, metric.mean(self._counts[metric.counts]))
            for metric in self._measured()
        }

    def per_class(self) -> list[dict[str, float | None]]:
        """Return the figures of each object class, by the metrics' names per class.

        Raises:
            Ws3Error: If a metric returns something else than a number per class.
        """
        found: list[dict[str, float | None]] = [{} for _ in range(self.classes)]
        for metric in self._measured():
            values = np.asarray(metric.per_class(self._counts[metric.counts]))
            if values.shape != (self.classes,):
                raise Ws3Error(
                    f"the metric {metric.name} returned {values.shape} numbers for "
                    f"{self.classes} classes; correct its per_class"
                )
            for figures, value in zip(found, values, strict=True):
                figures[metric.class_name] = _number(metric, value)
        return found

    def ignored_share(self) -> float | None:
        """Return the share of pixels that are 255 in ground truth or mask; None without pixels."""
        share = self._pixels.ignored_share()
        return None if math.isnan(share) else share

    def counts(self, kind: type[CountsType]) -> CountsType | None:
        """Return the counts of one kind; None if no metric asked for them, or no image had them."""
        found = self._counts.get(kind)
        return found if isinstance(found, kind) and kind in self._counted else None

    def _measured(self) -> list[Metric[Any]]:
        return [metric for metric in self._metrics if metric.counts in self._counted]


def _number(metric: Metric[Any], value: float) -> float | None:
    if math.isinf(value):
        raise Ws3Error(
            f"the metric {metric.name} is infinite; it must return NaN where it is undefined"
        )
    return None if math.isnan(value) else float(value)


__all__ = ["Measurement"]
