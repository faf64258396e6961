"""Samples are added up, one by one and in order of their numbers.

The order and float32 are part of the result: a chunk that is continued later must end with the
same bytes as one that was summed in one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.config.recipes import Aggregation
from ws3.errors import Ws3Error
from ws3.sampling.plan import Sample
from ws3.sampling.views import paste_back


class AttributedSample(NamedTuple):
    """One sample of an image and its score maps.

    Attributes:
        sample: What was cut out, and how it was changed.
        scores: float32 (classes, h, w), not negative, in the geometry of the sample; h and w are
            those of the network's input or of its last features.
        weights: float32 (classes,), the classifier's probability of each class, at least 1e-6.
    """

    sample: Sample
    scores: NDArray[np.float32]
    weights: NDArray[np.float32]


def collect_chunk(
    attributed: Iterable[AttributedSample],
    aggregation: Aggregation,
    shape: tuple[int, int, int],
    *,
    keep_samples: bool = False,
    stored: SampleChunk | None = None,
) -> SampleChunk | RawChunk:
    """Return what some samples of one image add up to.

    Args:
        attributed: The samples, in order of their numbers, of which there is at least one.
        aggregation: The recipe's `aggregation` section.
        shape: Classes of the image, its height and its width in pixels.
        keep_samples: Whether to keep the samples one by one instead of their sum.
        stored: A sum to continue, of the samples just before these.

    Raises:
        Ws3Error: If a score is not a finite number.
    """
    if keep_samples:
        samples, scores, weights = zip(*attributed, strict=True)
        return raw_chunk(samples, scores, weights)
    if stored is None:
        accumulator = Accumulator(aggregation, *shape)
    else:
        accumulator = Accumulator.resume(aggregation, stored)
    for sample, score, weight in attributed:
        accumulator.add(sample, score, weight)
    return accumulator.chunk()


class Accumulator:
    """The running sum, or maximum, of one sample chunk of one image."""

    def __init__(self, aggregation: Aggregation, classes: int, height: int, width: int) -> None:
        self._aggregation = aggregation
        self._samples: tuple[int, ...] = ()
        self._sums = np.zeros((classes, height, width), np.float32)
        self._weights: NDArray[np.uint16] | NDArray[np.float32]
        if aggregation.weight == "probability":
            self._weights = np.zeros((classes, height, width), np.float32)
        else:
            self._weights = np.zeros((height, width), np.uint16)

    @classmethod
    def resume(cls, aggregation: Aggregation, chunk: SampleChunk) -> Accumulator:
        """Continue a chunk that was stored before it was full."""
        accumulator = cls(aggregation, *chunk.sums.shape)
        accumulator._samples = chunk.samples
        accumulator._sums = chunk.sums.copy()
        accumulator._weights = chunk.weights.copy()
        return accumulator

    def add(
        self, sample: Sample, scores: NDArray[np.float32], probabilities: NDArray[np.float32]
    ) -> None:
        """Paste a sample's maps back and add them.

        Args:
            sample: The sample; its number must follow those added before.
            scores: float32 (classes, h, w), not negative, in the geometry of the sample.
            probabilities: float32 (classes,) of the classifier on this sample.

        Raises:
            Ws3Error: If a score is not a finite number.
        """
        rows, columns = sample.window.slices
        for index, score in enumerate(normalised(scores, self._aggregation)):
            pasted = paste_back(score, sample)
            if self._aggregation.weight == "probability":
                pasted = pasted * probabilities[index]
                self._weights[index, rows, columns] += probabilities[index]
            target = self._sums[index, rows, columns]
            if self._aggregation.combine_samples == "max":
                np.maximum(target, pasted, out=target)
            else:
                target += pasted
        if self._aggregation.weight == "uniform":
            self._weights[rows, columns] += np.uint16(1)
        self._samples = (*self._samples, sample.number)

    def chunk(self) -> SampleChunk:
        """Return the sum so far."""
        return SampleChunk(self._samples, self._sums, self._weights)


def normalised(scores: NDArray[np.float32], aggregation: Aggregation) -> NDArray[np.float32]:
    """Divide each class's map (classes, h, w) of one sample by its maximum or mean, if asked.

    Raises:
        Ws3Error: If a score is not a finite number.
    """
    _check_finite(scores)
    if aggregation.normalise_samples == "none":
        return scores
    by = np.max if aggregation.normalise_samples == "max" else np.mean
    divisor = by(scores, axis=(1, 2), keepdims=True)
    quotient = np.zeros_like(scores)
    np.divide(scores, divisor, out=quotient, where=divisor > 0)
    return quotient


def raw_chunk(
    samples: Sequence[Sample],
    scores: Sequence[NDArray[np.float32]],
    probabilities: Sequence[NDArray[np.float32]],
) -> RawChunk:
    """Pack single samples; each map is divided by its maximum, so that float16 holds it.

    Args:
        samples: In order of their numbers.
        scores: Per sample, float32 (classes, h, w), all of one size.
        probabilities: Per sample, float32 (classes,).

    Raises:
        Ws3Error: If a score is not a finite number.
    """
    stacked = np.stack(scores)
    _check_finite(stacked)
    scales = stacked.max(axis=(2, 3))
    divisor = np.where(scales > 0, scales, 1)[:, :, None, None]
    return RawChunk(
        tuple(sample.number for sample in samples),
        (stacked / divisor).astype(np.float16),
        scales,
        np.stack(probabilities),
    )


def _check_finite(scores: NDArray[np.float32]) -> None:
    if not np.isfinite(scores).all():
        raise non_finite()


def non_finite() -> Ws3Error:
    """Return the error of scores that are not finite numbers."""
    return Ws3Error(
        "the attribution is not a finite number; check the classifier's weights, or choose "
        "precision: fp32"
    )
