"""A fixture of several modules of this folder."""

from __future__ import annotations

import pytest
from stage_work import map_at_random


@pytest.fixture
def mapped(small_run):
    """Return a function that begins a run whose maps are there, drawn at random."""

    def begin(name="results", **changes):
        run = small_run(
            name,
            recipes={"cam": {"preset": "cam"}},
            segmentation__recipes=[],
            masks__background={"kind": "constant", "score": 0.5},
            **changes,
        )
        map_at_random(run, "cam")
        return run

    return begin
