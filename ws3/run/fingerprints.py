"""Fingerprints: what a stored result was made from, as one short string.

A result is up to date exactly when it bears the fingerprint that the run now expects. Each
includes the one before it, down to the image's bytes and the classifier's.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

from ws3.config.masks import CrfParameters
from ws3.config.run import Stage
from ws3.datasets.index import ImageRow
from ws3.run.folder import Run
from ws3.run.records import SegmentationFacts, Threshold, read_record

# Raised when the program comes to compute something else from the same inputs.
_SALIENCY, _MAPS, _MASKS, _PREDICTIONS = 1, 1, 1, 1


def fingerprint(**parts: Any) -> str:
    """Return the digest of some plain data."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Fingerprints:
    """What each image's results of one recipe are made from.

    What all images share is looked up and digested once, so that a whole run is checked quickly.
    """

    def __init__(self, run: Run, recipe: str) -> None:
        """Prepare; nothing is read yet."""
        self._run, self._recipe = run, recipe

    def of(self, stage: Stage, row: ImageRow) -> str:
        """Return what an image's result of a stage is made from.

        Raises:
            Ws3Error: if the run has no such recipe.
            StaleResultError: if a file that it is made from isn't there yet.
        """
        match stage:
            case "saliency":
                return self.saliency(row)
            case "maps":
                return self.maps(row)
            case "masks":
                return self.masks(row)
            case "predictions":
                return self.predictions(row)

    def saliency(self, row: ImageRow) -> str:
        """Return what an image's sample chunks are made from; the samples' number is no part."""
        return fingerprint(
            shared=self._shared_saliency,
            image=row.sha256,
            name=row.image,
            classes=self._run.class_values(row),
        )

    def maps(self, row: ImageRow) -> str:
        """Return what an image's final maps are made from."""
        return fingerprint(shared=self._shared_maps, saliency=self.saliency(row))

    def masks(self, row: ImageRow) -> str:
        """Return what an image's pseudo-mask is made from."""
        return fingerprint(shared=self._shared_masks, maps=self.maps(row))

    def predictions(self, row: ImageRow) -> str:
        """Return what an image's prediction is made from."""
        return fingerprint(shared=self._shared_predictions, image=row.sha256)

    @cached_property
    def _shared_saliency(self) -> str:
        source = self._run.config.sample_source(self._recipe)
        settings = self._run.recipe(source)
        return fingerprint(
            version=_SALIENCY,
            checkpoint=self._run.classifier.sha256,
            recipe=source,
            seed=self._run.config.seed,
            method=settings.method,
            options=settings.options,
            reduce_channels=settings.reduce_channels,
            sign=settings.sign,
            target=settings.target,
            smooth_relu=settings.smooth_relu,
            precision=settings.precision,
            samples=settings.samples.model_dump(
                mode="json", exclude={"count", "samples_per_chunk"}
            ),
            per_chunk=settings.samples.samples_per_chunk,
            aggregation=settings.aggregation.model_dump(
                mode="json", include={"combine_samples", "weight", "normalise_samples"}
            ),
        )

    @cached_property
    def _shared_maps(self) -> str:
        settings = self._run.recipe(self._recipe)
        return fingerprint(
            version=_MAPS,
            samples=settings.samples.total,
            aggregation=settings.aggregation.model_dump(mode="json"),
        )

    @cached_property
    def _shared_masks(self) -> str:
        masks = self._run.config.masks
        return fingerprint(
            version=_MASKS,
            background=read_record(
                self._run.threshold_file(self._recipe), Threshold
            ).background.model_dump(mode="json"),
            crf=crf_part(masks.crf),
            ignore_below=masks.ignore_below,
        )

    @cached_property
    def _shared_predictions(self) -> str:
        settings = self._run.config.segmentation
        return fingerprint(
            version=_PREDICTIONS,
            model=read_record(
                self._run.receipt("segmentation", self._recipe), SegmentationFacts
            ).sha256,
            scales=settings.test_scales,
            flip=settings.test_flip,
            crf=crf_part(settings.crf),
        )


def crf_part(crf: str | CrfParameters) -> Any:
    """Return a CRF setting as plain data."""
    return crf if isinstance(crf, str) else crf.model_dump(mode="json")
