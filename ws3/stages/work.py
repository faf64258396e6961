"""The work of each per-image stage, by name."""

from __future__ import annotations

from ws3.config.run import Stage
from ws3.jobs.runner import ImageStage
from ws3.run.folder import Run


def begin(run: Run, stage: Stage, recipe: str) -> ImageStage:
    """Return a stage's work; only what that stage needs is imported.

    Raises:
        Ws3Error: if the run has no such recipe, or an earlier stage has not begun.
    """
    match stage:
        case "saliency":
            from ws3.stages.saliency import SaliencyStage

            return SaliencyStage(run, recipe)
        case "maps":
            from ws3.stages.maps import MapsStage

            return MapsStage(run, recipe)
        case "masks":
            from ws3.stages.masks import MasksStage

            return MasksStage(run, recipe)
        case "predictions":
            from ws3.stages.predictions import PredictionsStage

            return PredictionsStage(run, recipe)
