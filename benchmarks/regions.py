"""Masks with regions against masks with the CRF alone, segments included.

`python benchmarks/regions.py` takes about a minute; the photograph is drawn at 375 x 500 and has
three labels. Segments are made once per image, and here for a single recipe.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable
from typing import Any

import numpy as np
from masks import picture
from measuring import entry, fastest, report

from ws3.cli.memory import keep_freed_memory
from ws3.config.regions import FelzenszwalbRegions, SlicRegions
from ws3.masks.crf import PRESETS
from ws3.masks.pseudo import Voters, pseudo_mask
from ws3.masks.regions import image_segments

ROUNDS = 7
KINDS: dict[str, SlicRegions | FelzenszwalbRegions] = {
    "slic": SlicRegions(kind="slic"),
    "felzenszwalb": FelzenszwalbRegions(kind="felzenszwalb"),
}


def main() -> None:
    """Measure, and report."""
    keep_freed_memory()
    image, maps = picture()
    crf = PRESETS["irn"]
    # A photograph has the noise of its sensor, which a drawing lacks.
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)

    def with_regions(kind: str, place: str) -> Callable[[], Any]:
        def run() -> Any:
            voters = Voters(image_segments(image, KINDS[kind]), "mean", place)
            return pseudo_mask(image, maps, [1, 2], 0.3, crf, regions=voters)

        return run

    places = ("before_crf", "after_crf", "instead")
    sides: dict[str, Callable[[], Any]] = {
        "crf": lambda: pseudo_mask(image, maps, [1, 2], 0.3, crf),
        **{f"{kind} {place}": with_regions(kind, place) for kind in KINDS for place in places},
    }
    seconds = fastest(sides, rounds=ROUNDS)
    report(
        "regions",
        [
            entry(
                f"{name}: a mask of 375 x 500 with its segments, against the CRF irn alone",
                1e3 * seconds[name],
                1e3 * seconds["crf"],
                seconds[name] / seconds["crf"],
                None,
                "CPU-milliseconds",
            )
            for name in sides
            if name != "crf"
        ],
    )


if __name__ == "__main__":
    main()
