"""How far a run is that is under way, on this machine or on a cluster: from its files alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ws3.run import journal
from ws3.run.batches import stage_splits
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.status import StageStatus, receipts_of, run_status

WINDOW = 60.0
"""Over how many seconds a rate is taken."""


@dataclass(frozen=True)
class StageProgress:
    """One stage of one recipe, while jobs work on it.

    Attributes:
        status: What its receipts say, which are written when a whole batch is done.
        under_way: Images that jobs have committed and no receipt lists yet.
        rate: Images per second of all jobs together in the last minute; None if there were none.
    """

    status: StageStatus
    under_way: int = 0
    rate: float | None = None

    @property
    def done(self) -> int:
        """Images that are done, with or without a receipt."""
        return min(self.status.done + self.under_way, self.status.expected)

    @property
    def missing(self) -> int:
        """Images that are neither done, skipped nor failed."""
        return max(0, self.status.missing - self.under_way)

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the missing images take at this rate; None if nothing tells."""
        if not self.missing:
            return 0.0
        return self.missing / self.rate if self.rate else None


def run_progress(run: Run, now: float | None = None) -> Iterator[StageProgress]:
    """Yield how far every stage and recipe is, in the order of the data.

    Args:
        run: The run, opened again for each look.
        now: The time, in seconds since 1970; the present if None. A cluster's clocks may differ by
            a little, which moves the minute that a rate is taken over.

    Raises:
        StaleResultError: If the images are not indexed yet.
    """
    now = time.time() if now is None else now
    noted: dict[str, list[journal.Entry]] = {}
    for status in run_status(run):
        stage, recipe = status.stage, status.recipe
        if stage not in noted:
            found = journal.entries(run, stage)
            noted[stage] = [entry for entry in found if entry.event == "computed"]
        own = [entry for entry in noted[stage] if entry.recipe == recipe]
        recent = [entry.time for entry in own if now - WINDOW <= entry.time <= now + WINDOW]
        span = max(1.0, now - min(recent)) if recent else None
        yield StageProgress(
            status,
            under_way=_without_receipt(run, stage, recipe, own) if status.missing else 0,
            rate=None if span is None else len(recent) / span,
        )


def _without_receipt(run: Run, stage: str, recipe: str, entries: list[journal.Entry]) -> int:
    """Count the results that are there, are what the run expects, and no receipt lists."""
    listed = {
        image: made
        for receipt in receipts_of(run, stage, recipe)
        for image, made in receipt.images.items()
    }
    latest = {entry.image: entry.fingerprint for entry in entries}
    rows = [
        row
        for row in run.mapped_rows(stage_splits(run.config, stage))
        if row.image in latest and listed.get(row.image) != latest[row.image]
    ]
    expected = Fingerprints(run, recipe).expected(stage, rows)
    return sum(
        latest[image] == made and run.result(stage, recipe, image).exists()
        for image, made in expected.items()
    )
