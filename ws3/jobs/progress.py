"""Progress: a bar in a terminal, and plain lines with images per second and time left in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY = 30.0


class ProgressReport:
    """Reports how far a loop over images has come, on standard error.

    Example:
        >>> with ProgressReport("maps cam", total=2) as progress:
        ...     progress.advance()
        ...     progress.advance()
    """

    def __init__(self, title: str, total: int) -> None:
        """Prepare a report.

        Args:
            title: What is done, such as stage and recipe.
            total: Number of images.
        """
        self._title, self._total, self._done = title, total, 0
        self._began = self._spoke = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressReport:
        """Show the bar if standard error is a terminal."""
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self._title, total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, images: int = 1) -> None:
        """Count images as done; in a log, print a line at most every 30 s.

        Args:
            images: How many.
        """
        self._done += images
        if self._bar is not None:
            self._bar.update(self._task, advance=images)
            return
        now = time.monotonic()
        if now - self._spoke >= _LINE_EVERY:
            self._spoke = now
            rate = self._done / (now - self._began)
            left = (self._total - self._done) / rate
            print(
                f"{self._title}: {self._done}/{self._total} images, {rate:.2f} images/s, "
                f"about {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def progress_callback(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes the images done and the images in all, and reports them.

    For a loop that stands elsewhere, and learns only there how many images it has.
    """
    with ExitStack() as stack:
        report: ProgressReport | None = None
        known = 0

        def progress(done: int, total: int) -> None:
            nonlocal report, known
            if report is None:
                report = stack.enter_context(ProgressReport(title, total))
            report.advance(done - known)
            known = done

        yield progress
