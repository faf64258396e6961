"""`saliency/<recipe>.zarr`: partial sums of score maps over samples.

One group per image, in it one group per *sample chunk*: the sum over some consecutive samples,
pasted back at image resolution. More samples later are more groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.store.groups import Store, group_names, new_group, open_group, write_array


class SaliencyStore(Store):
    """Reads and writes the sample chunks of a recipe."""

    def begin(self, image: str, attributes: Mapping[str, Any]) -> None:
        """Make an image's group, in place of any that has another fingerprint."""
        if self.fault(image, attributes["fingerprint"]):
            with new_group(self.path / image, attributes):
                pass

    def chunk_samples(self, image: str) -> dict[str, tuple[int, ...]]:
        """Return the samples that each stored chunk of an image says it holds."""
        found = {}
        for name in group_names(self.path / image):
            attributes = self.attributes(f"{image}/{name}")
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
            StaleResultError: If it is missing or damaged.
        """
        group = open_group(self.path / image / name)
        samples, arrays = tuple(group.attributes["samples"]), group.attributes["arrays"]
        if "maps" in arrays:
            return RawChunk(
                samples, group.read("maps"), group.read("scales"), group.read("weights")
            )
        weights = "count" if "count" in arrays else "weight"
        return SampleChunk(samples, group.read("sum"), group.read(weights))
