"""Unpacks archives: regular files alone, nothing outside the folder, nothing replaced."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ws3.errors import Ws3Error
from ws3.files import no_space_is_an_error
from ws3.jobs.progress import ProgressReport
from ws3.messages import reason, shown
from ws3.removal import is_there, link_below, put_file, remove_temporary, temporary_beside

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)
_MB = 10**6


def unpack(archive: Path, folder: Path, keep: tuple[str, ...] = ("",)) -> int:
    """Unpack a tar (of any compression) or zip file.

    Each file is there whole or not at all, and one that is there with its size is left as it is,
    so that what was interrupted goes on.

    Args:
        archive: The archive.
        folder: Where to; made if it isn't there.
        keep: Only files whose path in the archive begins with one of these.

    Returns:
        How many of its files are there now.

    Raises:
        Ws3Error: If the archive is damaged; holds a path that leads out of the folder, a link or a
            device; or another file is in the place of one of its own.
        NoSpaceError: If the disk is full.
    """
    count = 0
    size = archive.stat().st_size // _MB
    try:
        with ProgressReport(f"unpack {archive.name}", unit="MB") as progress:
            for name, length, content, at in _members(archive):
                progress.reach(min(at // _MB, size), size)
                if not name.startswith(keep):
                    continue
                target = _target(archive, folder, name)
                if content is None:
                    raise Ws3Error(
                        f"{archive}: holds {shown(name)}, a link or device; nothing of the kind is "
                        "unpacked"
                    )
                with content:
                    _write(content, target, length)
                count += 1
    except _DAMAGE as error:
        raise Ws3Error(f"{archive}: damaged ({reason(error)}); remove it, and run again") from error
    return count


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None, int]]:
    """Yield name, size, content and place of all members but folders; no content: not a file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not entry.is_dir():
                    kind = stat.S_IFMT(entry.external_attr >> 16)
                    regular = kind in (0, stat.S_IFREG)
                    content = opened.open(entry) if regular else None
                    yield entry.filename, entry.file_size, content, entry.header_offset
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if not member.isdir():
                    content = tar.extractfile(member) if member.isreg() else None
                    yield member.name.removeprefix("./"), member.size, content, member.offset


def _target(archive: Path, folder: Path, name: str) -> Path:
    """Return where a member goes.

    Raises:
        Ws3Error: If that is outside the folder, or behind a link.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or "\\" in name:
        raise Ws3Error(f"{archive}: holds {shown(name)}, a path that leads out of the folder")
    target = folder.joinpath(*path.parts)
    link = link_below(folder, target)
    if link is not None:
        raise Ws3Error(f"{link}: is a link, behind which nothing is unpacked; move it away")
    return target


def _write(content: IO[bytes], target: Path, length: int) -> None:
    if is_there(target):
        if target.is_file() and target.stat().st_size == length:
            return
        raise Ws3Error(f"{target}: something else is there already; move it away and run again")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    with no_space_is_an_error(target):
        try:
            # Not synchronised one by one, which would take longer than all the rest.
            with temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
            if temporary.stat().st_size != length:
                raise EOFError(f"{os.fspath(target)} ends early")
            put_file(temporary, target)
        finally:
            remove_temporary(temporary)
