"""masks/<recipe>, or ground truth -> segmentation/<recipe>/model.pt."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ws3.config.run import GROUND_TRUTH
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import file_sha256
from ws3.jobs.lease import Lease
from ws3.removal import remove_leftovers
from ws3.run.folder import Run
from ws3.run.records import SegmentationEpoch, SegmentationFacts, write_record
from ws3.run.results import RecipeResults
from ws3.run.training_inputs import segmentation_fingerprint, training_rows
from ws3.segmentation.model import save_model
from ws3.segmentation.training import train_network
from ws3.stages.training_common import processes_on, trained_already
from ws3.torch_setup import device

_log = logging.getLogger(__name__)


def train_segmentation(run: Run, recipe: str) -> None:
    """Train a segmentation network on a recipe's pseudo-masks of the train split.

    The recipe `ground_truth` stands for the split's own masks: full supervision.

    A network that was trained on the same masks in the same way is kept; an interrupted training
    goes on from its last epoch.

    Raises:
        StaleResultError: If a mask is missing, damaged or made from other inputs.
        Ws3Error: If there is no mask, training diverges, or a file can't be used.
    """
    run.check_segmentation_name(recipe)
    # After a kill, a restarted Snakemake may submit this training while the old job still runs.
    with Lease(run.receipt("train_segmentation", recipe).with_suffix(".lease")):
        remove_leftovers([run.model_file(recipe)])
        _train_unless_done(run, recipe)


def _train_unless_done(run: Run, recipe: str) -> None:
    settings = run.config.segmentation
    rows = training_rows(run, recipe)
    if not rows:
        raise Ws3Error(f"{run.folder}: {recipe} has no mask of the train split to learn from")
    made_from = segmentation_fingerprint(run, recipe)
    receipt, model = run.receipt("train_segmentation", recipe), run.model_file(recipe)
    if trained_already(model, made_from, receipt, SegmentationFacts, "masks"):
        return
    torch.set_num_threads(run.config.threads)
    place = device(run.config.device)
    trained = train_network(
        _mask_files(run, recipe, rows),
        len(run.index.classes),
        settings,
        run.config.seed,
        model.parent,
        place.type,
        progress=sys.stderr.isatty(),
        fingerprint=made_from,
        processes=processes_on(place, settings.batch_size),
    )
    save_model(model, trained.network, settings.architecture, run.index.classes)
    facts = SegmentationFacts(
        recipe=recipe,
        architecture=settings.architecture,
        fingerprint=made_from,
        sha256=file_sha256(model),
        images=len(rows),
        epochs=tuple(SegmentationEpoch(**asdict(epoch)) for epoch in trained.epochs),
    )
    write_record(model.with_suffix(".json"), facts)
    write_record(receipt, facts)


def _mask_files(run: Run, recipe: str, rows: list[ImageRow]) -> list[tuple[str, Path]]:
    """Return the files of each image and its mask.

    Raises:
        StaleResultError: If a pseudo-mask is damaged or made from other inputs.
    """
    if recipe == GROUND_TRUTH:
        return [(row.path, Path(row.mask)) for row in rows]
    results = RecipeResults(run, recipe)
    for row in rows:
        results.mask(row)
    return [(row.path, run.result("masks", recipe, row.image)) for row in rows]
