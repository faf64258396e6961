"""Writes that are there whole or not at all."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ws3.errors import Ws3Error
from ws3.outside import TENSORS_BYTES, open_regular
from ws3.removal import Own, is_there, put_file, put_folder, remove_temporary, temporary_beside


class NoSpaceError(Ws3Error):
    """The disk is full or a quota is reached; nothing more can be written."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it into place if the block succeeds.

    Raises:
        NoSpaceError: If the disk is full.
    """
    with _temporary(path) as temporary:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        put_file(temporary, path)


@contextmanager
def atomic_folder(path: Path, own: Own | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and rename it into place if the block succeeds.

    Args:
        path: The folder to make.
        own: Which files ws3 writes in such a folder: one that is there already and holds nothing
            else is replaced, any other is set aside (`ws3.removal.clear`). Between the two renames
            that this takes neither exists: a reader then finds the result missing, never half of
            it. None replaces nothing but an empty folder.

    Raises:
        NoSpaceError: If the disk is full.
        Ws3Error: If something is there that may not be replaced.
    """
    with _temporary(path) as temporary:
        yield temporary
        put_folder(temporary, path, own)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield an unused path beside `path`; what is there at the end of the block is removed."""
    temporary = temporary_beside(path)
    with no_space_is_an_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            remove_temporary(temporary)


@contextmanager
def _says_why(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Ws3Error(f"{path}: can't be written: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, even after a crash.

    Raises:
        Ws3Error: If it can't be written.
    """
    with _says_why(path), atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_new(path: Path, data: bytes) -> None:
    """Write a file, unless it is there already, with these bytes.

    Raises:
        Ws3Error: If another file is there, or it can't be written.
    """
    try:
        there = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise Ws3Error(f"{path}: can't be read: {error.strerror}") from error
    if there is None and not is_there(path):
        write_bytes(path, data)
    elif there != data:
        raise Ws3Error(f"{path}: something else is there already; move it away and run this again")


def write_first(path: Path, data: bytes) -> None:
    """Write a file unless any is there: of several writers at once, on any hosts, one wins.

    Raises:
        Ws3Error: If it can't be written.
    """
    with _says_why(path), _temporary(path) as temporary:
        temporary.write_bytes(data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # no links here: two hosts at the same instant are not told apart
            if not is_there(path):
                put_file(temporary, path)


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal data makes equal bytes."""
    write_bytes(path, json_bytes(data))


def json_bytes(data: Any) -> bytes:
    """Return data as JSON, with sorted keys, so that equal data makes equal bytes."""
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


@contextmanager
def csv_file(path: Path) -> Iterator[Callable[[Iterable[object]], object]]:
    """Yield what writes a row of a table that may be long; the file is there when the block ends.

    Raises:
        NoSpaceError: If the disk is full.
    """
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        yield csv.writer(file, lineterminator="\n").writerow
        file.flush()


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table atomically; undefined values are empty, and other keys left out.

    Raises:
        Ws3Error: If it can't be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


@contextmanager
def no_space_is_an_error(path: Path) -> Iterator[None]:
    """Turn the system's 'no space' into a sentence, and have every other error name the file.

    Raises:
        NoSpaceError: If the block runs out of space or quota.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"{path}: there is no space left on the device; free some and run the same "
                "command again, which continues where this one stopped."
            ) from None
        if error.filename is None:  # a write past a limit (`ulimit -f`) names no file
            error.filename = str(path)
        raise


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or an empty string if it isn't there."""
    with suppress(FileNotFoundError):
        return sha256(path)
    return ""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: If it can't be read, is no regular file, or is too large; see `ws3.outside`.
    """
    with open_regular(path, TENSORS_BYTES) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
