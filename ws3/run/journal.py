"""The journal of a stage: a line for each image that was computed or failed, ever.

It is only appended to, and says what was done, not what is there: results are judged by themselves.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from ws3.files import no_space_is_an_error
from ws3.outside import TEXT_BYTES, open_regular
from ws3.run.folder import Run

_MOST_SECONDS = 1e12
Event = Literal["computed", "failed"]


@dataclass(frozen=True)
class Entry:
    """One image's work.

    Attributes:
        recipe: Name of the recipe.
        image: The image's id.
        event: What became of it.
        fingerprint: What the result was, or was to be, made from.
        seconds: Time by phase; the first image of a process also bears the process's start.
        samples: Number of samples that were computed.
        bytes: Size of the result in memory.
        time: When it was noted, in seconds since 1970; `note` sets it.
    """

    recipe: str
    image: str
    event: Event
    fingerprint: str
    seconds: Mapping[str, float]
    samples: int = 0
    bytes: int = 0
    time: float = field(default=0.0, compare=False)


def note(run: Run, stage: str, entry: Entry) -> None:
    """Append an entry.

    Raises:
        NoSpaceError: If the disk is full.
    """
    seconds = {phase: round(spent, 3) for phase, spent in entry.seconds.items()}
    now = {"time": round(time.time(), 3), "pid": os.getpid()}
    append(run, stage, {**vars(entry), "seconds": seconds, **now})


def append(run: Run, stage: str, line: Mapping[str, Any]) -> None:
    """Append a line, which `json.dumps` accepts, to the journal of a stage or another command.

    Raises:
        NoSpaceError: If the disk is full.
    """
    path = run.journal_file(stage)
    # One write of one short line: jobs that append at once don't mix their lines.
    with no_space_is_an_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", opener=_no_other_file) as file:
            file.write(json.dumps(line) + "\n")


def _no_other_file(path: str, flags: int) -> int:
    """Open a file, but follow no link to another one, and wait for no reader of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def entries(run: Run, stage: str) -> Iterator[Entry]:
    """Yield what is noted of a stage; a line that is damaged, or was cut off, is left out.

    Raises:
        OSError: If the file is no regular one, or can't be read.
    """
    for line in lines(run, stage):
        entry = _entry(line)
        if entry is not None:
            yield entry


def lines(run: Run, stage: str) -> Iterator[bytes]:
    """Yield the lines of a journal as they are; the last may be cut off.

    Raises:
        OSError: If the file is no regular one, or can't be read.
    """
    with suppress(FileNotFoundError), open_regular(run.journal_file(stage), TEXT_BYTES) as file:
        yield from file


def _entry(line: bytes) -> Entry | None:
    """Return what a line notes; None if it is none of ws3's, or only a part of one."""
    try:
        found = json.loads(line.decode("utf-8", "replace"))
        found.setdefault("time", 0.0)
        entry = Entry(*(found[name] for name in Entry.__annotations__))
        words = (entry.recipe, entry.image, entry.event, entry.fingerprint)
        are_counts = all(
            type(count) is int and 0 <= count < 2**63 for count in (entry.samples, entry.bytes)
        )
        are_times = all(
            type(value) in (int, float) and 0 <= value < _MOST_SECONDS
            for value in (*entry.seconds.values(), entry.time)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    are_words = all(isinstance(word, str) for word in words)
    return entry if are_words and are_counts and are_times else None
