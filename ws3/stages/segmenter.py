"""masks/<recipe> -> segmentation/<recipe>/model.pt."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict

import torch

from ws3.classifier.networks import device
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import file_digest, write_json
from ws3.jobs.fingerprints import Fingerprints, fingerprint
from ws3.jobs.run import Run, read_json
from ws3.jobs.runner import skip_reason
from ws3.segmentation.model import save_model
from ws3.segmentation.training import processes_for, train
from ws3.stages.inputs import read_pseudo_mask

_log = logging.getLogger(__name__)


def train_segmenter(run: Run, recipe: str) -> None:
    """Train a segmentation network on a recipe's pseudo-masks of the train split.

    A network that was trained on the same masks in the same way is kept; an interrupted training
    goes on from its last epoch.

    Raises:
        StaleResultError: if a mask is missing, damaged or made from other inputs.
        Ws3Error: if training diverges, or a file can't be used.
    """
    settings = run.config.segmentation
    rows = [
        row
        for row in run.mapped_rows(["train"])
        if not skip_reason(run, recipe, row, ("saliency", "maps", "masks"))
    ]
    made_from = _fingerprint(run, recipe, rows)
    receipt, model = run.receipt("segmentation", recipe), run.model_file(recipe)
    if receipt.exists() or model.exists():
        known = read_json(model.with_suffix(".json")) if model.with_suffix(".json").exists() else {}
        if known.get("fingerprint") == made_from and file_digest(model) == known.get("digest"):
            _log.info("%s: trained on these masks already", model)
            write_json(receipt, known)
            return
    for row in rows:
        read_pseudo_mask(run, recipe, row)
    torch.set_num_threads(run.config.threads)
    place = device(run.config.device)
    # All GPUs that the scheduler lets this job see.
    gpus = torch.cuda.device_count() if place.type == "cuda" else 0
    processes = processes_for(gpus, settings.batch_size)
    if gpus > 1:
        _log.info("training on %d of %d GPUs", processes, gpus)
    trained = train(
        [(row.path, run.mask_file(recipe, row.image)) for row in rows],
        len(run.index.classes),
        settings,
        run.config.seed,
        model.parent,
        place.type,
        progress=sys.stderr.isatty(),
        fingerprint=made_from,
        processes=processes,
    )
    save_model(model, trained.network, settings.architecture, run.index.classes)
    described = {
        "recipe": recipe,
        "architecture": settings.architecture,
        "fingerprint": made_from,
        "digest": file_digest(model),
        "images": len(rows),
        "epochs": [asdict(epoch) for epoch in trained.epochs],
    }
    write_json(model.with_suffix(".json"), described)
    write_json(receipt, described)


def _fingerprint(run: Run, recipe: str, rows: list[ImageRow]) -> str:
    if not rows:
        raise Ws3Error(f"{run.folder}: recipe {recipe} has no mask to train a network on")
    settings, expected = run.config.segmentation, Fingerprints(run, recipe)
    return fingerprint(
        masks={row.image: expected.masks(row) for row in rows},
        settings=settings.model_dump(
            mode="json", exclude={"recipes", "test_scales", "test_flip", "crf"}
        ),
        classes=list(run.index.classes),
        seed=run.config.seed,
    )
