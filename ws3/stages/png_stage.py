"""What the per-image stages whose results are PNGs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ws3.datasets.index import ImageRow
from ws3.jobs.runner import ImageResult
from ws3.masks.png import write_mask
from ws3.removal import set_aside
from ws3.run.folder import Run
from ws3.run.results import FINGERPRINT, current_mask, is_foreign_mask, shows_class
from ws3.stages.recipe_stage import RecipeStage


class PngStage(RecipeStage):
    """A stage that writes one palette PNG per image; a subclass names it and computes."""

    def __init__(self, run: Run, recipe: str) -> None:
        """Make the results' folder.

        Raises:
            Ws3Error: If the run has no such recipe.
        """
        super().__init__(run, recipe)
        run.results(self.stage, recipe).mkdir(parents=True, exist_ok=True)

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether an intact result with this fingerprint is committed."""
        path = self.run.result(self.stage, self.recipe, row.image)
        mask = current_mask(path, fingerprint)
        if mask is not None:
            self._note_empty(row, mask)
        return mask is not None

    def commit(
        self,
        row: ImageRow,
        fingerprint: str,
        mask: NDArray[np.uint8],
        facts: Mapping[str, str] = MappingProxyType({}),
    ) -> ImageResult:
        """Write an image's result: it is there whole or not at all.

        A picture of somebody else's in its place is kept under another name.

        Args:
            row: The image.
            fingerprint: What the result is made from.
            mask: uint8 (H, W).
            facts: What else the file is to say of itself.
        """
        path = self.run.result(self.stage, self.recipe, row.image)
        size = put_picture(path, mask, {FINGERPRINT: fingerprint, **facts})
        self._note_empty(row, mask)
        return ImageResult(bytes=size)

    def _note_empty(self, row: ImageRow, mask: NDArray[np.uint8]) -> None:
        if row.labels and not shows_class(mask):
            self.empty.add(row.image)


def put_picture(
    path: Path, values: NDArray[np.uint8], texts: Mapping[str, str], *, palette: bool = True
) -> int:
    """Write a result's picture; somebody else's in its place is kept under another name.

    Args:
        path: Its place.
        values: uint8 (H, W).
        texts: What the file is to say of itself.
        palette: Whether the values are classes; else they are gray.

    Returns:
        The file's bytes.
    """
    if is_foreign_mask(path):
        set_aside(path)
    write_mask(path, values, texts, palette=palette)
    return path.stat().st_size
