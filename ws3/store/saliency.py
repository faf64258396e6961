"""`saliency/<recipe>.zarr`: partial sums of score maps over samples.

One group per image, in it one group per *sample chunk*: the sum over some consecutive samples,
pasted back at image resolution. More samples later are more groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.errors import StaleResultError
from ws3.store.groups import (
    LEVEL,
    Store,
    StoredGroup,
    add_attributes,
    group_names,
    new_group,
    open_group,
)


class SaliencyStore(Store):
    """Reads and writes the sample chunks of a recipe."""

    def begin(self, image: str, attributes: Mapping[str, Any]) -> None:
        """Make an image's group, in place of any that has another fingerprint."""
        if self.fault(image, attributes["fingerprint"]):
            with new_group(self.path / image, {**attributes, "image": image}):
                pass

    def settle(self, image: str, stopping: Mapping[str, Any], samples: int, error: float) -> None:
        """Note after how many samples the image stopped.

        Args:
            image: The image's id; its group was begun.
            stopping: What decided it (`Recipe.stopping`).
            samples: Their number, without the whole images beside crops.
            error: What error is to be expected of their mean.

        Raises:
            StaleResultError: If the image's group was not begun.
        """
        said = {"stopping": dict(stopping), "samples": samples, "error": error}
        add_attributes(self.open(image), said)

    def settled(self, image: str, stopping: Mapping[str, Any]) -> int | None:
        """Return after how many samples the image stopped; None if that isn't decided yet.

        Args:
            image: The image's id.
            stopping: What must have decided it (`Recipe.stopping`).
        """
        said = self.attributes(image) or {}
        return said["samples"] if said.get("stopping") == dict(stopping) else None

    def chunk_samples(self, image: str) -> dict[str, tuple[int, ...]]:
        """Return the samples that each stored chunk of an image says it holds."""
        try:
            owner = self.open(image)
        except StaleResultError:
            return {}
        found = {}
        for name in group_names(owner.path):
            try:
                found[name] = tuple(self._chunk(owner, name).attributes["samples"])
            except StaleResultError:
                continue
        return found

    def write(
        self,
        image: str,
        name: str,
        chunk: SampleChunk | RawChunk,
        also: Mapping[str, Any] = MappingProxyType({}),
        level: int = LEVEL,
    ) -> None:
        """Commit one chunk, in place of any of that name.

        Args:
            image: The image's id; its group was begun.
            name: Of the chunk.
            chunk: What its samples add up to.
            also: What else its attributes say.
            level: Of the compression; see `NewGroup.write`.

        Raises:
            StaleResultError: If the image's group was not begun.
        """
        owner = self.open(image)
        attributes = {**also, "samples": list(chunk.samples), **_identity(owner, name)}
        with new_group(owner.path / name, attributes) as group:
            if isinstance(chunk, RawChunk):
                shape = chunk.maps.shape
                group.write("maps", chunk.maps, chunks=(1, *shape[1:]), shards=shape)
                group.write("scales", chunk.scales, chunks=chunk.scales.shape)
                group.write("weights", chunk.weights, chunks=chunk.weights.shape)
                return
            by_class = (1, *chunk.sums.shape[1:])
            group.write("sum", chunk.sums, chunks=by_class, level=level)
            if chunk.weights.ndim == 2:
                group.write("count", chunk.weights, chunks=chunk.weights.shape, level=level)
            else:
                group.write("weight", chunk.weights, chunks=by_class, level=level)

    def read(self, image: str, name: str) -> SampleChunk | RawChunk:
        """Read one chunk.

        Raises:
            StaleResultError: If it is missing, damaged, or not the one of this name of this image,
                made from what the image's group was made from.
        """
        group = self._chunk(self.open(image), name)
        samples, arrays = tuple(group.attributes["samples"]), group.attributes["arrays"]
        if "maps" in arrays:
            return RawChunk(
                samples, group.read("maps"), group.read("scales"), group.read("weights")
            )
        weights = "count" if "count" in arrays else "weight"
        return SampleChunk(samples, group.read("sum"), group.read(weights))

    @staticmethod
    def _chunk(owner: StoredGroup, name: str) -> StoredGroup:
        return open_group(owner.path / name, **_identity(owner, name))


def _identity(owner: StoredGroup, name: str) -> dict[str, str]:
    """Return what a chunk says of itself: whose it is, and which."""
    said = owner.attributes
    return {"image": said["image"], "fingerprint": said["fingerprint"], "chunk": name}
