"""`maps/<recipe>.zarr`: one final score map per present class, at image size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ws3.store.groups import Store, new_group


class MapStore(Store):
    """Reads and writes the maps of a recipe."""

    def write(self, image: str, maps: NDArray[np.float16], attributes: Mapping[str, Any]) -> None:
        """Commit an image's maps, in place of any that are there.

        Args:
            image: The image's id.
            maps: float16 (classes, H, W) in [0, 1].
            attributes: Class values and names, fingerprint, samples used.
        """
        with new_group(self.path / image, {**attributes, "image": image}) as group:
            group.write("map", maps, chunks=(1, *maps.shape[1:]))

    def read(self, image: str) -> NDArray[np.float16]:
        """Return an image's maps, float16 (classes, H, W).

        Raises:
            StaleResultError: If they are missing, damaged or another image's.
        """
        return self.open(image).read("map")
