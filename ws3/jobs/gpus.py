"""Chooses the GPU of a job that sees several.

Most schedulers show each job its own GPU. Without a scheduler, and under a Grid Engine that only
counts GPUs, every job sees all of them and would take the first.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Literal

import torch

from ws3.torch_setup import device

LOCKS = Path("/tmp")  # noqa: S108
"""Where the locks lie. Not in TMPDIR: many schedulers give each job a folder of its own there."""

_log = logging.getLogger(__name__)
_claimed: list[IO[bytes]] = []  # open as long as the process lives, which keeps their locks


def own_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device of that name for a job that uses one GPU.

    Of several GPUs it is one that no other process of this user has claimed in this way.

    Args:
        name: `auto` is a GPU if torch finds one, otherwise the CPU.

    Example:
        >>> own_device("cpu")
        device(type='cpu')

    Raises:
        Ws3Error: If `cuda` is asked for and torch finds no GPU.
    """
    found = device(name)
    count = torch.cuda.device_count() if found.type == "cuda" else 0
    if count < 2:
        return found
    # Two processes can see the same GPU under different numbers.
    gpus = tuple(str(torch.cuda.get_device_properties(gpu).uuid) for gpu in range(count))
    return torch.device("cuda", claim(gpus))


@cache
def claim(gpus: Sequence[str]) -> int:
    """Claim one of several GPUs until this process ends, however it ends.

    A process that calls it again gets the same GPU.

    Args:
        gpus: A name for each, the same in all processes, such as its UUID.

    Returns:
        The position of the first GPU that no other process of this user on this host has claimed.
        If all are claimed, or locks can't be written, any of them, with a warning.
    """
    folder = LOCKS / f"ws3-gpus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for number, gpu in enumerate(gpus):
            lock = (folder / gpu).open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            _claimed.append(lock)
            return number
    except OSError as error:
        _log.warning("can't tell which GPUs are in use: %s", error)
    shared = os.getpid() % len(gpus)
    _log.warning("all %d GPUs are in use; this process shares GPU %d", len(gpus), shared)
    return shared
