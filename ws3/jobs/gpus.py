"""Which GPU a job computes on where it sees several.

A cluster's scheduler shows each job its own GPU. On a machine without one, every job sees all of
them, and all jobs would crowd on the first.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Literal

import torch

from ws3.torch_setup import device

_log = logging.getLogger(__name__)
_claimed: list[IO[bytes]] = []  # open as long as the process lives, and so are their locks


def own_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device of that name for a job that uses one GPU.

    Of several GPUs it is one that no other process of this user has claimed in this way.

    Raises:
        Ws3Error: If `cuda` is asked for and torch finds no GPU.
    """
    place = device(name)
    if place.type == "cpu" or torch.cuda.device_count() < 2:
        return place
    # Two processes can see the same GPU under different numbers.
    gpus = tuple(
        str(torch.cuda.get_device_properties(number).uuid)
        for number in range(torch.cuda.device_count())
    )
    return torch.device("cuda", claim(gpus))


@cache
def claim(gpus: Sequence[str]) -> int:
    """Claim one of several GPUs until this process ends, however it ends.

    Args:
        gpus: A name for each, the same in all processes.

    Returns:
        The position of the first that no other process has claimed. If all are, one of them.
    """
    folder = Path(tempfile.gettempdir()) / f"ws3-gpus-{os.getuid()}"
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
