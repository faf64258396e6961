"""Fingerprints: what a stored result was made from, as one short string.

A result is up to date exactly when it bears the fingerprint that the run now expects. Each
includes the one before it, down to the image's bytes and the classifier's.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ws3.config.run import CrfParameters
from ws3.datasets.index import ImageRow
from ws3.jobs.run import Run, read_json

# Raised when the program comes to compute something else from the same inputs.
_SALIENCY, _MAPS, _MASKS, _PREDICTIONS = 1, 1, 1, 1


def fingerprint(**parts: Any) -> str:
    """Return the digest of some plain data."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def saliency(run: Run, recipe: str, row: ImageRow) -> str:
    """Return what an image's sample chunks are made from; the number of samples is no part."""
    recipe = run.config.sampler(recipe)
    settings = run.recipe(recipe)
    return fingerprint(
        version=_SALIENCY,
        checkpoint=run.classifier["digest"],
        image=row.sha256,
        name=row.image,
        classes=run.class_values(row),
        recipe=recipe,
        seed=run.config.seed,
        method=settings.method,
        options=settings.options,
        reduction=settings.reduction,
        sign=settings.sign,
        target=settings.target,
        smooth_relu=settings.smooth_relu,
        precision=settings.precision,
        samples=settings.samples.model_dump(mode="json", exclude={"count", "samples_per_chunk"}),
        per_chunk=settings.samples.samples_per_chunk,
        aggregation=settings.aggregation.model_dump(
            mode="json", include={"reducer", "weight", "normalise_samples"}
        ),
    )


def maps(run: Run, recipe: str, row: ImageRow) -> str:
    """Return what an image's final maps are made from."""
    settings = run.recipe(recipe)
    return fingerprint(
        version=_MAPS,
        saliency=saliency(run, recipe, row),
        samples=settings.samples.total,
        aggregation=settings.aggregation.model_dump(mode="json"),
    )


def masks(run: Run, recipe: str, row: ImageRow) -> str:
    """Return what an image's pseudo-mask is made from."""
    return fingerprint(
        version=_MASKS,
        maps=maps(run, recipe, row),
        background=read_json(run.threshold_file(recipe))["background"],
        crf=crf_part(run.config.masks.crf),
        ignore_below=run.config.masks.ignore_below,
    )


def predictions(run: Run, recipe: str, row: ImageRow) -> str:
    """Return what an image's prediction is made from."""
    settings = run.config.segmentation
    return fingerprint(
        version=_PREDICTIONS,
        model=read_json(run.receipt("segmentation", recipe))["digest"],
        image=row.sha256,
        scales=settings.test_scales,
        flip=settings.test_flip,
        crf=crf_part(settings.crf),
    )


def crf_part(crf: str | CrfParameters) -> Any:
    """Return a CRF setting as plain data."""
    return crf if isinstance(crf, str) else crf.model_dump(mode="json")
