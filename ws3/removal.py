"""The one place where ws3 removes, replaces or moves what lies on the disk.

What goes must be provably ws3's own: by its name, which an index, a receipt, the configuration or
ws3's form of temporary names gives, and, for a folder, by the name of every file in it. No symbolic
link is followed; a link in the place of a result goes itself, and what it leads to stays. Anything
else that stands where a result belongs is set aside under another name, with every byte.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ws3.errors import Ws3Error

TEMPORARY = ".tmp-"
"""Prefix of what is not committed yet, and of what was replaced and is about to be removed."""

SET_ASIDE = ".not-ws3"
"""Suffix of what stood in the place of a result and is not ws3's own."""

Own = Callable[[str], bool]
"""Whether ws3 writes a file of this path, relative to the folder that holds a result."""

_TEMPORARY_NAME = re.compile(re.escape(TEMPORARY) + r"(.+)-\d+-[0-9a-f]{8}")
_log = logging.getLogger(__name__)


def temporary_beside(path: Path) -> Path:
    """Return an unused temporary name in the folder of `path`."""
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{secrets.token_hex(4)}")


def temporary_for(name: str) -> str | None:
    """Return the name that a temporary one stands for, or None if it is not of that form.

    Example:
        >>> temporary_for(".tmp-train_0001-4711-0123abcd")
        'train_0001'
    """
    found = _TEMPORARY_NAME.fullmatch(name)
    return None if found is None else found[1]


def is_there(path: Path) -> bool:
    """Return whether there is anything of this name, be it a link that leads nowhere."""
    return os.path.lexists(path)


def link_below(base: Path, path: Path) -> Path | None:
    """Return the first symbolic link on the way from a folder down to `path`, itself included."""
    here = base
    for part in path.relative_to(base).parts:
        here = here / part
        if here.is_symlink():
            return here
    return None


def foreign_files(folder: Path, own: Own) -> Iterator[Path]:
    """Yield what lies in a result's folder and ws3 never writes there; links are not followed."""
    for base, folders, files in os.walk(folder):
        links = [name for name in folders if Path(base, name).is_symlink()]
        for name in (*files, *links):
            path = Path(base, name)
            if not own(path.relative_to(folder).as_posix()):
                yield path


def remove_file(path: Path) -> None:
    """Remove a file of ws3's, if it is there; of a link, the link itself."""
    path.unlink(missing_ok=True)


def remove_temporary(path: Path) -> None:
    """Remove a file or folder whose name `temporary_beside` made, if it is there.

    Raises:
        ValueError: If it has another name.
    """
    if temporary_for(path.name) is None:
        raise ValueError(f"{path}: not a temporary name")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what killed writers of these files and folders left beside them.

    Only for what nobody else is writing; each folder that holds some of them is listed once.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, wanted in names.items():
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                if temporary_for(entry.name) in wanted:
                    remove_temporary(Path(entry))


def clear(path: Path, own: Own) -> None:
    """Make the place of a result free: remove a folder that is ws3's own, set aside what is not.

    Args:
        path: Where a result belongs, by an index or a receipt.
        own: Which files ws3 writes in such a folder. One other file in it, and all of it is kept.

    Raises:
        OSError: If something can't be moved.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        path.unlink(missing_ok=True)
    elif not stat.S_ISDIR(mode) or any(foreign_files(path, own)):
        set_aside(path)
    else:
        # Of several that replace one result, the rename lets one remove the old.
        old = temporary_beside(path)
        with suppress(FileNotFoundError):
            path.rename(old)
            shutil.rmtree(old, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Move what is not ws3's out of the way of a result, if it is there, to a name beside it."""
    aside, number = path.with_name(f"{path.name}{SET_ASIDE}"), 1
    while is_there(aside):
        number += 1
        aside = path.with_name(f"{path.name}{SET_ASIDE}-{number}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        _log.warning("%s: not of ws3; it is kept as %s", path, aside.name)


def take_away(path: Path) -> Path:
    """Give a file of ws3's a temporary name, and return it; of several that do so, one succeeds.

    Raises:
        FileNotFoundError: If it isn't there any more.
    """
    taken = temporary_beside(path)
    path.rename(taken)
    return taken


def put_file(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, in place of any file of that name."""
    temporary.replace(path)


def put_folder(temporary: Path, path: Path, own: Own | None) -> None:
    """Give a finished temporary folder its name.

    Args:
        temporary: The finished folder.
        path: Its name.
        own: What ws3 writes in a folder that is there already, which is replaced; see `clear`.
            None replaces nothing but an empty folder.

    Raises:
        Ws3Error: If something is there that may not be replaced.
    """
    while True:
        try:
            temporary.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if own is None:
            raise Ws3Error(f"{path}: something is there already; choose a folder that is empty")
        clear(path, own)
