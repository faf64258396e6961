"""Where a run's time went, and how much of it is left: from its receipts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ws3.jobs.clock import Phase
from ws3.jobs.run import Run
from ws3.jobs.status import StageStatus, receipts_of, run_status

PHASES: tuple[Phase, ...] = ("start", "load", "compute", "write")


@dataclass(frozen=True)
class StageTime:
    """The time of one stage of one recipe, as far as the receipts tell.

    Attributes:
        status: how far it has come.
        jobs: that computed anything.
        images: that they computed.
        samples: likewise.
        bytes: of the results that they computed, in memory.
        seconds: of these jobs together, by phase.
    """

    status: StageStatus
    jobs: int
    images: int
    samples: int
    bytes: int
    seconds: Mapping[Phase, float]

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())

    @property
    def overhead(self) -> float | None:
        """Share of the time that was not spent computing, from 0 to 1; None before any was."""
        return 1 - self.seconds["compute"] / self.total if self.total else None

    @property
    def rate(self) -> float | None:
        """Images a second and job; None before any was computed."""
        return self.images / self.total if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the missing images take one job after another; None if nothing tells."""
        open_images = self.status.missing + len(self.status.failed)
        if not open_images:
            return 0.0
        return open_images / self.rate if self.rate else None


def run_times(run: Run) -> Iterator[StageTime]:
    """Yield the time of every stage and recipe of a run, in the order of the data.

    A job that found all of its images done tells nothing of how long they take, and is left out.

    Raises:
        StaleResultError: if the images are not indexed yet.
    """
    for status in run_status(run):
        receipts = [
            receipt
            for receipt in receipts_of(run, status.stage, status.recipe)
            if receipt["computed"]
        ]
        yield StageTime(
            status,
            jobs=len(receipts),
            images=sum(receipt["computed"] for receipt in receipts),
            samples=sum(receipt["samples"] for receipt in receipts),
            bytes=sum(receipt["bytes"] for receipt in receipts),
            seconds={
                phase: sum(receipt["seconds"][phase] for receipt in receipts) for phase in PHASES
            },
        )
