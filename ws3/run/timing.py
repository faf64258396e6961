"""Where a run's time went, and how much of it is left: from its journal.

Not from its receipts: a job that finds all of its images done writes a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from ws3.run import journal
from ws3.run.batches import stage_splits
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.phases import PHASES, Phase
from ws3.run.status import StageStatus, run_status


@dataclass(frozen=True)
class StageTime:
    """The time of one stage of one recipe: of each image's last computation.

    Attributes:
        status: How far it has come.
        jobs: Number of jobs that began with one of these images.
        images: Number of images that were computed, from what the run now expects.
        samples: Number of samples that were computed for these images.
        bytes: Size of their results in memory.
        seconds: Time of all of them together, by phase; the jobs' starts are included.
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
        """Images per second and job; None before any was computed."""
        return self.images / self.total if self.total else None

    @property
    def sample_rate(self) -> float | None:
        """Samples, such as crops, per second and job; None where there are none."""
        return self.samples / self.total if self.samples and self.total else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the missing images take one job after another; None if nothing tells."""
        open_images = self.status.missing + len(self.status.failed)
        if not open_images:
            return 0.0
        return open_images / self.rate if self.rate else None


def run_times(run: Run) -> Iterator[StageTime]:
    """Yield the time of every stage and recipe of a run, in the order of the data.

    Raises:
        StaleResultError: If the images are not indexed yet.
    """
    for stage, found in groupby(run_status(run), key=lambda status: status.stage):
        noted = [entry for entry in journal.entries(run, stage) if entry.event == "computed"]
        rows = run.mapped_rows(stage_splits(run.config, stage))
        for status in found:
            # Where an image was computed twice from the same things, the later entry stays.
            own = (entry for entry in noted if entry.recipe == status.recipe)
            latest = {(entry.image, entry.fingerprint): entry for entry in own}
            computed = {image for image, _ in latest}
            expected = Fingerprints(run, status.recipe).expected(
                stage, (row for row in rows if row.image in computed)
            )
            entries = [latest[key] for key in expected.items() if key in latest]
            yield StageTime(
                status,
                jobs=sum(entry.seconds.get("start", 0.0) > 0 for entry in entries),
                images=len(entries),
                samples=sum(entry.samples for entry in entries),
                bytes=sum(entry.bytes for entry in entries),
                seconds={
                    phase: sum(entry.seconds.get(phase, 0.0) for entry in entries)
                    for phase in PHASES
                },
            )
