"""How far a run has come: from its receipts, its failures and its folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.run import journal
from ws3.run.batches import stage_splits
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import Failure, Receipt, Threshold, read_record
from ws3.stage_table import STAGES


@dataclass(frozen=True)
class StageStatus:
    """One stage of one recipe.

    Attributes:
        stage: Name of the per-image stage.
        recipe: Name of the recipe.
        done: Number of images that a receipt lists, made from what the run now expects.
        expected: Number of images that the stage works on.
        skipped: Number of images that were skipped.
        failed: The reason, by title, of each image that failed and is not computed since.
        seconds: Time spent on all results that were ever computed, from the journal.
        bytes: Size of the results on disk.
        empty: How many of those done have labels and show none of their classes.
        samples: After how many samples each of those done stopped, in ascending order; only of a
            stage that draws them, where the recipe's count is adaptive.
    """

    stage: str
    recipe: str
    done: int
    expected: int
    skipped: int
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    bytes: int = 0
    empty: int = 0
    samples: tuple[int, ...] = ()

    @property
    def missing(self) -> int:
        """Images that are neither done, skipped nor failed."""
        return max(0, self.expected - self.done - self.skipped - len(self.failed))


def run_status(run: Run) -> Iterator[StageStatus]:
    """Yield the state of every stage and recipe of a run, in the order of the data.

    Raises:
        StaleResultError: If the images are not indexed yet.
    """
    for stage in STAGES:
        rows = {row.image: row for row in run.mapped_rows(stage_splits(run.config, stage))}
        seconds = seconds_of(run, stage)
        for recipe in STAGES[stage].recipes(run.config):
            found = receipts_of(run, stage, recipe)
            made = {image: made for receipt in found for image, made in receipt.images.items()}
            there = [rows[image] for image in made if image in rows]
            expected = Fingerprints(run, recipe).expected(stage, there)
            done = {image for image, fingerprint in expected.items() if made[image] == fingerprint}
            skipped = {image for receipt in found for image in receipt.skipped} & rows.keys()
            failed = {
                image: reason
                for image, reason in failures_of(run, stage, recipe).items()
                if image in rows and image not in skipped
            }
            yield StageStatus(
                stage,
                recipe,
                done=len(done - failed.keys()),
                expected=len(rows),
                skipped=len(skipped),
                failed={rows[image].title: reason for image, reason in failed.items()},
                seconds=seconds.get(recipe, 0.0),
                bytes=folder_bytes(run.results(stage, recipe)),
                empty=len(done & {image for receipt in found for image in receipt.empty}),
                samples=_samples(run, stage, recipe, [rows[image] for image in done]),
            )


def _samples(run: Run, stage: str, recipe: str, rows: list[ImageRow]) -> tuple[int, ...]:
    if stage != "saliency" or run.recipe(recipe).stopping is None:
        return ()
    # Reading stores takes half a second to import.
    from ws3.run.samples import sample_counts

    return tuple(sorted(sample_counts(run, recipe, rows).values()))


def seconds_of(run: Run, stage: str) -> dict[str, float]:
    """Return the seconds spent on a stage, by recipe."""
    seconds: dict[str, float] = {}
    for entry in journal.entries(run, stage):
        seconds[entry.recipe] = seconds.get(entry.recipe, 0.0) + sum(entry.seconds.values())
    return seconds


def receipts_of(run: Run, stage: str, recipe: str) -> list[Receipt]:
    """Return all receipts of a stage and recipe, by name; damaged ones are left out."""
    found = []
    for path in sorted(run.receipt(stage, recipe, "any").parent.glob("*.json")):
        with suppress(Ws3Error):
            found.append(read_record(path, Receipt))
    return found


def thresholds_of(run: Run) -> list[Threshold]:
    """Return the thresholds that are chosen, by recipe; damaged ones are left out."""
    found = []
    for recipe in run.config.recipes:
        with suppress(Ws3Error):
            found.append(run.threshold(recipe))
    return found


def failures_of(run: Run, stage: str, recipe: str) -> dict[str, str]:
    """Return the reason per image that failed in a stage."""
    folder = run.failure_file(stage, recipe, "any").parent
    return {path.stem: read_record(path, Failure).reason for path in sorted(folder.glob("*.json"))}


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in and below a folder."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(base, name)).st_size  # noqa: PTH116, PTH118 (speed)
    return total
