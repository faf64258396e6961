"""A stage's batches, divided among several processes of one thread each."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

from ws3.config.run import Stage
from ws3.errors import Ws3Error
from ws3.jobs.runner import TerminatedError
from ws3.run.folder import Run

COMMANDS: Mapping[Stage, str] = {
    "saliency": "saliency",
    "maps": "maps",
    "masks": "masks",
    "predictions": "predictions",
}
"""The command of each per-image stage."""


def run_in_processes(
    run: Run, stage: Stage, recipe: str, batches: Sequence[str], processes: int
) -> None:
    """Do a stage's work on some batches, each process on its share of them.

    Each is the stage's own command, so results, receipts and leases are those of a single
    process, byte for byte. What they say comes through this process.

    Args:
        run: The run.
        stage: A per-image stage.
        recipe: Of this recipe.
        batches: Names of the stage's batches.
        processes: How many processes, at most one a batch.

    Raises:
        Ws3Error: If the run has no such recipe, or a process failed, after all others are done.
        TerminatedError: On SIGTERM, after each process has finished its image in flight.
    """
    run.check_segmentation_name(recipe)
    shares = [batches[first::processes] for first in range(min(processes, len(batches)))]
    children: list[subprocess.Popen[bytes]] = []
    terminated = False

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        for child in children:
            child.terminate()

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        command = [sys.executable, "-m", "ws3", COMMANDS[stage], str(run.folder)]
        for share in shares:
            named = [f"--batch={name}" for name in share]
            children.append(
                subprocess.Popen([*command, f"--recipe={recipe}", *named], stderr=subprocess.PIPE)
            )
        relays = [
            threading.Thread(target=_relay, args=(child.stderr,), daemon=True) for child in children
        ]
        for relay in relays:
            relay.start()
        failed = sum(child.wait() != 0 for child in children)
        for relay in relays:
            relay.join()
    finally:
        signal.signal(signal.SIGTERM, before)
        for child in children:
            if child.poll() is None:
                child.terminate()
    if terminated:
        raise TerminatedError("asked to stop (SIGTERM); the same command continues from here")
    if failed:
        raise Ws3Error(
            f"{stage} {recipe}: {failed} of {len(children)} processes failed, for the reasons above"
        )


def _relay(lines: IO[bytes]) -> None:
    """Pass on whole lines: a progress bar of each process would overwrite the others'."""
    for line in lines:
        sys.stderr.write(line.decode(errors="replace"))
        sys.stderr.flush()
