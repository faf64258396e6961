"""A finished run copied to another file system or an object store, where others can read it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ws3.errors import Ws3Error
from ws3.files import sha256
from ws3.messages import shortened
from ws3.removal import TEMPORARY
from ws3.run.contents import CRATE, MANIFEST, files_of
from ws3.run.folder import Run
from ws3.run.verify import check_run
from ws3.tools.crate import write_crate

_TOGETHER = 128
_WITH_FOLDERS = {"file", "local", "sftp", "ssh", "smb", "hdfs", "arrow_hdfs"}
"""Protocols of file systems, where a file that is being written can be seen half."""


@dataclass(frozen=True)
class Published:
    """What a publication did.

    Attributes:
        copied: Number of files that were copied.
        kept: Number of files that were there already, with the same bytes.
        bytes: Size of those copied.
    """

    copied: int
    kept: int
    bytes: int


def publish(
    run: Run,
    url: str,
    *,
    replace: bool = False,
    licence: str | None = None,
    reach: Callable[[int, int], None] = lambda done, total: None,
) -> Published:
    """Verify a finished run, describe its files, and copy them; nothing is ever removed there.

    What is there already with the same bytes is kept, so the same call goes on after an
    interruption. The manifest is copied last: where it is, all is.

    Args:
        run: A finished run; `ro-crate-metadata.json` and the manifest are written into its folder.
        url: Where to: a folder, or an address that fsspec knows, such as `s3://bucket/prefix`.
        replace: Whether files that are there with other bytes are overwritten.
        licence: Address of the licence of the results.
        reach: Is told how many files are done, and how many there are.

    Raises:
        StaleResultError: If the run isn't finished.
        Ws3Error: If a result is damaged, other files are there, a package is missing, or the
            target can't be reached.
    """
    with _told_in_a_sentence(url):
        target = _target(url)
    if target.local is not None and run.folder.resolve() in (
        target.local,
        *target.local.parents,
    ):
        raise Ws3Error(f"{url}: lies in the run's own folder; publish to another place")
    _, damages = check_run(run, repair=False)
    if damages:
        worst = damages[0]
        raise Ws3Error(
            f"{run.folder}: {worst.image}: {shortened(worst.reason)} ({len(damages)} damaged); "
            f"repair it first, with: ws3 verify {run.folder} --repair"
        )
    write_crate(run, licence)
    names = [path.relative_to(run.folder).as_posix() for path in files_of(run)]
    names += [CRATE, MANIFEST]
    with _told_in_a_sentence(url):
        new, other = target.compare(run.folder, names)
    if other and not replace:
        raise Ws3Error(
            f"{target.root}/{other[0]}: another file is there already ({len(other)} in all); "
            "publish to another place, or overwrite them with --replace"
        )
    wanted = {*new, *other}
    todo = [name for name in names if name in wanted]
    kept = len(names) - len(todo)
    done = 0
    # The manifest by itself, when all others are there.
    first = [name for name in todo if name != MANIFEST]
    parts = [first[start : start + _TOGETHER] for start in range(0, len(first), _TOGETHER)]
    for part in [*parts, [name for name in todo if name == MANIFEST]]:
        with _told_in_a_sentence(url):
            target.copy(run.folder, part)
        done += len(part)
        reach(kept + done, len(names))
    size = sum((run.folder / name).stat().st_size for name in todo)
    return Published(len(todo), kept, size)


@contextmanager
def _told_in_a_sentence(url: str) -> Iterator[None]:
    """Turn what a file system of another project raises into a sentence.

    Raises:
        Ws3Error: If the block raises anything.
    """
    try:
        yield
    except Ws3Error:
        raise
    except ImportError as error:
        raise Ws3Error(
            f"{url}: needs a package that isn't installed ({shortened(str(error))}); for S3: "
            "pip install 'ws3-seg[cloud]'"
        ) from error
    except Exception as error:
        told = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Ws3Error(f"{url}: can't be reached or written: {shortened(told)}") from error


@dataclass(frozen=True)
class _Target:
    """Where files go."""

    system: Any
    root: str
    has_folders: bool

    @property
    def local(self) -> Path | None:
        """The folder on this machine, if it is one."""
        is_local = "file" in _protocols(self.system)
        return Path(self.root).resolve() if is_local else None

    def compare(self, folder: Path, names: list[str]) -> tuple[list[str], list[str]]:
        """Return the files that are not there, and those of which others are there."""
        self.system.invalidate_cache()
        there = self.system.find(self.root, detail=True)
        infos = {path.removeprefix(f"{self.root}/"): info for path, info in there.items()}
        new = [name for name in names if name not in infos]
        other = [
            name
            for name in names
            if name in infos and not self._is_same(folder / name, name, infos[name])
        ]
        return new, other

    def _is_same(self, path: Path, name: str, info: Mapping[str, Any]) -> bool:
        if info.get("size") != path.stat().st_size:
            return False
        # An object store's tag is the MD5 of what was put in one piece, unless it is encrypted.
        tag = str(info.get("ETag", "")).strip('"')
        if re.fullmatch("[0-9a-f]{32}", tag):
            with path.open("rb") as file:
                if (
                    hashlib.file_digest(
                        file, lambda: hashlib.md5(usedforsecurity=False)
                    ).hexdigest()
                    == tag
                ):
                    return True
        with self.system.open(f"{self.root}/{name}", "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 22):
                digest.update(block)
        return digest.hexdigest() == sha256(path)

    def copy(self, folder: Path, names: list[str]) -> None:
        """Copy files; each is there as a whole or not at all."""
        sources = [os.fspath(folder / name) for name in names]
        targets = [f"{self.root}/{name}" for name in names]
        if not self.has_folders:
            self.system.put(sources, targets)
            return
        for source, path in zip(sources, targets, strict=True):
            parent, _, name = path.rpartition("/")
            self.system.makedirs(parent, exist_ok=True)
            # Always of this name, so that what an interruption left is overwritten.
            temporary = f"{parent}/{TEMPORARY}{name}"
            self.system.put_file(source, temporary)
            self.system.mv(temporary, path)


def _target(url: str) -> _Target:
    from fsspec.core import url_to_fs

    system, root = url_to_fs(url)
    root = root.rstrip("/")
    return _Target(system, root, bool(_WITH_FOLDERS & set(_protocols(system))))


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
