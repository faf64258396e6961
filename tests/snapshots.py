"""What lies in some places, to be compared before and after."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_READ = 10**7
"""Largest file that is compared by its bytes too; a sparse one may be of any size."""


def snapshot(*places: Path) -> dict[str, tuple[str, int, bytes | str]]:
    """Return every path of folders and files, with its kind, time and bytes, or a link's target."""
    paths = list(places)
    for place in places:
        for base, folders, files in os.walk(place) if not place.is_symlink() else ():
            paths += [Path(base, name) for name in (*folders, *files)]
    return {str(path): _state(path) for path in paths}


def _state(path: Path) -> tuple[str, int, bytes | str]:
    said = path.lstat()
    if stat.S_ISLNK(said.st_mode):
        return "link", said.st_mtime_ns, str(path.readlink())
    if stat.S_ISREG(said.st_mode):
        content = path.read_bytes() if said.st_size <= _READ else str(said.st_size)
        return "file", said.st_mtime_ns, content
    # A folder's own time changes with what ws3 removes from it.
    return "other", stat.S_IFMT(said.st_mode), b""
