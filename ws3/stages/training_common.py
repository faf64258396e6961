"""What the stages that train have in common: when there is nothing to do, and how many GPUs."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ws3.files import file_sha256, write_json
from ws3.run.folder import read_json
from ws3.training.batches import processes_for

_log = logging.getLogger(__name__)


def trained_already(model: Path, fingerprint: str, receipt: Path, data: str) -> bool:
    """Whether a network is there, unharmed, that was made in this very way; it gets its receipt.

    Args:
        model: The network's file; what is known of it is in the JSON file beside it.
        fingerprint: Of all that the network is made from.
        receipt: What the workflow wants to see.
        data: What was trained on, for the log.
    """
    described = model.with_suffix(".json")
    known = read_json(described) if described.exists() else {}
    if known.get("fingerprint") != fingerprint or known.get("digest") != file_sha256(model):
        return False
    _log.info("%s: trained on these %s already", model, data)
    write_json(receipt, known)
    return True


def processes_on(place: torch.device, batch_size: int) -> int:
    """Return how many processes train: one for each GPU that the scheduler lets this job see."""
    gpus = torch.cuda.device_count() if place.type == "cuda" else 0
    processes = processes_for(gpus, batch_size)
    if gpus > 1:
        _log.info("training on %d of %d GPUs", processes, gpus)
    return processes
