"""The work of each per-image stage, by name."""

from __future__ import annotations

from ws3.config.run import Stage
from ws3.jobs.run import Run
from ws3.jobs.runner import Work


def begin(run: Run, stage: Stage, recipe: str) -> Work:
    """Return a stage's work; only what that stage needs is imported.

    Raises:
        Ws3Error: if the run has no such recipe, or an earlier stage has not begun.
    """
    match stage:
        case "saliency":
            from ws3.stages.saliency import SaliencyWork

            return SaliencyWork(run, recipe)
        case "maps":
            from ws3.stages.aggregate import AggregateWork

            return AggregateWork(run, recipe)
        case "masks":
            from ws3.stages.masks import MaskWork

            return MaskWork(run, recipe)
        case "predictions":
            from ws3.stages.predict import PredictWork

            return PredictWork(run, recipe)
