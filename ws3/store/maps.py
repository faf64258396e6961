"""`maps/<recipe>.zarr`: one final score map per present class, at image size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ws3.store.groups import ArrayStore, new_group


class MapStore(ArrayStore):
    """The maps of a recipe: float16 (classes, H, W) per image."""

    array = "map"

    def write(self, image: str, maps: NDArray[np.float16], attributes: Mapping[str, Any]) -> None:
        """Commit an image's maps, in place of any that are there.

        Args:
            image: The image's id.
            maps: float16 (classes, H, W) in [0, 1].
            attributes: Class values and names, fingerprint, samples used.
        """
        with new_group(self.path / image, {**attributes, "image": image}) as group:
            group.write(self.array, maps, chunks=(1, *maps.shape[1:]))
