"""When the samples of an image are enough: its mean is compared with itself, half against half.

The sums of the chunks with even numbers and of those with odd numbers are two halves of the random
samples, drawn independently of each other. Let A and B be their weighted means at a pixel, V and W
the weights there, and U the weight of the whole images beside crops, which are no random samples.
If a sample of weight 1 has the variance s^2, then A - B has s^2 (1 / V + 1 / W), and the mean of
all, in which whole images count as U, has s^2 (V + W) / (U + V + W)^2. So

    D = (A - B) sqrt(V W) / (U + V + W)

has the variance of the mean's error, and the error that is to be expected of the smoothed mean M is
|smooth(D)| / |M|, in L2 norms over the image. Windows that are spread more evenly than at random
make it an upper bound. What a single half has of the image is as uncertain as it is large: D = M.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ws3.aggregation.chunks import COVER_CHUNK, RawChunk, SampleChunk
from ws3.aggregation.combine import smooth, sum_raw
from ws3.config.recipes import Recipe
from ws3.sampling.plan import SamplePlan

Values = NDArray[np.float32]


class Settling:
    """Decides, chunk by chunk, whether an image has enough samples.

    It is a function of the image's own chunks, in float32 and in their order.

    Example:
        >>> from ws3.config.load import resolve_recipe
        >>> samples = {"kind": "crops", "count": {"max": 40, "tolerance": 0.1}}
        >>> recipe = resolve_recipe({"method": "gradient", "samples": samples})
        >>> place = {"image": "i", "height": 2, "width": 2, "seed": 0, "recipe": "r"}
        >>> settling = Settling(recipe, SamplePlan(recipe.samples, **place, input_size=32))
        >>> ones = np.ones((1, 2, 2), np.float32)
        >>> count = np.ones((2, 2), np.uint16)
        >>> settling.add("0", SampleChunk((0,), 8 * ones, count))
        >>> settling.add("1", SampleChunk((1,), 12 * ones, count))
        >>> round(settling.error, 3), settling.settled  # (8 - 12) / 2 of a mean of 10
        (0.2, False)
    """

    def __init__(self, recipe: Recipe, plan: SamplePlan) -> None:
        """Begin with no sample.

        Args:
            recipe: The recipe, with an adaptive count.
            plan: The image's samples.

        Raises:
            ValueError: If the recipe's count is a number.
        """
        if recipe.samples.adaptive is None:
            raise ValueError("the recipe's count is a number")
        self._tolerance = recipe.samples.adaptive.tolerance
        self._aggregation, self._plan = recipe.aggregation, plan
        self._halves: list[tuple[Values, Values] | None] = [None, None]
        self._whole: tuple[Values, Values] | None = None
        self._error: float | None = None
        self.samples = 0
        """Number of samples so far, without the whole images beside crops."""

    def add(self, name: str, chunk: SampleChunk | RawChunk) -> None:
        """Add a chunk: the whole images beside crops first, then the others by number."""
        summed = chunk
        if isinstance(summed, RawChunk):
            summed = sum_raw(summed, self._aggregation, self._plan)
        weights = summed.weights.astype(np.float32)
        self._error = None
        if name == COVER_CHUNK:
            self._whole = summed.sums.copy(), weights
            return
        half, self.samples = int(name) % 2, self.samples + len(summed.samples)
        before = self._halves[half]
        if before is None:
            self._halves[half] = summed.sums.copy(), weights
        else:
            np.add(before[0], summed.sums, out=before[0])
            np.add(before[1], weights, out=before[1])

    @property
    def error(self) -> float:
        """What error is to be expected of the mean, from 0 to 1: that of the worst class.

        It is 1 as long as nothing tells.
        """
        if self._error is None:
            self._error = self._measured()
        return self._error

    @property
    def settled(self) -> bool:
        """Whether the image may stop: every pixel lies in a sample, and the error is small."""
        return self.error < self._tolerance and self._is_covered()

    def _is_covered(self) -> bool:
        parts = [part for part in (*self._halves, self._whole) if part is not None]
        weights = [weight for _, weight in parts]
        return None not in self._halves and bool((sum(weights) > np.float32(0)).all())

    def _measured(self) -> float:
        first, second = self._halves
        if first is None or second is None:
            return 1.0
        largest = 0.0
        for index in range(len(first[0])):
            one, other = _of_class(first, index), _of_class(second, index)
            none = np.zeros((), np.float32)
            whole = (none, none) if self._whole is None else _of_class(self._whole, index)
            deviation, mean = _deviation(one, other, whole)
            error, size = (_norm(part, self._aggregation.smoothing) for part in (deviation, mean))
            largest = max(largest, error / size if size > 0 else 0.0)
        return min(1.0, largest)


def steps(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return an image's chunks in the order in which they are computed, up to where it may stop.

    Example:
        >>> steps(["0", "1", "2", "3", "cover"])
        [('cover', '0', '1'), ('2',), ('3',)]
    """
    given = list(names)
    numbered = [name for name in given if name != COVER_CHUNK]
    first = (*(name for name in given if name == COVER_CHUNK), *numbered[:2])
    return [first, *((name,) for name in numbered[2:])]


def _of_class(part: tuple[Values, Values], index: int) -> tuple[Values, Values]:
    sums, weights = part
    return sums[index], weights if weights.ndim == 2 else weights[index]


def _deviation(
    one: tuple[Values, Values],
    other: tuple[Values, Values],
    whole: tuple[Values, Values],
) -> tuple[Values, Values]:
    """Return D and M of the module's text, each (H, W), of sums and weights of one class."""
    weight = one[1] + other[1] + whole[1]
    mean = np.zeros_like(one[0])
    np.divide(one[0] + other[0] + whole[0], weight, out=mean, where=weight > 0)
    deviation, both = mean.copy(), (one[1] > 0) & (other[1] > 0)
    difference = one[0][both] / one[1][both] - other[0][both] / other[1][both]
    deviation[both] = difference * np.sqrt(one[1][both] * other[1][both]) / weight[both]
    return deviation, mean


def _norm(values: Values, smoothing: float) -> float:
    return float(np.sqrt(np.square(smooth(values[None], smoothing), dtype=np.float64).sum()))
