"""masks/<recipe>, or ground truth -> segmentation/<recipe>/model.pt."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from ws3.config.run import GROUND_TRUTH
from ws3.datasets.index import ImageRow
from ws3.files import file_sha256
from ws3.run.folder import Run
from ws3.run.records import SegmentationEpoch, SegmentationFacts
from ws3.run.results import RecipeResults
from ws3.run.training_inputs import segmentation_fingerprint, training_rows
from ws3.segmentation.model import save_model
from ws3.segmentation.prediction import PredictionSettings
from ws3.segmentation.training import train_network
from ws3.stages.training_common import processes_on, train_once


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
    receipt, model = run.receipt("train_segmentation", recipe), run.model_file(recipe)
    made_from, make = partial(segmentation_fingerprint, run, recipe), partial(_train, run, recipe)
    train_once(run, receipt, model, SegmentationFacts, "masks", made_from, make)


def _train(run: Run, recipe: str, fingerprint: str, place: torch.device) -> SegmentationFacts:
    settings, model = run.config.segmentation, run.model_file(recipe)
    files = _mask_files(run, recipe, training_rows(run, recipe))
    trained = train_network(
        files,
        len(run.index.classes),
        settings,
        run.config.seed,
        model.parent,
        place.type,
        progress=sys.stderr.isatty(),
        fingerprint=fingerprint,
        processes=processes_on(place, settings.batch_size),
    )
    prediction = PredictionSettings.of(settings)
    save_model(model, trained.network, settings.architecture, run.index.classes, prediction)
    return SegmentationFacts(
        recipe=recipe,
        architecture=settings.architecture,
        fingerprint=fingerprint,
        sha256=file_sha256(model),
        images=len(files),
        epochs=tuple(SegmentationEpoch(**asdict(epoch)) for epoch in trained.epochs),
    )


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
