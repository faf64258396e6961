"""maps + images -> masks/<recipe>/<image>.png."""

from __future__ import annotations

from ws3.datasets.index import ImageRow
from ws3.jobs.runner import ImageResult
from ws3.masks.crf import parameters
from ws3.masks.pseudo import Voters, pseudo_mask
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.samples import load_image
from ws3.stages.imported import imported_mask
from ws3.stages.png_stage import PngStage


class MasksStage(PngStage):
    """Turns an image's maps into its pseudo-mask."""

    stage = "masks"

    def __init__(self, run: Run, recipe: str) -> None:
        run.recipe(recipe)
        super().__init__(run, recipe)
        imported = run.recipe(recipe).imported
        self._as_they_are = imported is not None and imported.as_they_are
        self._background = run.threshold(recipe).for_masks
        self._crf = parameters(run.config.masks.crf)

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Refine and commit.

        Raises:
            StaleResultError: If the maps or regions are missing, damaged or made from other inputs.
            Ws3Error: If the image, or the mask that is imported, can't be read.
        """
        if self._as_they_are:
            with timer.phase("load"):
                mask = imported_mask(self.run, self.recipe, row)
            with timer.phase("write"):
                return self.commit(row, fingerprint, mask)
        with timer.phase("load"):
            image, maps = load_image(row), self.results.maps(row)
            regions = self.run.config.masks.regions
            voters = None
            if regions is not None:
                voters = Voters(self.results.segments(row), regions.vote, regions.place)
        with timer.phase("compute"):
            mask = pseudo_mask(
                image,
                maps,
                self.run.class_values(row),
                self._background,
                self._crf,
                self.run.config.masks.ignore_below,
                voters,
            )
        with timer.phase("write"):
            return self.commit(row, fingerprint, mask)
