"""The loop that every per-image stage runs: skip what is done, make the rest, write the receipt."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from types import FrameType
from typing import Protocol

from ws3 import __version__
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import NoSpaceError
from ws3.jobs.lease import Lease
from ws3.jobs.progress import ProgressReport
from ws3.registry import load_object
from ws3.removal import remove_file, remove_leftovers
from ws3.run import journal
from ws3.run.batches import Batch, Batches
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer, since_start
from ws3.run.records import Failure, Receipt, write_record
from ws3.run.skips import skip_reason
from ws3.stage_table import STAGES, stages_before

_log = logging.getLogger(__name__)


class TerminatedError(Exception):
    """The job was asked to stop (SIGTERM); what it had committed stays."""


@dataclass(frozen=True)
class ImageResult:
    """What one image took."""

    samples: int = 0
    bytes: int = 0


class ImageStage(Protocol):
    """One stage of one recipe."""

    stage: str
    recipe: str

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's result is made from."""

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether an intact result with this fingerprint is committed."""

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Make and commit an image's result; a Ws3Error concerns this image alone."""


def open_stage(run: Run, stage: str, recipe: str) -> ImageStage:
    """Return a per-image stage of a recipe, ready to compute; only what it needs is imported.

    Raises:
        Ws3Error: If the run has no such recipe, or an earlier stage has not begun.
    """
    worker: ImageStage = load_object(STAGES[stage].worker)(run, recipe)
    return worker


@dataclass
class BatchSummary:
    """What became of the images of one batch."""

    fingerprints: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    computed: int = 0
    samples: int = 0
    bytes: int = 0


def run_batches(run: Run, work: ImageStage, batches: Sequence[Batch]) -> None:
    """Do a stage's work on some batches, and write the receipt of each that is complete.

    Raises:
        Ws3Error: A line per image that could not be processed, after all others are done.
        TerminatedError: On SIGTERM, after the image in flight.
    """
    _run(run, work, batches, complete=True)


def run_images(run: Run, work: ImageStage, rows: Sequence[ImageRow]) -> None:
    """Do a stage's work on single images; no batch is complete by that, so no receipt is written.

    Raises:
        Ws3Error: A line per image that could not be processed, after all others are done.
        TerminatedError: On SIGTERM, after the image in flight.
    """
    splits = dict.fromkeys(row.split for row in run.index.rows)
    batches = Batches(run.mapped_rows(splits), splits, run.config.batch_size(work.stage))
    _run(run, work, batches.holding(rows), complete=False)


def _run(run: Run, work: ImageStage, batches: Sequence[Batch], *, complete: bool) -> None:
    failed: dict[str, str] = {}
    start = since_start()
    with (
        _termination() as stop,
        ProgressReport(_title(work), sum(len(batch.rows) for batch in batches)) as progress,
    ):
        for batch in batches:
            receipt = run.receipt(work.stage, work.recipe, batch.name)
            with Lease(receipt.with_suffix(".lease"), give_up=stop.check):
                results = [run.result(work.stage, work.recipe, row.image) for row in batch.rows]
                remove_leftovers([receipt, *results])
                timer, start = PhaseTimer(start), 0.0
                summary = _do_images(run, work, batch.rows, timer, stop, progress)
                if complete and not summary.failed:
                    write_record(receipt, _receipt(work, batch, summary, timer))
            failed |= summary.failed
            _log.info("%s %s: %s", _title(work), batch.name, _summary(summary))
    _raise_failures(work, failed)


def _do_images(
    run: Run,
    work: ImageStage,
    rows: Sequence[ImageRow],
    timer: PhaseTimer,
    stop: _Stop,
    progress: ProgressReport,
) -> BatchSummary:
    summary = BatchSummary()
    for row in rows:
        stop.check()
        _do_image(run, work, row, summary, timer)
        progress.advance()
    return summary


def _title(work: ImageStage) -> str:
    return f"{work.stage} {work.recipe}"


def _raise_failures(work: ImageStage, failed: Mapping[str, str]) -> None:
    if failed:
        count = f"{len(failed)} image{'s' if len(failed) > 1 else ''}"
        lines = [f"{image}: {reason}" for image, reason in failed.items()]
        raise Ws3Error(
            "\n".join(
                [
                    f"{_title(work)}: {count} failed, the others are done; mend "
                    "them and run again, or set on_bad_image: skip",
                    *lines,
                ]
            )
        )


def _do_image(
    run: Run, work: ImageStage, row: ImageRow, summary: BatchSummary, timer: PhaseTimer
) -> None:
    reason = skip_reason(run, work.recipe, row, stages_before(work.stage))
    if reason:
        summary.skipped[row.image] = reason
        return
    fingerprint = work.fingerprint(row)
    failure = run.failure_file(work.stage, work.recipe, row.image)
    if not work.is_done(row, fingerprint):
        try:
            made = work.compute(row, fingerprint, timer)
        except NoSpaceError:
            raise
        except Ws3Error as error:
            write_record(failure, Failure(reason=str(error)))
            _note(run, work, row, "failed", fingerprint, timer, ImageResult())
            if run.config.on_bad_image == "skip":
                summary.skipped[row.image] = str(error)
            else:
                summary.failed[row.image] = str(error)
            return
        summary.computed += 1
        summary.samples += made.samples
        summary.bytes += made.bytes
        _note(run, work, row, "computed", fingerprint, timer, made)
    remove_file(failure)
    summary.fingerprints[row.image] = fingerprint


def _note(
    run: Run,
    work: ImageStage,
    row: ImageRow,
    event: journal.Event,
    fingerprint: str,
    timer: PhaseTimer,
    made: ImageResult,
) -> None:
    seconds = {str(phase): round(spent, 3) for phase, spent in timer.lap().items()}
    entry = journal.Entry(
        work.recipe, row.image, event, fingerprint, seconds, made.samples, made.bytes
    )
    journal.note(run, work.stage, entry)


def _receipt(work: ImageStage, batch: Batch, summary: BatchSummary, timer: PhaseTimer) -> Receipt:
    return Receipt(
        stage=work.stage,
        recipe=work.recipe,
        batch=batch.name,
        images=summary.fingerprints,
        skipped=summary.skipped,
        computed=summary.computed,
        reused=len(summary.fingerprints) - summary.computed,
        samples=summary.samples,
        bytes=summary.bytes,
        seconds={phase: round(spent, 3) for phase, spent in timer.seconds.items()},
        versions={"ws3": __version__, "zarr": version("zarr"), "numpy": version("numpy")},
    )


def _summary(summary: BatchSummary) -> str:
    reused = len(summary.fingerprints) - summary.computed
    parts = {
        "computed": summary.computed,
        "already done": reused,
        "skipped": len(summary.skipped),
        "failed": len(summary.failed),
    }
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count) or "no images"


class _Stop:
    requested = False

    def check(self) -> None:
        if self.requested:
            raise TerminatedError("asked to stop (SIGTERM); the same command continues from here")


@contextmanager
def _termination() -> Iterator[_Stop]:
    """Note a SIGTERM instead of dying of it, so that the image in flight can be finished."""
    stop = _Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.requested = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
