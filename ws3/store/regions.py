"""`regions/all_recipes.zarr`: the segments of each image, for all recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ws3.store.groups import ArrayStore, new_group


class RegionStore(ArrayStore):
    """The segments: uint16 (H, W) per image."""

    array = "segments"

    def write(
        self, image: str, segments: NDArray[np.uint16], attributes: Mapping[str, Any]
    ) -> None:
        """Commit an image's segments, in place of any that are there.

        Args:
            image: The image's id.
            segments: uint16 (H, W): the number of each pixel's segment, from 1; 0 is none.
            attributes: Fingerprint, and what else the group is to say of itself.
        """
        with new_group(self.path / image, {**attributes, "image": image}) as group:
            group.write(self.array, segments, chunks=segments.shape)
