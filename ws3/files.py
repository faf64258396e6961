"""Writes that are there whole or not at all."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ws3.errors import Ws3Error
from ws3.outside import TENSORS_BYTES, open_regular

TEMPORARY = ".tmp-"
"""Prefix of what is not committed yet, and of what was replaced and is about to be removed."""


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
        temporary.replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and rename it into place if the block succeeds.

    A folder that is there already is replaced. Between the two renames that this takes neither
    exists: a reader then finds the result missing, never half of it.

    Raises:
        NoSpaceError: If the disk is full.
    """
    with _temporary(path) as temporary:
        yield temporary
        _replace_folder(temporary, path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield an unused path beside `path`; what is there at the end of the block is removed."""
    temporary = temporary_beside(path)
    with no_space_is_an_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            remove(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, even after a crash.

    Raises:
        Ws3Error: If it can't be written.
    """
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise Ws3Error(f"{path}: can't be written: {error.strerror or error}") from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal data makes equal bytes."""
    write_bytes(path, (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


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


def temporary_beside(path: Path) -> Path:
    """Return an unused temporary name in the folder of `path`."""
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what killed writers of these files and folders left beside them.

    Only for what nobody else is writing; each folder that holds some of them is listed once.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, wanted in names.items():
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(TEMPORARY) and _written(entry.name) in wanted:
                    remove(Path(entry))


def _written(temporary: str) -> str:
    """Return the name that a temporary one stands for; see `temporary_beside`."""
    return temporary.removeprefix(TEMPORARY).rsplit("-", 2)[0]


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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


def _replace_folder(new: Path, path: Path) -> None:
    while True:
        try:
            new.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        old = temporary_beside(path)
        # If it is gone, another writer is replacing it at this moment, by an equal one.
        with suppress(FileNotFoundError):
            path.rename(old)
            shutil.rmtree(old, ignore_errors=True)


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
