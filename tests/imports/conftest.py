"""Fixtures of the bare run, and of a run with maps drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from bare_runs import bare_run, classified_run, config_of, dataset

from ws3.run.fingerprints import Fingerprints
from ws3.store.maps import MapStore

__all__ = ["bare_run", "classified_run", "config_of", "dataset"]


@pytest.fixture
def mapped(classified_run):
    """Return a run whose recipe `cam` has maps, drawn at random."""
    run = classified_run(
        recipes={"cam": {"preset": "cam"}},
        segmentation__recipes=[],
        masks__background={"kind": "tuned", "split": "train"},
    )
    store = MapStore(run.results("maps", "cam"))
    store.create({"kind": "maps", "recipe": "cam"})
    for number, row in enumerate(run.index.rows):
        maps = np.random.default_rng(number).random((len(row.labels), row.height, row.width))
        made_from = Fingerprints(run, "cam").of("maps", row)
        store.write(row.image, maps.astype(np.float16), {"fingerprint": made_from})
    return run
