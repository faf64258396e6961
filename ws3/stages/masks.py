"""maps + images -> masks/<recipe>/<image>.png."""

from __future__ import annotations

from ws3.datasets.index import ImageRow
from ws3.jobs.runner import ImageResult
from ws3.masks.crf import parameters
from ws3.masks.pseudo import pseudo_mask
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.samples import load_image
from ws3.stages.png_stage import PngStage


class MasksStage(PngStage):
    """Turns an image's maps into its pseudo-mask."""

    stage = "masks"

    def __init__(self, run: Run, recipe: str) -> None:
        run.recipe(recipe)
        super().__init__(run, recipe)
        self._background = run.threshold(recipe).background
        self._crf = parameters(run.config.masks.crf)

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Refine and commit.

        Raises:
            StaleResultError: If the maps are missing, damaged or made from other inputs.
            Ws3Error: If the image can't be read.
        """
        with timer.phase("load"):
            image, maps = load_image(row), self.results.maps(row)
        with timer.phase("compute"):
            mask = pseudo_mask(
                image,
                maps,
                self.run.class_values(row),
                self._background,
                self._crf,
                self.run.config.masks.ignore_below,
            )
        with timer.phase("write"):
            return self.commit(row, fingerprint, mask)
