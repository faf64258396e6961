"""What the stages that train have in common: when there is nothing to do, and how many GPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from ws3.files import file_sha256
from ws3.jobs.lease import Lease
from ws3.removal import remove_leftovers
from ws3.run.folder import Run
from ws3.run.records import ClassifierFacts, SegmentationFacts, read_record, write_record
from ws3.torch_setup import device
from ws3.training.batches import processes_for

_log = logging.getLogger(__name__)
Facts = TypeVar("Facts", ClassifierFacts, SegmentationFacts)


def train_once(
    run: Run,
    receipt: Path,
    model: Path,
    kind: type[Facts],
    data: str,
    made_from: Callable[[], str],
    train: Callable[[str, torch.device], Facts],
) -> None:
    """Train a network unless its file is intact and up to date; write down what was made.

    Args:
        run: The run.
        receipt: The file that Snakemake waits for.
        model: The network's file; its facts are in the JSON file beside it.
        kind: What the JSON file and the receipt hold.
        data: What is trained on, for the log.
        made_from: Returns the fingerprint of all that the network is made from.
        train: (fingerprint, device) -> the facts of the network, whose file it writes.

    Raises:
        Ws3Error: If the JSON file is damaged, or the training fails.
    """
    described = model.with_suffix(".json")
    # After a kill, a restarted Snakemake may submit this training while the old job still runs.
    with Lease(receipt.with_suffix(".lease")):
        remove_leftovers([model])
        fingerprint = made_from()
        if described.exists():
            known = read_record(described, kind)
            if known.fingerprint == fingerprint and known.sha256 == file_sha256(model):
                _log.info("%s: trained on these %s already", model, data)
                write_record(receipt, known)
                return
        torch.set_num_threads(run.config.threads)
        made = train(fingerprint, device(run.config.device))
        write_record(described, made)
        write_record(receipt, made)


def processes_on(place: torch.device, batch_size: int) -> int:
    """Return how many processes train: one for each GPU that the scheduler lets this job see."""
    gpus = torch.cuda.device_count() if place.type == "cuda" else 0
    processes = processes_for(gpus, batch_size)
    if gpus > 1:
        _log.info("training on %d of %d GPUs", processes, gpus)
    return processes
