"""A run that has masks to export."""

from __future__ import annotations

import pytest
from predicted import give_network
from stage_work import work

from ws3.stages.threshold import threshold


@pytest.fixture
def run(small_run):
    """Return a run that has its masks; some of their pixels are ignored."""
    run = small_run(
        recipes={"cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0]}}},
        segmentation__recipes=["cam"],
        masks={"background": {"kind": "constant", "score": 0.5}, "crf": "none"},
    )
    for stage in ("saliency", "maps"):
        work(run, stage, "cam")
    threshold(run, "cam")
    work(run, "masks", "cam")
    return run


@pytest.fixture
def predicted_run(run):
    """Return the run with the predictions of a network."""
    give_network(run, "cam")
    work(run, "predictions", "cam")
    return run
