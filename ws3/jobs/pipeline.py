"""Images through a GPU without gaps: the next are read, and the last are written, beside it.

The calling thread starts images on the device in their order; threads read ahead of it, and write
behind it. All of them are bounded: a killed job loses at most the images in flight, each of which
is committed whole or not at all. Results are handed out in order.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ws3.datasets.index import ImageRow
from ws3.run.phases import PhaseTimer


class Pending(Protocol):
    """An image that was started on the device."""

    @property
    def seconds(self) -> float:
        """What the device took for it; known once it is written."""


class DeviceSteps(Protocol):
    """What a stage does with an image on a device, in three steps.

    A `Ws3Error` in any of them concerns this image alone.
    """

    def read(self, row: ImageRow, fingerprint: str) -> Any:
        """Read what there is to compute from; in a thread of its own."""

    def start(self, read: Any) -> Pending | None:
        """Hand it to the device, and don't wait; None if there is nothing to compute."""

    def finish(self, read: Any, pending: Pending | None) -> Any:
        """Wait for the device, commit the result, and say what it took; in a thread of its own."""


@dataclass(frozen=True)
class Checked:
    """What an image needs.

    Attributes:
        fingerprint: Of the result that it shall have.
        reason: Why it is passed over, or an empty string.
        done: Whether that result is there.
    """

    fingerprint: str = ""
    reason: str = ""
    done: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is to be computed."""
        return not self.reason and not self.done


@dataclass
class Outcome:
    """What became of one image.

    Attributes:
        row: The image.
        checked: What it needed.
        result: What `finish` returned; None if there was nothing to do.
        error: Why it has none.
    """

    row: ImageRow
    checked: Checked
    result: Any = None
    error: Exception | None = None


@dataclass
class _Flight:
    outcome: Outcome
    read: Any = None
    pending: Pending | None = None
    writing: Future[Any] | None = None


def through_device(
    rows: Sequence[ImageRow],
    check: Callable[[ImageRow], Checked],
    steps: DeviceSteps,
    timer: PhaseTimer,
    check_stop: Callable[[], None],
) -> Iterator[Outcome]:
    """Read, compute and commit images, and yield each in its turn.

    The timer's seconds are those of the clock: `compute` is what the device took, `load` what it
    waited for reading, and `write` the rest.

    Args:
        rows: The images.
        check: Says what an image needs; in a thread of its own.
        steps: The stage's.
        timer: Gets the seconds of each image before it is yielded.
        check_stop: Raises an error to stop; the images on the device are finished first.
    """
    readers, writers = threads()
    clock, left = _Clock(timer), deque(rows)
    reading: deque[Future[_Flight]] = deque()
    flying: deque[_Flight] = deque()
    stop: Exception | None = None
    with (
        ThreadPoolExecutor(readers, "read") as reading_pool,
        ThreadPoolExecutor(writers, "write") as writing_pool,
    ):
        try:
            while left or reading:
                while left and len(reading) <= readers:
                    reading.append(reading_pool.submit(_read, left.popleft(), check, steps))
                try:
                    check_stop()
                except Exception as error:
                    stop = error
                    break
                with clock.waiting():
                    flight = reading.popleft().result()
                _start(flight, steps, writing_pool)
                flying.append(flight)
                while flying and (len(flying) > writers + 1 or _landed(flying[0])):
                    yield _outcome(flying.popleft(), clock)
            while flying:
                yield _outcome(flying.popleft(), clock)
        finally:
            for future in reading:
                future.cancel()
    if stop is not None:
        raise stop


def threads() -> tuple[int, int]:
    """Return how many threads read, and how many write: by the cores that the job may use."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(4, cores // 3)), max(1, min(6, cores // 2))


def _read(row: ImageRow, check: Callable[[ImageRow], Checked], steps: DeviceSteps) -> _Flight:
    flight = _Flight(Outcome(row, check(row)))
    if flight.outcome.checked.is_open:
        try:
            flight.read = steps.read(row, flight.outcome.checked.fingerprint)
        except Exception as error:
            flight.outcome.error = error
    return flight


def _start(flight: _Flight, steps: DeviceSteps, writing: ThreadPoolExecutor) -> None:
    if not flight.outcome.checked.is_open or flight.outcome.error is not None:
        return
    try:
        flight.pending = steps.start(flight.read)
    except Exception as error:
        flight.outcome.error = error
    else:
        flight.writing = writing.submit(steps.finish, flight.read, flight.pending)


def _landed(flight: _Flight) -> bool:
    return flight.writing is None or flight.writing.done()


def _outcome(flight: _Flight, clock: _Clock) -> Outcome:
    outcome, computed = flight.outcome, 0.0
    if flight.writing is not None:
        try:
            outcome.result = flight.writing.result()
        except Exception as error:
            outcome.error = error
        else:
            computed = 0.0 if flight.pending is None else flight.pending.seconds
    clock.note(computed)
    return outcome


class _Clock:
    """Divides the time that passes among a timer's phases."""

    def __init__(self, timer: PhaseTimer) -> None:
        self._timer, self._began = timer, time.monotonic()
        self._waited = self._known = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the block's seconds as waiting for what is read."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began

    def note(self, computed: float) -> None:
        """Account for the time since the last call, in which the device took some for an image."""
        seconds = self._timer.seconds
        seconds["compute"] += computed
        self._known += computed
        passed = time.monotonic() - self._began
        load = min(self._waited, max(0.0, passed - self._known))
        self._waited = 0.0
        rest = max(0.0, passed - self._known - load)
        seconds["load"] += load
        seconds["write"] += rest
        self._known += load + rest
