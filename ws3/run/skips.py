"""Tells which images are skipped, and why."""

from __future__ import annotations

from collections.abc import Iterable

from ws3.datasets.index import ImageRow
from ws3.run.folder import Run
from ws3.run.records import Failure, read_record


def skip_reason(run: Run, recipe: str, row: ImageRow, stages: Iterable[str]) -> str:
    """Return why an image is skipped, or an empty string.

    It is skipped if indexing found it bad, or if it failed in one of these stages; with
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
