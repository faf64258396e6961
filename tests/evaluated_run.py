"""A small run, evaluated: two recipes on drawn pictures, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stage_work import TWO_RECIPES, begun, work

from ws3.run.folder import Run
from ws3.stages.evaluate import evaluate, summarise_run
from ws3.stages.threshold import threshold


def evaluated(results: Path, classifier: Path, **changes: Any) -> Run:
    """Return a new run in a folder whose recipes have maps, masks and figures."""
    run = begun({**TWO_RECIPES, "results": str(results), **changes}, classifier)
    for recipe in run.config.recipes:
        work(run, "saliency", recipe)
        work(run, "maps", recipe)
        threshold(run, recipe)
        work(run, "masks", recipe)
    for recipe in run.config.recipes:
        evaluate(run, recipe)
    summarise_run(run)
    return run
