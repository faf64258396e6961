"""The plain gradient, but a batch meets what the folder WS3_TEST_FATES holds for it.

A file named like the batch says what: `hold` waits at the second image until the file is gone,
`hang` waits there forever, and `hoard` takes three gigabytes; the last two happen once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from torch import Tensor

from ws3.attribution.gradients import gradient
from ws3.attribution.interface import Attribution, Options
from ws3.attribution.network import AttributionNetwork

_HOARD = 3 * 2**30
_calls = count(1)


def held_gradient(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    if "--batch" in sys.argv and next(_calls) == 2:
        _meet(Path(os.environ["WS3_TEST_FATES"]) / sys.argv[sys.argv.index("--batch") + 1])
    return gradient(network, inputs, classes, options)


def _meet(fate: Path) -> None:
    if not fate.exists():
        return
    what = fate.read_text()
    fate.with_name(f"met-{fate.name}").write_text(os.environ.get("SLURM_JOB_ID", ""))
    if what != "hold":
        fate.unlink()
    hoard = np.ones(_HOARD, np.uint8) if what == "hoard" else None
    while fate.exists() or what != "hold":
        time.sleep(0.1)
    del hoard
