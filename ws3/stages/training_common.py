"""What the stages that train have in common: when there is nothing to do, and how many GPUs."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ws3.files import file_sha256
from ws3.run.records import ClassifierFacts, SegmentationFacts, read_record, write_record
from ws3.training.batches import processes_for

_log = logging.getLogger(__name__)


def trained_already(
    model: Path,
    fingerprint: str,
    receipt: Path,
    facts: type[ClassifierFacts] | type[SegmentationFacts],
    data: str,
) -> bool:
    """Return whether a network's file is intact and up to date; if so, rewrite its receipt.

    Args:
        model: The network's file; its facts are in the JSON file beside it.
        fingerprint: Of all that the network is made from.
        receipt: The file that Snakemake waits for.
        facts: What the JSON file holds.
        data: What was trained on, for the log.

    Raises:
        Ws3Error: If the JSON file is damaged.
    """
    described = model.with_suffix(".json")
    if not described.exists():
        return False
    known = read_record(described, facts)
    if known.fingerprint != fingerprint or known.sha256 != file_sha256(model):
        return False
    _log.info("%s: trained on these %s already", model, data)
    write_record(receipt, known)
    return True


def processes_on(place: torch.device, batch_size: int) -> int:
    """Return how many processes train: one for each GPU that the scheduler lets this job see."""
    gpus = torch.cuda.device_count() if place.type == "cuda" else 0
    processes = processes_for(gpus, batch_size)
    if gpus > 1:
        _log.info("training on %d of %d GPUs", processes, gpus)
    return processes
