"""The loop that every per-image stage runs: skip what is done, make the rest, write the receipt."""

from __future__ import annotations

import logging
import platform
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from ws3 import __version__
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import NoSpaceError
from ws3.jobs.lease import Lease
from ws3.jobs.pipeline import Checked, DeviceSteps, Outcome, through_device
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

_PROGRAMS = ("numpy", "pydensecrf2", "torch", "torchvision", "zarr")


class TerminatedError(Exception):
    """The job was asked to stop (SIGTERM); what it had committed stays."""


@dataclass(frozen=True)
class ImageResult:
    """What one image took."""

    samples: int = 0
    bytes: int = 0


class ImageStage(Protocol):
    """One stage of one recipe.

    It may have a set `empty` of the ids that it saw whose result shows none of the classes that
    they are labelled with; they are counted in log, receipt and `ws3 status`.

    It may have a method `device_steps` that returns `ws3.jobs.pipeline.DeviceSteps` where it
    computes on a GPU, or None; it is asked once there is something to compute.

    It may have a method `files_beside` that returns the files, if any, that an image has beside its
    result.
    """

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
    computed: list[ImageResult] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    @property
    def reused(self) -> int:
        """Number of images whose result was there already."""
        return len(self.fingerprints) - len(self.computed)


def run_batches(
    run: Run, work: ImageStage, batches: Sequence[Batch], *, complete: bool = True
) -> None:
    """Do a stage's work on some batches, and write the receipt of each that is complete.

    Args:
        run: The run.
        work: The stage.
        batches: The batches.
        complete: Whether they hold all of their images; otherwise no receipt is written.

    Raises:
        Ws3Error: A line per image that could not be processed, after all others are done.
        TerminatedError: On SIGTERM, after the image in flight.
    """
    title, failed = f"{work.stage} {work.recipe}", dict[str, str]()
    start = since_start()
    with (
        _termination() as check_stop,
        ProgressReport(title, sum(len(batch.rows) for batch in batches)) as progress,
    ):
        for batch in batches:
            receipt = run.receipt(work.stage, work.recipe, batch.name)
            with Lease(receipt.with_suffix(".lease"), give_up=check_stop):
                results = [run.result(work.stage, work.recipe, row.image) for row in batch.rows]
                beside: Callable[[ImageRow], list[Path]] = getattr(
                    work, "files_beside", lambda row: []
                )
                results += [path for row in batch.rows for path in beside(row)]
                remove_leftovers([receipt, *results])
                summary, timer, start = BatchSummary(), PhaseTimer(start), 0.0
                for outcome in _outcomes(run, work, batch.rows, timer, check_stop):
                    _settle(run, work, outcome, summary, timer)
                    progress.advance()
                empty: set[str] = getattr(work, "empty", set())
                summary.empty = [image for image in summary.fingerprints if image in empty]
                if complete and not summary.failed:
                    write_record(receipt, _receipt(work, batch, summary, timer))
            titles = {row.image: row.title for row in batch.rows}
            failed |= {titles[image]: reason for image, reason in summary.failed.items()}
            _log.info("%s %s: %s", title, batch.name, _text(summary))
            if summary.empty:
                named = ", ".join(titles[image] for image in summary.empty[:3])
                _log.warning(
                    "%s %s: %d of %d results show none of their images' classes, such as %s",
                    title,
                    batch.name,
                    len(summary.empty),
                    len(summary.fingerprints),
                    named,
                )
    if failed:
        count = f"{len(failed)} image{'s' if len(failed) > 1 else ''}"
        lines = [f"{image}: {reason}" for image, reason in failed.items()]
        advice = "mend them and run again, or set on_bad_image: skip"
        message = f"{title}: {count} failed, the others are done; {advice}"
        raise Ws3Error("\n".join([message, *lines]))


def run_images(run: Run, work: ImageStage, rows: Sequence[ImageRow]) -> None:
    """Do a stage's work on single images; no batch is complete by that, so no receipt is written.

    Raises:
        Ws3Error: A line per image that could not be processed, after all others are done.
        TerminatedError: On SIGTERM, after the image in flight.
    """
    splits = dict.fromkeys(row.split for row in run.index.rows)
    batches = Batches(run.mapped_rows(splits), splits, run.config.batch_size(work.stage))
    run_batches(run, work, batches.holding(rows), complete=False)


def _outcomes(
    run: Run,
    work: ImageStage,
    rows: Sequence[ImageRow],
    timer: PhaseTimer,
    check_stop: Callable[[], None],
) -> Iterator[Outcome]:
    """Do images one by one; on a GPU, from the first that is open, several at a time."""
    for position, row in enumerate(rows):
        check_stop()
        outcome = Outcome(row, _check(run, work, row))
        if outcome.checked.is_open:
            steps: DeviceSteps | None = getattr(work, "device_steps", lambda: None)()
            if steps is not None:
                yield from _on_device(run, work, steps, rows[position:], timer, check_stop)
                return
            try:
                outcome.result = work.compute(row, outcome.checked.fingerprint, timer)
            except NoSpaceError:
                raise
            except Ws3Error as error:
                outcome.error = error
        yield outcome


def _on_device(
    run: Run,
    work: ImageStage,
    steps: DeviceSteps,
    rows: Sequence[ImageRow],
    timer: PhaseTimer,
    check_stop: Callable[[], None],
) -> Iterator[Outcome]:
    """Do several images at a time; an error that is no image's own stops after those in flight."""
    fatal: list[Exception] = []

    def check() -> None:
        check_stop()
        if fatal:
            raise fatal[0]

    for outcome in through_device(rows, partial(_check, run, work), steps, timer, check):
        error = outcome.error
        if isinstance(error, NoSpaceError) or not isinstance(error, Ws3Error | None):
            fatal.append(error)
            continue
        yield outcome
    if fatal:
        raise fatal[0]


def _check(run: Run, work: ImageStage, row: ImageRow) -> Checked:
    reason = skip_reason(run, work.recipe, row, stages_before(work.stage))
    if reason:
        return Checked(reason=reason)
    fingerprint = work.fingerprint(row)
    return Checked(fingerprint, done=work.is_done(row, fingerprint))


def _settle(
    run: Run, work: ImageStage, outcome: Outcome, summary: BatchSummary, timer: PhaseTimer
) -> None:
    """Note what became of an image."""
    row, checked = outcome.row, outcome.checked
    if checked.reason:
        summary.skipped[row.image] = checked.reason
        return
    failure = run.failure_file(work.stage, work.recipe, row.image)
    if not checked.done:
        event: journal.Event = "computed"
        made, reason = outcome.result or ImageResult(), ""
        if outcome.error is not None:
            event, reason = "failed", str(outcome.error)
            write_record(failure, Failure(reason=reason))
        entry = journal.Entry(
            *(work.recipe, row.image, event, checked.fingerprint),
            *(timer.lap(), made.samples, made.bytes),
        )
        journal.note(run, work.stage, entry)
        if event == "failed":
            skip = run.config.on_bad_image == "skip"
            (summary.skipped if skip else summary.failed)[row.image] = reason
            return
        summary.computed.append(made)
    remove_file(failure)
    summary.fingerprints[row.image] = checked.fingerprint


def _receipt(work: ImageStage, batch: Batch, summary: BatchSummary, timer: PhaseTimer) -> Receipt:
    return Receipt(
        stage=work.stage,
        recipe=work.recipe,
        batch=batch.name,
        images=summary.fingerprints,
        skipped=summary.skipped,
        computed=len(summary.computed),
        reused=summary.reused,
        samples=sum(made.samples for made in summary.computed),
        bytes=sum(made.bytes for made in summary.computed),
        seconds={phase: round(spent, 3) for phase, spent in timer.seconds.items()},
        versions={
            "ws3": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PROGRAMS},
        },
        empty=tuple(summary.empty),
        host=socket.gethostname(),
    )


def _text(summary: BatchSummary) -> str:
    parts = {
        "computed": len(summary.computed),
        "already done": summary.reused,
        "skipped": len(summary.skipped),
        "failed": len(summary.failed),
    }
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count) or "no images"


@contextmanager
def _termination() -> Iterator[Callable[[], None]]:
    """Note a SIGTERM instead of dying of it, so that the image in flight can be finished.

    Yields:
        A function that raises `TerminatedError` once there was one.
    """
    noted: list[int] = []

    def check() -> None:
        if noted:
            raise TerminatedError("asked to stop (SIGTERM); the same command continues from here")

    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    try:
        yield check
    finally:
        signal.signal(signal.SIGTERM, before)
