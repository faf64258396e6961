"""segmentation/<recipe>/model.pt + images -> segmentation/<recipe>/predictions/<image>.png."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import nn

from ws3.config.run import Stage
from ws3.datasets.index import ImageRow
from ws3.jobs.gpus import own_device
from ws3.jobs.runner import ImageResult
from ws3.masks.crf import DenseCrf, parameters
from ws3.masks.png import write_mask
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.records import SegmentationFacts, read_record
from ws3.run.results import FINGERPRINT, check_model, current_mask
from ws3.run.samples import load_image
from ws3.segmentation.model import load_model
from ws3.segmentation.prediction import predict


class PredictionsStage:
    """Predicts an image's mask with the network that a recipe's masks, or ground truth, trained."""

    stage: Stage = "predictions"

    def __init__(self, run: Run, recipe: str) -> None:
        run.check_segmentation_name(recipe)
        # One thread a process: the rounding must not depend on how many cores there are.
        torch.set_num_threads(1)
        self.recipe = recipe
        self._run, self._fingerprints = run, Fingerprints(run, recipe)
        command = f"ws3 train-segmentation {run.folder} --recipe {recipe}"
        facts = read_record(run.receipt("segmentation", recipe), SegmentationFacts)
        check_model(run.model_file(recipe), facts, command)
        self._crf = parameters(run.config.segmentation.crf)
        self._device = str(own_device(run.config.device))
        run.prediction_file(recipe, "any").parent.mkdir(parents=True, exist_ok=True)

    @cached_property
    def _network(self) -> nn.Module:
        return load_model(self._run.model_file(self.recipe)).network

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's prediction is made from."""
        return self._fingerprints.predictions(row)

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether an intact prediction with this fingerprint is committed."""
        path = self._run.prediction_file(self.recipe, row.image)
        return current_mask(path, fingerprint) is not None

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Predict and commit.

        Raises:
            Ws3Error: if the image can't be read, or the network's output is not finite.
        """
        settings = self._run.config.segmentation
        with timer.phase("load"):
            image, network = load_image(row), self._network
        with timer.phase("compute"):
            probabilities = predict(
                network, image, settings.test_scales, settings.test_flip, self._device
            )
            if self._crf is not None:
                crf = DenseCrf(image, len(probabilities), self._crf)
                # Averages of softmaxes may pass 1 by a rounding.
                probabilities = crf.refine(np.clip(probabilities, 0, 1))
            mask = probabilities.argmax(axis=0).astype(np.uint8)
        path = self._run.prediction_file(self.recipe, row.image)
        with timer.phase("write"):
            write_mask(path, mask, {FINGERPRINT: fingerprint})
        return ImageResult(bytes=path.stat().st_size)
