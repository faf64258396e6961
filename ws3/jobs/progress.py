"""Progress: a bar in a terminal, and plain lines with images per second and time left in a log."""

from __future__ import annotations

import sys
import time

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

    def __init__(self, title: str, total: int = 0, unit: str = "images") -> None:
        """Prepare a report.

        Args:
            title: What is done, such as stage and recipe.
            total: Number of images; 0 if only the loop knows it, which then calls `reach`.
            unit: What is counted, if it isn't images.
        """
        self._unit = unit
        self._title, self._total, self._done = title, total, 0
        self._began = self._spoke = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressReport:
        """Show the bar if standard error is a terminal, and the number of images is known."""
        if self._total:
            self.reach(0, self._total)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, images: int = 1) -> None:
        """Count images as done; see `reach`.

        Args:
            images: How many.
        """
        self.reach(self._done + images, self._total)

    def reach(self, done: int, total: int) -> None:
        """Report how many images are done; in a log, print a line at most every 30 s.

        Args:
            done: How many.
            total: Number of images.
        """
        self._done, self._total = done, total
        if self._bar is None and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self._title, total=total)
            self._bar.start()
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif done and now - self._spoke >= _LINE_EVERY:
            self._spoke = now
            rate = done / (now - self._began)
            print(
                f"{self._title}: {done}/{total} {self._unit}, {rate:.2f} {self._unit}/s, "
                f"about {(total - done) / rate:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
