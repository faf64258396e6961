"""A lease on a batch or a training: only one job works on it at a time.

A restarted Snakemake may submit a batch whose first job is still running somewhere. The second job
waits for the first; when the first is gone, it takes over.

PyPI's flufl.lock (10.0) also locks by `link(2)`, but has no heartbeat, waits for a dead owner on
the same host until the lock expires, waits forever for a damaged lock file, and may remove the lock
of a process that was quicker to break a stale one.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ws3.files import no_space_is_an_error
from ws3.outside import TEXT_BYTES, read_regular
from ws3.removal import remove_file, remove_temporary, take_away, temporary_beside

HEARTBEAT = 15.0
"""Seconds between two heartbeats of a lease's owner."""

STALE = 120.0
"""Seconds without a heartbeat after which the owner counts as dead."""

_log = logging.getLogger(__name__)


class Lease:
    """A lock file with an owner and a heartbeat; works on network file systems.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "train-00000.lease")
        >>> with Lease(path):
        ...     path.exists()  # no other process that takes this lease gets here meanwhile
        True
        >>> path.exists()
        False
    """

    def __init__(
        self,
        path: Path,
        *,
        heartbeat: float = HEARTBEAT,
        stale: float = STALE,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a lease.

        Args:
            path: The lock file. Its folder is made if it is missing.
            heartbeat: Seconds between two heartbeats, which set the file's modification time.
            stale: Seconds without a heartbeat after which an owner counts as dead.
            give_up: Called about once per second while waiting; it raises an error to stop waiting.
        """
        self._path, self._heartbeat, self._stale = path, heartbeat, stale
        self._give_up = give_up
        self._owner = {
            "host": socket.gethostname(),
            "processes": _process_table(),
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "token": secrets.token_hex(8),
        }
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # A modification time ahead of this host's clock, and when it was first seen.
        self._ahead: tuple[float, float] | None = None

    def __enter__(self) -> Lease:
        """Take the lease; wait while a living owner holds it.

        Raises:
            NoSpaceError: If the disk is full.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        announced = False
        while not self._take():
            owner = self._read_owner()
            if self._is_dead(owner):
                self._break(owner)
                continue
            if not announced:
                _log.warning(
                    "waiting: process %s on %s works on this (%s)",
                    owner.get("pid", "?"),
                    owner.get("host", "?"),
                    self._path,
                )
                announced = True
            self._give_up()
            time.sleep(min(1.0, self._heartbeat))
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Give the lease back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._read_owner().get("token") == self._owner["token"]:
            remove_file(self._path)

    def _take(self) -> bool:
        # A link is atomic on every file system that clusters use, and the file that it makes
        # is never seen empty.
        ours = temporary_beside(self._path)
        try:
            with no_space_is_an_error(self._path):
                ours.write_text(json.dumps(self._owner), encoding="utf-8")
            os.link(ours, self._path)
        except FileExistsError:
            return False
        finally:
            remove_temporary(ours)
        return True

    def _read_owner(self, path: Path | None = None) -> dict[str, Any]:
        try:
            owner = json.loads(read_regular(path or self._path, TEXT_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        return owner if isinstance(owner, dict) else {}

    def _is_dead(self, owner: dict[str, Any]) -> bool:
        try:
            heartbeat = self._path.stat().st_mtime
        except FileNotFoundError:
            return True  # given back meanwhile
        if self._silence(heartbeat) > self._stale:
            return True
        if owner.get("processes") != self._owner["processes"]:
            return False
        pid = owner.get("pid")
        return isinstance(pid, int) and not _alive(pid)

    def _silence(self, heartbeat: float) -> float:
        """Return the seconds since a heartbeat; one in the future is as old as we have known it."""
        silence = time.time() - heartbeat
        if silence >= 0:
            return silence
        if self._ahead is None or self._ahead[0] != heartbeat:
            if self._ahead is None and -silence > self._heartbeat:
                _log.warning(
                    "%s is dated %.0f s in the future; the clocks of the hosts differ",
                    self._path,
                    -silence,
                )
            self._ahead = heartbeat, time.monotonic()
        return time.monotonic() - self._ahead[1]

    def _break(self, dead: dict[str, Any]) -> None:
        # Of several that find the owner dead, the rename lets one remove the file.
        try:
            grave = take_away(self._path)
        except FileNotFoundError:
            return
        if self._read_owner(grave).get("token") != dead.get("token"):
            # Another was quicker, and this is already its lease: put it back.
            with suppress(FileExistsError):
                os.link(grave, self._path)
        remove_temporary(grave)

    def _beat(self) -> None:
        ours = self._owner["token"]
        while not self._stop.wait(self._heartbeat):
            try:
                if self._read_owner().get("token", ours) == ours:
                    os.utime(self._path)
                    continue
            except FileNotFoundError:
                pass
            except OSError:
                continue  # a network file system may be away for a moment
            _log.warning("the lease %s is lost; another job may have taken over", self._path)
            return


def _process_table() -> str:
    """Return a name of the process table that this process sees.

    It differs between containers of one host, and between two boots.
    """
    names = [socket.gethostname()]
    with suppress(OSError):
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        names.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(names)


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
