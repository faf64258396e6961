"""Where a job's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Phase = Literal["start", "load", "compute", "write"]
PHASES: tuple[Phase, ...] = ("start", "load", "compute", "write")
_BEGAN = time.monotonic()


class PhaseTimer:
    """Seconds by phase: start (of the program), load, compute, write."""

    def __init__(self, start: float = 0.0) -> None:
        """Begin with the seconds that the program took to start, for its first batch."""
        self.seconds: dict[Phase, float] = {**dict.fromkeys(PHASES, 0.0), "start": start}
        self._told = dict.fromkeys(PHASES, 0.0)
        self._inside = 0.0

    def lap(self) -> dict[str, float]:
        """Return the seconds by phase since the last call; at first, all of them."""
        spent = {str(phase): self.seconds[phase] - self._told[phase] for phase in PHASES}
        self._told = dict(self.seconds)
        return spent

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Add the block's seconds to a phase, without those of phases inside it."""
        began, inside = time.monotonic(), self._inside
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.seconds[name] += spent - (self._inside - inside)
            self._inside = inside + spent


def since_start() -> float:
    """Return the seconds since the program began."""
    return time.monotonic() - _BEGAN
