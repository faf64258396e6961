"""The loop that every per-image stage runs: skip what is done, make the rest, write the receipt."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from types import FrameType
from typing import Any, Protocol

from ws3 import __version__
from ws3.config.run import Stage
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import NoSpaceError, remove_leftovers, write_json
from ws3.jobs import journal
from ws3.jobs.batches import Batch, Batches
from ws3.jobs.clock import Clock, since_start
from ws3.jobs.lease import Lease
from ws3.jobs.progress import ProgressReport
from ws3.jobs.run import Run, read_json

UPSTREAM: Mapping[Stage, tuple[Stage, ...]] = {
    "saliency": (),
    "maps": ("saliency",),
    "masks": ("saliency", "maps"),
    "predictions": (),
}
"""The per-image stages that each is built on."""

_log = logging.getLogger(__name__)


class TerminatedError(Exception):
    """The job was asked to stop (SIGTERM); what it had committed stays."""


@dataclass(frozen=True)
class Made:
    """What one image took."""

    samples: int = 0
    bytes: int = 0


class Work(Protocol):
    """One stage of one recipe."""

    stage: Stage
    recipe: str

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's result is made from."""

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether an intact result with this fingerprint is committed."""

    def make(self, row: ImageRow, fingerprint: str, clock: Clock) -> Made:
        """Make and commit an image's result; a Ws3Error concerns this image alone."""


@dataclass
class Tally:
    """What became of the images of one batch."""

    fingerprints: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    computed: int = 0
    samples: int = 0
    bytes: int = 0


def run_batches(run: Run, work: Work, batches: Sequence[Batch]) -> None:
    """Do a stage's work on some batches, and write the receipt of each that is complete.

    Raises:
        Ws3Error: a line per image that could not be processed, after all others are done.
        TerminatedError: on SIGTERM, after the image in flight.
    """
    _run(run, work, batches, complete=True)


def run_images(run: Run, work: Work, rows: Sequence[ImageRow]) -> None:
    """Do a stage's work on single images; no batch is complete by that, so no receipt is written.

    Raises:
        Ws3Error: a line per image that could not be processed, after all others are done.
        TerminatedError: on SIGTERM, after the image in flight.
    """
    splits = dict.fromkeys(row.split for row in run.index.rows)
    batches = Batches(run.mapped_rows(splits), splits, run.config.batch_size(work.stage))
    _run(run, work, batches.holding(rows), complete=False)


def _run(run: Run, work: Work, batches: Sequence[Batch], *, complete: bool) -> None:
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
                clock, start = Clock(start), 0.0
                tally = _do_images(run, work, batch.rows, clock, stop, progress)
                if complete and not tally.failed:
                    write_json(receipt, _receipt(work, batch, tally, clock))
            failed |= tally.failed
            _log.info("%s %s: %s", _title(work), batch.name, _summary(tally))
    _raise_failures(work, failed)


def _do_images(
    run: Run,
    work: Work,
    rows: Sequence[ImageRow],
    clock: Clock,
    stop: _Stop,
    progress: ProgressReport,
) -> Tally:
    tally = Tally()
    for row in rows:
        stop.check()
        _do_image(run, work, row, tally, clock)
        progress.advance()
    return tally


def _title(work: Work) -> str:
    return f"{work.stage} {work.recipe}"


def _raise_failures(work: Work, failed: Mapping[str, str]) -> None:
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


def _do_image(run: Run, work: Work, row: ImageRow, tally: Tally, clock: Clock) -> None:
    reason = skip_reason(run, work.recipe, row, UPSTREAM[work.stage])
    if reason:
        tally.skipped[row.image] = reason
        return
    fingerprint = work.fingerprint(row)
    failure = run.failure_file(work.stage, work.recipe, row.image)
    if not work.is_done(row, fingerprint):
        try:
            made = work.make(row, fingerprint, clock)
        except NoSpaceError:
            raise
        except Ws3Error as error:
            write_json(failure, {"reason": str(error)})
            _note(run, work, row, "failed", fingerprint, clock, Made())
            if run.config.on_bad_image == "skip":
                tally.skipped[row.image] = str(error)
            else:
                tally.failed[row.image] = str(error)
            return
        tally.computed += 1
        tally.samples += made.samples
        tally.bytes += made.bytes
        _note(run, work, row, "computed", fingerprint, clock, made)
    failure.unlink(missing_ok=True)
    tally.fingerprints[row.image] = fingerprint


def _note(
    run: Run,
    work: Work,
    row: ImageRow,
    event: journal.Event,
    fingerprint: str,
    clock: Clock,
    made: Made,
) -> None:
    seconds = {str(phase): round(spent, 3) for phase, spent in clock.since_last().items()}
    entry = journal.Entry(
        work.recipe, row.image, event, fingerprint, seconds, made.samples, made.bytes
    )
    journal.note(run, work.stage, entry)


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
                return f"{stage}: {read_json(failure)['reason']}"
    return ""


def _receipt(work: Work, batch: Batch, tally: Tally, clock: Clock) -> dict[str, Any]:
    return {
        "stage": work.stage,
        "recipe": work.recipe,
        "batch": batch.name,
        "images": tally.fingerprints,
        "skipped": tally.skipped,
        "computed": tally.computed,
        "reused": len(tally.fingerprints) - tally.computed,
        "samples": tally.samples,
        "bytes": tally.bytes,
        "seconds": {phase: round(spent, 3) for phase, spent in clock.seconds.items()},
        "versions": {"ws3": __version__, "zarr": version("zarr"), "numpy": version("numpy")},
    }


def _summary(tally: Tally) -> str:
    reused = len(tally.fingerprints) - tally.computed
    parts = {
        "computed": tally.computed,
        "already done": reused,
        "skipped": len(tally.skipped),
        "failed": len(tally.failed),
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
