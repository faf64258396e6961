"""masks/<recipe>, or ground truth -> segmentation/<recipe>/model.pt."""

from __future__ import annotations

import logging
import math
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ws3.config.run import GROUND_TRUTH
from ws3.config.segmentation import OWN_CLASSIFIER, PrecisionCut
from ws3.datasets.images import photograph_coding
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import file_sha256
from ws3.labels import CONFIDENCE_STEPS
from ws3.masks.png import read_mask, write_mask
from ws3.metrics.confidence import ConfidenceCounts
from ws3.run.folder import Run
from ws3.run.records import SegmentationEpoch, SegmentationFacts
from ws3.run.results import RecipeResults, shows_class
from ws3.run.samples import load_truth
from ws3.run.training_inputs import segmentation_fingerprint, training_rows
from ws3.segmentation.data import MaskConfidence
from ws3.segmentation.model import save_model
from ws3.segmentation.prediction import PredictionSettings
from ws3.segmentation.training import train_network
from ws3.stages.training_common import processes_on, train_once

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
    receipt, model = run.receipt("train_segmentation", recipe), run.model_file(recipe)
    made_from, make = partial(segmentation_fingerprint, run, recipe), partial(_train, run, recipe)
    train_once(run, receipt, model, SegmentationFacts, "masks", made_from, make)


def _train(run: Run, recipe: str, fingerprint: str, place: torch.device) -> SegmentationFacts:
    settings, model = run.config.segmentation, run.model_file(recipe)
    rows = training_rows(run, recipe)
    files = _mask_files(run, recipe, rows)
    confidence = _confidence(run, recipe, rows)
    if settings.weights == OWN_CLASSIFIER:
        settings = settings.model_copy(update={"weights": str(run.classifier_file)})
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
        coding=photograph_coding(rows[0].coding),
        confidence=confidence,
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
        ignore_below=(
            confidence.least / CONFIDENCE_STEPS if confidence and confidence.least else None
        ),
    )


def _confidence(run: Run, recipe: str, rows: list[ImageRow]) -> MaskConfidence | None:
    """Return how sure the masks are and what training makes of it; None if it asks for nothing.

    Raises:
        StaleResultError: If a confidence is missing, damaged or made from other inputs.
        Ws3Error: If no cut is as precise as it has to be.
    """
    settings = run.config.segmentation
    if recipe == GROUND_TRUTH or not settings.uses_confidence:
        return None
    results = RecipeResults(run, recipe)
    pixels = np.zeros(CONFIDENCE_STEPS, np.int64)
    counts = ConfidenceCounts(len(run.index.classes))
    chosen = isinstance(settings.ignore_below, PrecisionCut)
    for row in rows:
        confidence = results.confidence(row)
        pixels += np.bincount(confidence.ravel(), minlength=CONFIDENCE_STEPS)
        if chosen and row.mask:
            counts.update(load_truth(run, row), results.mask(row), confidence)
    if isinstance(settings.ignore_below, PrecisionCut):
        least = _lowest_cut(counts, settings.ignore_below.precision, recipe)
    else:
        # What is stored is rounded down, and 1 is stored as the last value.
        least = min(math.ceil(settings.ignore_below * CONFIDENCE_STEPS), CONFIDENCE_STEPS - 1)
    if least:
        share = pixels[:least].sum() / pixels.sum()
        said = "%s: %.1f %% of the masks' pixels, of a confidence below %.3f, are ignored"
        _log.info(said, recipe, 100 * share, least / CONFIDENCE_STEPS)
    files = tuple(run.confidence_file(recipe, row.image) for row in rows)
    return MaskConfidence(files, least, settings.pixel_weights == "confidence")


def _lowest_cut(counts: ConfidenceCounts, precision: float, recipe: str) -> int:
    if not counts.objects:
        raise Ws3Error(
            "segmentation.ignore_below: no training image has ground truth with an object in it to "
            "choose by; give a number"
        )
    least = counts.lowest_cut(precision)
    if least is None:
        reached = counts.precision_of_all()
        best = int(np.nanargmax(reached))
        raise Ws3Error(
            f"segmentation.ignore_below: no cut of the confidence of {recipe} has a precision of "
            f"{precision:g} on the training images and leaves pixels of all labels; the most is "
            f"{reached[best]:.3f}, from {best / CONFIDENCE_STEPS:.3f} on; ask for less, or give a "
            "number"
        )
    return least


def _plain_mask(run: Run, row: ImageRow, folder: Path) -> Path:
    """Return a PNG of an image's ground truth as class values, made where the dataset has none."""
    truth = load_truth(run, row)
    with suppress(Ws3Error):
        if np.array_equal(read_mask(Path(row.mask)), truth):
            return Path(row.mask)
    path = folder / f"{row.image}.png"
    write_mask(path, truth, {})
    return path


def _mask_files(run: Run, recipe: str, rows: list[ImageRow]) -> list[tuple[str, Path]]:
    """Return the files of each image and its mask.

    Raises:
        StaleResultError: If a pseudo-mask is damaged or made from other inputs.
        Ws3Error: If all pseudo-masks are background.
    """
    if recipe == GROUND_TRUTH:
        folder = run.model_file(recipe).parent / "truth"
        return [(row.path, _plain_mask(run, row, folder)) for row in rows]
    results = RecipeResults(run, recipe)
    shown = [shows_class(results.mask(row)) for row in rows]
    labelled = sum(bool(row.labels) for row in rows)
    if not any(shown):
        raise Ws3Error(
            f"{run.results('masks', recipe)}: all {len(rows)} pseudo-masks of the train split are "
            "background, so a network would learn nothing from them; look at the classifier "
            "(its mAP is in the report), and lower the background score in masks.background"
        )
    empty = sum(not shows for row, shows in zip(rows, shown, strict=True) if row.labels)
    if empty:
        _log.warning(
            "%s: %d of %d pseudo-masks of images with labels are all background",
            recipe,
            empty,
            labelled,
        )
    return [(row.path, run.result("masks", recipe, row.image)) for row in rows]
