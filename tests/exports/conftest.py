"""A run that has masks to export."""

from __future__ import annotations

import pytest

from ws3.jobs.runner import open_stage, run_batches
from ws3.run.batches import stage_batches, stage_splits
from ws3.stages.threshold import threshold


@pytest.fixture
def run(small_run):
    """Return a run that has its masks; some of their pixels are ignored."""
    run = small_run(
        recipes={"cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0]}}},
        segmentation__recipes=[],
        masks={"background": {"kind": "constant", "score": 0.5}, "crf": "none"},
    )
    for stage in ("saliency", "maps", "threshold", "masks"):
        if stage == "threshold":
            threshold(run, "cam")
            continue
        batches = stage_batches(run.config, run.index, stage)
        names = batches.names(stage_splits(run.config, stage))
        run_batches(run, open_stage(run, stage, "cam"), [batches[name] for name in names])
    return run
