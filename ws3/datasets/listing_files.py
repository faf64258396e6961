"""A dataset's lists and folders, read with clear errors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ws3.errors import Ws3Error
from ws3.messages import reason
from ws3.outside import TEXT_BYTES, read_regular

MISSING = "missing"
"""Key of a file that isn't there."""


def stat_key(path: str | Path) -> str:
    """Return a file's size and modification time as `<bytes>-<nanoseconds>`, or `MISSING`."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every image; Path.stat takes 3 x as long
    except (OSError, ValueError):
        return MISSING
    return f"{status.st_size}-{status.st_mtime_ns}"


def row_stat_key(image: str, mask: str) -> str:
    """Return the key of an image file and, joined by ';', of its mask file if it has one.

    Example:
        >>> row_stat_key("nowhere.jpg", "nowhere.png")
        'missing;missing'
    """
    return f"{stat_key(image)};{stat_key(mask)}" if mask else stat_key(image)


def read_text(path: Path, expected: str) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Args:
        path: The file.
        expected: What should be in it, for the error message.

    Raises:
        Ws3Error: If the file is missing, no regular file, larger than `TEXT_BYTES`, unreadable or
            not UTF-8.
    """
    try:
        return read_regular(path, TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Ws3Error(f"{path}: not UTF-8 text; save it as UTF-8 ({expected})") from error
    except OSError as error:
        raise Ws3Error(f"{path}: {reason(error)}; expected here: {expected}") from error


def read_lines(path: Path, expected: str) -> list[str]:
    """Read the lines of a text file without blanks around them; empty lines are left out.

    Raises:
        Ws3Error: If the file is missing, unreadable or not UTF-8.
    """
    lines = (line.strip() for line in read_text(path, expected).splitlines())
    return [line for line in lines if line]


def names_in(folder: Path, expected: str) -> set[str]:
    """Return the names of all entries of a folder, by one scan.

    Raises:
        Ws3Error: If the folder is missing or unreadable.
    """
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (OSError, ValueError) as error:
        raise Ws3Error(f"{folder}: {reason(error)}; expected here: {expected}") from error


def files_below(folder: Path, expected: str, without: Iterable[Path] = ()) -> list[str]:
    """Return the names of all files below a folder, relative to it and with '/' between folders.

    Hidden folders are left out.

    Args:
        folder: The folder.
        expected: What should be in it, for the error message.
        without: Folders below it that are left out.

    Raises:
        Ws3Error: If the folder, or one in it, is missing or unreadable.
    """
    left_out = {str(path) for path in without}
    found: list[str] = []
    waiting = [("", str(folder))]
    links: set[str] = set()
    try:
        while waiting:
            prefix, path = waiting.pop()
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.is_dir():
                        found.append(f"{prefix}{entry.name}")
                    elif not entry.name.startswith(".") and entry.path not in left_out:
                        if entry.is_symlink():  # a link may lead back to where it lies
                            place = os.path.realpath(entry.path)
                            if place in links or place == os.path.realpath(folder):
                                continue
                            links.add(place)
                        waiting.append((f"{prefix}{entry.name}/", entry.path))
    except (OSError, ValueError) as error:
        raise Ws3Error(f"{folder}: {reason(error)}; expected here: {expected}") from error
    return found


def ordered(labels: Iterable[str], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return each label once, in class-list order; unknown ones come last, as they were found.

    Example:
        >>> ordered(["dog", "cat", "dog", "yeti"], ("cat", "dog"))
        ('cat', 'dog', 'yeti')
    """
    found = dict.fromkeys(labels)
    known = [name for name in classes if name in found]
    return (*known, *(label for label in found if label not in classes))
