"""maps + images -> masks/<recipe>/<image>.png."""

from __future__ import annotations

from ws3.datasets.index import ImageRow
from ws3.jobs.runner import ImageResult
from ws3.masks.crf import parameters
from ws3.masks.png import write_mask
from ws3.masks.pseudo import pseudo_mask
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import FINGERPRINT, RecipeResults, current_mask
from ws3.run.samples import load_image
from ws3.stages.threshold import chosen_background


class MasksStage:
    """Turns an image's maps into its pseudo-mask."""

    stage: str = "masks"

    def __init__(self, run: Run, recipe: str) -> None:
        run.recipe(recipe)
        self.recipe = recipe
        self._run, self._fingerprints = run, Fingerprints(run, recipe)
        self._results = RecipeResults(run, recipe)
        self._background = chosen_background(run.threshold_file(recipe))
        self._crf = parameters(run.config.masks.crf)
        run.results("masks", recipe).mkdir(parents=True, exist_ok=True)

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's mask is made from."""
        return self._fingerprints.of("masks", row)

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether an intact mask with this fingerprint is committed."""
        path = self._run.result("masks", self.recipe, row.image)
        return current_mask(path, fingerprint) is not None

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Refine and commit.

        Raises:
            StaleResultError: if the maps are missing, damaged or made from other inputs.
            Ws3Error: if the image can't be read.
        """
        with timer.phase("load"):
            image, maps = load_image(row), self._results.maps(row)
        with timer.phase("compute"):
            mask = pseudo_mask(
                image,
                maps,
                self._run.class_values(row),
                self._background,
                self._crf,
                self._run.config.masks.ignore_below,
            )
        path = self._run.result("masks", self.recipe, row.image)
        with timer.phase("write"):
            write_mask(path, mask, {FINGERPRINT: fingerprint})
        return ImageResult(bytes=path.stat().st_size)
