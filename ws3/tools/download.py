"""Downloads of large files: resumed, checked, and there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ws3.errors import Ws3Error
from ws3.files import no_space_is_an_error
from ws3.jobs.progress import ProgressReport
from ws3.messages import reason
from ws3.removal import is_there, put_file, remove_file

PART = ".part"
"""Suffix of what is downloaded so far."""
ATTEMPTS = 6
"""Connections in a row that may bring nothing."""

_BLOCK = 2**20
_MB = 10**6
_TIMEOUT = 60.0  # seconds of silence
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, ssl.SSLError)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def download(url: str, path: Path, checksum: str, pause: float = 2.0) -> None:
    """Download a file, unless it is there already.

    What has come lies in `<path>.part`, and the next call asks for the rest. A connection that
    breaks off is opened again; a server that sends the whole file in place of the rest is listened
    to from the start.

    Args:
        url: An http or https address.
        path: The file; a file that is there is checked, and never replaced.
        checksum: `md5:` or `sha256:` and the digest in hexadecimal.
        pause: Seconds before the second attempt; each further one waits twice as long.

    Raises:
        Ws3Error: If the server refuses or is silent, the bytes are others than the checksum says,
            the disk has too little room, or another process is downloading the same file.

    Example:
        >>> download("ftp://example.org/a.tar", Path("a.tar"), "md5:0")
        Traceback (most recent call last):
        ws3.errors.Ws3Error: ftp://example.org/a.tar: only http and https addresses are opened
    """
    if not url.startswith(("http://", "https://")):
        raise Ws3Error(f"{url}: only http and https addresses are opened")
    if is_there(path):
        _check(path, checksum, "this file is there already; remove it to download it again")
        return
    part = path.with_name(path.name + PART)
    path.parent.mkdir(parents=True, exist_ok=True)
    with no_space_is_an_error(part), _locked(part) as file:
        _receive_all(url, file, part, pause)
        try:
            _check(part, checksum, f"{url} sent other bytes; run this again, or try a --mirror")
        except Ws3Error:
            remove_file(part)
            raise
        put_file(part, path)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Ws3Error(f"{part}: another process is downloading this file") from None
        try:
            yield file
        finally:
            if is_there(part) and not _size(file):
                remove_file(part)


def _receive_all(url: str, file: BinaryIO, part: Path, pause: float) -> None:
    """Append to a file until it is whole."""
    idle, last, most = 0, "", _size(file)
    with ProgressReport(f"download {part.name.removesuffix(PART)}", unit="MB") as progress:
        while idle < ATTEMPTS:
            if idle:
                time.sleep(pause * 2 ** (idle - 1))
            try:
                if _receive(url, file, part, progress):
                    return
                last = "the connection broke off"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                    raise Ws3Error(f"{url}: the server says {error.code} {error.reason}") from None
                last = f"the server says {error.code} {error.reason}"
            except _BROKEN as error:
                last = reason(getattr(error, "reason", None) or error)
            except TimeoutError:
                last = f"nothing came for {_TIMEOUT:.0f} s"
            # Of a server that begins again each time, only what passes the longest yet is progress.
            idle = 0 if _size(file) > most else idle + 1
            most = max(most, _size(file))
    raise Ws3Error(
        f"{url}: {last}, {ATTEMPTS} times in a row; {_size(file) // _MB} MB are kept, and the same "
        "command goes on from there"
    )


def _receive(url: str, file: BinaryIO, part: Path, progress: ProgressReport) -> bool:
    """Ask once for what is missing; return whether the file is whole now."""
    start = _size(file)
    headers = {"User-Agent": "ws3", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http alone, see download
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # There is nothing behind what is there: it is whole, or not of this file.
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
            return True
        file.truncate(0)
        return False
    with response:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if (
            response.status != http.HTTPStatus.PARTIAL_CONTENT
            or not found
            or int(found[1]) != start
        ):
            # It sends the file from its first byte on, whatever was asked for.
            file.truncate(0)
            start = 0
            if response.status == http.HTTPStatus.PARTIAL_CONTENT:
                return False
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        if total is not None:
            check_room(part.parent, total - start)
        while block := response.read(_BLOCK):
            file.write(block)
            if total is not None:
                progress.reach((_size(file)) // _MB, total // _MB)
        return total is None or _size(file) == total


def _size(file: BinaryIO) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def check_room(folder: Path, needed: float) -> None:
    """Refuse to begin what won't fit.

    Args:
        folder: Where to write; it, or a folder above it, is there.
        needed: How many bytes.

    Raises:
        Ws3Error: If the disk has fewer.
    """
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise Ws3Error(
            f"{folder}: {needed / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB are free there"
        )


def _check(path: Path, checksum: str, advice: str) -> None:
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    if found.hexdigest() != wanted:
        raise Ws3Error(f"{path}: its {kind} is {found.hexdigest()}, not {wanted}: {advice}")
