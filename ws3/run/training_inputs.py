"""What the networks of a run are made from: one fingerprint each."""

from __future__ import annotations

from typing import Any

from ws3.config.run import GROUND_TRUTH
from ws3.config.segmentation import OWN_CLASSIFIER, PrecisionCut
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import file_sha256
from ws3.run.fingerprints import Fingerprints, fingerprint
from ws3.run.folder import Run
from ws3.run.results import rows_with_masks


def classifier_fingerprint(run: Run) -> str:
    """Return what the classifier is made from: settings, images, labels, the user's own files.

    Raises:
        StaleResultError: If the images have not been indexed.
    """
    config = run.config.classifier
    return fingerprint(
        config=config.model_dump(mode="json"),
        files=[file_sha256(path) for path in run.classifier_inputs],
        train=[(row.image, row.sha256, row.labels) for row in run.rows(["train"])],
        classes=list(run.index.classes),
        seed=run.config.seed,
        threads=run.config.threads,
    )


def segmentation_fingerprint(run: Run, recipe: str) -> str:
    """Return what the segmentation network of a recipe, or of `ground_truth`, is made from.

    Raises:
        StaleResultError: If a file that its masks are made from, or the classifier that it starts
            from, isn't there yet.
    """
    own = run.config.segmentation.weights == OWN_CLASSIFIER
    return fingerprint(
        **({"classifier": run.classifier.sha256} if own else {}),
        **_cut_sources(run, recipe),
        masks=_mask_sources(run, recipe),
        settings=run.config.segmentation.training(),
        classes=list(run.index.classes),
        seed=run.config.seed,
    )


def training_rows(run: Run, recipe: str) -> list[ImageRow]:
    """Return the images of the train split that have a mask to learn from.

    Raises:
        Ws3Error: If there is none.
    """
    rows = rows_with_masks(run, recipe, ["train"])
    if recipe == GROUND_TRUTH:
        rows = [row for row in rows if row.mask]
    if not rows:
        raise Ws3Error(f"{run.folder}: {recipe} has no mask of the train split to learn from")
    return rows


def _cut_sources(run: Run, recipe: str) -> dict[str, Any]:
    """Return what training takes beside masks, as plain data: a confidence, and who cuts it."""
    settings = run.config.segmentation
    if recipe == GROUND_TRUTH or not settings.uses_confidence:
        return {}
    found: dict[str, Any] = {"confidence": run.config.masks.confidence}
    if not isinstance(settings.ignore_below, PrecisionCut):
        return found
    return {**found, "truth": {row.image: row.mask_sha256 for row in training_rows(run, recipe)}}


def _mask_sources(run: Run, recipe: str) -> dict[str, Any]:
    """Return what each image and its mask are made from, as plain data."""
    rows = training_rows(run, recipe)
    if recipe == GROUND_TRUTH:
        return {row.image: [row.sha256, row.mask_sha256] for row in rows}
    expected = Fingerprints(run, recipe)
    return {row.image: expected.of("masks", row) for row in rows}
