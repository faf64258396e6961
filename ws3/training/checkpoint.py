"""The checkpoint from which an interrupted training resumes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from ws3.tensors import read_tensors, write_tensors

CHECKPOINT = "last.ckpt"

log = logging.getLogger(__name__)


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, but replaced in one step and read without unpickling code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint atomically."""
        write_tensors(Path(path), checkpoint)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU; see `read_checkpoint`."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training's checkpoint onto the CPU; nothing in it is executed.

    Raises:
        Ws3Error: If it is missing or damaged; the sentence says to delete it.
    """
    return read_tensors(path, "delete it to train from the beginning")


def resumable(path: Path, identity: str) -> bool:
    """Return whether there is a checkpoint of this same training.

    Args:
        path: Where it would be.
        identity: Digest of everything that the training's outcome depends on. A checkpoint has it
            under `identity`: that of a segmentation network at the top, that of a classifier
            within `ws3`.

    Raises:
        Ws3Error: If the file is damaged.
    """
    if not path.exists():
        return False
    content = read_checkpoint(path)
    if content.get("ws3", content).get("identity") != identity:
        log.info("%s is of another training and will be replaced", path)
        return False
    log.info("resuming from %s", path)
    return True
