"""`saliency/<recipe>.zarr`: partial sums of score maps over samples.

One group an image, in it one group per *sample chunk*: the sum over some consecutive samples,
pasted back at image resolution. More samples later are more groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ws3.store.groups import (
    Store,
    group_names,
    new_group,
    open_group,
    read_attributes,
    write_array,
)

COVER_CHUNK = "cover"
"""Name of the chunk that holds the whole-image sample, where there are too few crops."""


@dataclass(frozen=True)
class SampleChunk:
    """What some samples of one image add up to.

    Attributes:
        samples: the samples' numbers.
        sums: float32 (classes, H, W): the weighted sum, or the maximum, over the samples.
        weights: uint16 (H, W): in how many samples a pixel lies; or float32 (classes, H, W): the
            sum of their weights.
    """

    samples: tuple[int, ...]
    sums: NDArray[np.float32]
    weights: NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True)
class RawChunk:
    """Samples kept one by one.

    Attributes:
        samples: the samples' numbers.
        maps: float16 (samples, classes, h, w), each sample's class map divided by its maximum.
        scales: float32 (samples, classes): those maxima.
        weights: float32 (samples, classes): the samples' weights.
    """

    samples: tuple[int, ...]
    maps: NDArray[np.float16]
    scales: NDArray[np.float32]
    weights: NDArray[np.float32]


class SaliencyStore(Store):
    """Reads and writes the sample chunks of a recipe."""

    def begin(self, image: str, attributes: Mapping[str, Any]) -> None:
        """Make an image's group, in place of any that has another fingerprint."""
        there = self.attributes(image)
        if there is not None and there.get("fingerprint") == attributes["fingerprint"]:
            return
        with new_group(self.path / image, attributes):
            pass

    def chunk_samples(self, image: str) -> dict[str, tuple[int, ...]]:
        """Return the samples that each stored chunk of an image says it holds."""
        found = {}
        for name in group_names(self.path / image):
            attributes = read_attributes(self.path / image / name)
            if attributes is not None:
                found[name] = tuple(attributes["samples"])
        return found

    def write(self, image: str, name: str, chunk: SampleChunk | RawChunk) -> None:
        """Commit one chunk, in place of any of that name."""
        attributes = {"samples": list(chunk.samples)}
        with new_group(self.path / image / name, attributes) as group:
            if isinstance(chunk, RawChunk):
                shape = chunk.maps.shape
                write_array(group, "maps", chunk.maps, chunks=(1, *shape[1:]), shards=shape)
                write_array(group, "scales", chunk.scales, chunks=chunk.scales.shape)
                write_array(group, "weights", chunk.weights, chunks=chunk.weights.shape)
                return
            by_class = (1, *chunk.sums.shape[1:])
            write_array(group, "sum", chunk.sums, chunks=by_class)
            if chunk.weights.ndim == 2:
                write_array(group, "count", chunk.weights, chunks=chunk.weights.shape)
            else:
                write_array(group, "weight", chunk.weights, chunks=by_class)

    def read(self, image: str, name: str) -> SampleChunk | RawChunk:
        """Read one chunk.

        Raises:
            StaleResultError: if it is missing or damaged.
        """
        group = open_group(self.path / image / name)
        samples, arrays = tuple(group.attributes["samples"]), group.attributes["arrays"]
        if "maps" in arrays:
            return RawChunk(
                samples, group.read("maps"), group.read("scales"), group.read("weights")
            )
        weights = "count" if "count" in arrays else "weight"
        return SampleChunk(samples, group.read("sum"), group.read(weights))


def chunk_layout(total: int, per_chunk: int, cover: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return which samples belong in which chunk.

    Args:
        total: samples an image.
        per_chunk: samples a chunk.
        cover: the number of the whole-image sample in a list, or an empty one.
    """
    layout = {
        str(number): tuple(range(start, min(start + per_chunk, total)))
        for number, start in enumerate(range(0, total, per_chunk))
    }
    return {**layout, **({COVER_CHUNK: tuple(cover)} if cover else {})}
