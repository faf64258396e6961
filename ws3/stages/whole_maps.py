"""What the stages have in common that take an image's maps from elsewhere, ready as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ws3.datasets.index import ImageRow
from ws3.jobs.runner import ImageResult
from ws3.run.folder import Run
from ws3.stages.recipe_stage import RecipeStage
from ws3.store.maps import MapStore


class WholeMapsStage(RecipeStage):
    """A stage that writes ready maps into maps/<recipe>.zarr; a subclass gets them."""

    stage = "maps"

    def __init__(self, run: Run, recipe: str) -> None:
        """Make the store.

        Raises:
            Ws3Error: If the run has no such recipe.
        """
        super().__init__(run, recipe)
        self._store = MapStore(run.results("maps", recipe))
        self._store.create({"kind": "maps", "recipe": recipe})

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether intact maps with this fingerprint are committed."""
        return self._store.holds(row.image, fingerprint)

    def commit(
        self, row: ImageRow, fingerprint: str, maps: NDArray[np.float16], **facts: object
    ) -> ImageResult:
        """Write an image's maps: they are there whole or not at all.

        Args:
            row: The image.
            fingerprint: What the maps are made from.
            maps: float16 (labels of the image, H, W), in [0, 1].
            facts: What else the group is to say of itself.
        """
        attributes = {
            "fingerprint": fingerprint,
            "height": row.height,
            "width": row.width,
            "classes": list(row.labels),
            "class_values": self.run.class_values(row),
            "recipe": self.recipe,
            "method": self.run.recipe(self.recipe).method,
            **facts,
        }
        self._store.write(row.image, maps, attributes)
        return ImageResult(bytes=maps.nbytes)
