"""Files of another program -> maps/<recipe>.zarr, for an imported recipe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.imports.readers import Imported, read_imported
from ws3.jobs.runner import ImageResult
from ws3.run.folder import Run
from ws3.run.imports import file_as_indexed, sources
from ws3.run.phases import PhaseTimer
from ws3.stages.whole_maps import WholeMapsStage


class ImportedMapsStage(WholeMapsStage):
    """Takes an image's maps, or its mask, from another program's file."""

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Read and commit.

        Raises:
            Ws3Error: If the file is missing or can't be used, or changed after it was indexed.
        """
        with timer.phase("load"):
            maps = imported_image(self.run, self.recipe, row).maps
        with timer.phase("write"):
            digest = self.run.imported(self.recipe).digest(row.image)
            return self.commit(row, fingerprint, maps, imported=digest)


def imported_image(run: Run, recipe: str, row: ImageRow) -> Imported:
    """Read an image's file of an imported recipe, which is the one that was indexed.

    An image without labels needs none: it has no maps, and its mask is background.

    Raises:
        Ws3Error: If it is missing or can't be used, or changed after it was indexed.
        StaleResultError: If the files have not been indexed.
    """
    settings = run.recipe(recipe).imported
    if settings is None:
        raise Ws3Error(f"{run.folder}: recipe {recipe} imports nothing")
    path = file_as_indexed(run, recipe, sources(run.config)[recipe], row)
    size = (row.height, row.width)
    if path is None:
        return Imported(np.zeros((0, *size), np.float16), np.zeros(size, np.uint8), ())
    return read_imported(settings, path, run.index.classes, row.labels, size)


def imported_mask(run: Run, recipe: str, row: ImageRow) -> NDArray[np.uint8]:
    """Read an image's mask of a recipe that imports masks, uint8 (H, W).

    Raises:
        Ws3Error: As for `imported_image`, or if the recipe imports maps.
        StaleResultError: If the files have not been indexed.
    """
    mask = imported_image(run, recipe, row).mask
    if mask is None:
        raise Ws3Error(f"{run.folder}: recipe {recipe} imports maps, not masks")
    return mask


__all__ = ["ImportedMapsStage", "imported_image", "imported_mask"]
