"""Which images a stage skips, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ws3.config.run import Stage
from ws3.datasets.index import ImageRow
from ws3.run.folder import Run
from ws3.run.records import Failure, read_record

DEPENDS_ON: Mapping[Stage, tuple[Stage, ...]] = {
    "saliency": (),
    "maps": ("saliency",),
    "masks": ("saliency", "maps"),
    "predictions": (),
}
"""The per-image stages that each is built on."""


def skip_reason(run: Run, recipe: str, row: ImageRow, stages: Sequence[Stage]) -> str:
    """Return why an image is passed over, or an empty string.

    It is passed over if indexing found it bad, or if it failed in one of these stages; with
    `on_bad_image: fail` no run goes on after that.
    """
    if row.problem:
        return row.problem
    if run.config.on_bad_image == "skip":
        for stage in stages:
            failure = run.failure_file(stage, recipe, row.image)
            if failure.exists():
                return f"{stage}: {read_record(failure, Failure).reason}"
    return ""
