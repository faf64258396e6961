"""Files from outside: nothing is opened that could make ws3 wait for ever or fill its memory."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_MB = 10**6
PICTURE_BYTES = 1000 * _MB
"""Largest photograph or mask that is read."""
TEXT_BYTES = 1000 * _MB
"""Largest table, list or class file that is read."""
ANNOTATION_BYTES = 16 * _MB
"""Largest annotation of a single image that is read."""
CONFIG_BYTES = 16 * _MB
"""Largest configuration that is read."""
JSON_BYTES = 16_000 * _MB
"""Largest COCO file that is read, as a stream."""
TENSORS_BYTES = 16_000 * _MB
"""Largest checkpoint that is read."""
_PIECE = _MB

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(OSError):
    """What is there is no regular file, or too large a one."""


def check_regular(path: str | Path, limit: int) -> None:
    """Look, without opening it, whether a file can be read whole.

    Args:
        path: The file; links are followed.
        limit: Most bytes that it may have.

    Raises:
        NotRegularError: If it is no regular file, or larger; `strerror` says which.
        OSError: If it is missing, or can't be looked at.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every image; Path.stat takes 3 x as long
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None
    _check(found, path, limit)


def open_regular(path: str | Path, limit: int) -> BufferedReader:
    """Open a file for reading if it is a regular one of a bounded size.

    Raises:
        OSError: See `check_regular`.
    """
    check_regular(path, limit)
    # What was looked at may be another file by now: then opening a named pipe must not wait.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(number), path, limit)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_regular(path: str | Path, limit: int) -> bytes:
    """Read a whole file if it is a regular one of a bounded size.

    Raises:
        OSError: See `check_regular`.
    """
    pieces: list[bytes] = []
    with open_regular(path, limit) as file:
        # Of some files, such as those of /proc, the size isn't told; and a single read would
        # ask for memory up to the limit.
        while piece := file.read(_PIECE):
            pieces.append(piece)
            if sum(map(len, pieces)) > limit:
                raise _too_large(path, limit)
    return b"".join(pieces)


def _check(found: os.stat_result, path: str | Path, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "no file")
        raise NotRegularError(errno.EINVAL, f"this is {kind}, not a regular file", str(path))
    if found.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: str | Path, limit: int) -> NotRegularError:
    text = f"larger than {limit // _MB} MB, the most that is read"
    return NotRegularError(errno.EFBIG, text, str(path))
