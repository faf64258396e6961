"""What samples add up to: the partial sums of one image, and how samples are divided among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COVER_CHUNK = "cover"
"""Name of the chunk that holds the whole-image sample, where there are too few crops."""


@dataclass(frozen=True)
class SampleChunk:
    """What some samples of one image add up to.

    Attributes:
        samples: The samples' numbers.
        sums: float32 (classes, H, W): the weighted sum, or the maximum, over the samples.
        weights: uint16 (H, W): in how many samples a pixel lies; or float32 (classes, H, W): the
            sum of their weights.
    """

    samples: tuple[int, ...]
    sums: NDArray[np.float32]
    weights: NDArray[np.uint16] | NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.sums.nbytes + self.weights.nbytes


@dataclass(frozen=True)
class RawChunk:
    """Samples kept one by one.

    Attributes:
        samples: The samples' numbers.
        maps: float16 (samples, classes, h, w), each sample's class map divided by its maximum.
        scales: float32 (samples, classes): those maxima.
        weights: float32 (samples, classes): the samples' weights.
    """

    samples: tuple[int, ...]
    maps: NDArray[np.float16]
    scales: NDArray[np.float32]
    weights: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.maps.nbytes + self.scales.nbytes + self.weights.nbytes


def chunk_layout(total: int, per_chunk: int, cover: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return which samples belong in which chunk.

    Args:
        total: Samples per image.
        per_chunk: Samples per chunk.
        cover: The number of the whole-image sample in a list, or an empty one.
    """
    layout = {
        str(number): tuple(range(start, min(start + per_chunk, total)))
        for number, start in enumerate(range(0, total, per_chunk))
    }
    return {**layout, **({COVER_CHUNK: tuple(cover)} if cover else {})}
