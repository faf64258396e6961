"""maps + images -> masks/<recipe>/<image>.png."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ws3.datasets.index import ImageRow
from ws3.jobs.runner import ImageResult
from ws3.masks.confidence import in_steps
from ws3.masks.crf import parameters
from ws3.masks.pseudo import Voters, mask_and_confidence
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import (
    FINGERPRINT,
    confidence_fingerprint,
    current_mask,
)
from ws3.run.samples import load_image
from ws3.stages.imported import imported_mask
from ws3.stages.png_stage import PngStage, put_picture


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

        self._keeps_confidence = run.config.keeps_confidence(recipe)

    def files_beside(self, row: ImageRow) -> list[Path]:
        """Return the files that an image has beside its mask."""
        if not self._keeps_confidence:
            return []
        return [self.run.confidence_file(self.recipe, row.image)]

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether an intact mask with this fingerprint is committed, and what goes with it.

        Both are made from the same: the fingerprint of the confidence follows from the mask's.
        """
        made_from = confidence_fingerprint(self.run, fingerprint)
        beside = (current_mask(path, made_from) for path in self.files_beside(row))
        return super().is_done(row, fingerprint) and all(found is not None for found in beside)

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
            mask, confidence = mask_and_confidence(
                image,
                maps,
                self.run.class_values(row),
                self._background,
                self._crf,
                self.run.config.masks.ignore_below,
                voters,
                of_maps=self.run.config.masks.confidence == "maps",
            )
        with timer.phase("write"):
            made_from = confidence_fingerprint(self.run, fingerprint)
            beside = sum(
                put_picture(path, in_steps(confidence), {FINGERPRINT: made_from}, palette=False)
                for path in self.files_beside(row)
            )
            # The last: where there is a mask, all is there.
            result = self.commit(row, fingerprint, mask)
            return replace(result, bytes=result.bytes + beside)
