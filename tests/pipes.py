"""The pipe of a process that was started with one."""

from __future__ import annotations

from typing import IO


def pipe(stream: IO[str] | None) -> IO[str]:
    """Return a process's pipe, which `Popen` declares as optional."""
    assert stream is not None
    return stream
