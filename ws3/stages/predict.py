"""segmentation/<recipe>/model.pt + images -> segmentation/<recipe>/predictions/<image>.png."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import nn

from ws3.config.run import Stage
from ws3.datasets.index import ImageRow
from ws3.jobs.clock import Clock
from ws3.jobs.fingerprints import Fingerprints
from ws3.jobs.run import Run, read_json
from ws3.jobs.runner import Made
from ws3.masks.crf import DenseCrf, parameters
from ws3.masks.png import write_mask
from ws3.segmentation.model import load_model
from ws3.segmentation.prediction import predict
from ws3.stages.gpus import own_device
from ws3.stages.inputs import FINGERPRINT, check_model, current_mask
from ws3.stages.saliency import load_image


class PredictWork:
    """Predicts an image's mask with the network that a recipe's masks, or ground truth, trained."""

    stage: Stage = "predictions"

    def __init__(self, run: Run, recipe: str) -> None:
        run.check_segmenter(recipe)
        # One thread a process: the rounding must not depend on how many cores there are.
        torch.set_num_threads(1)
        self.recipe = recipe
        self._run, self._fingerprints = run, Fingerprints(run, recipe)
        command = f"ws3 train-segmenter {run.folder} --recipe {recipe}"
        check_model(run.model_file(recipe), read_json(run.receipt("segmentation", recipe)), command)
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

    def make(self, row: ImageRow, fingerprint: str, clock: Clock) -> Made:
        """Predict and commit.

        Raises:
            Ws3Error: if the image can't be read, or the network's output is not finite.
        """
        settings = self._run.config.segmentation
        with clock.phase("load"):
            image, network = load_image(row), self._network
        with clock.phase("compute"):
            probabilities = predict(
                network, image, settings.test_scales, settings.test_flip, self._device
            )
            if self._crf is not None:
                crf = DenseCrf(image, len(probabilities), self._crf)
                # Averages of softmaxes may pass 1 by a rounding.
                probabilities = crf.refine(np.clip(probabilities, 0, 1))
            mask = probabilities.argmax(axis=0).astype(np.uint8)
        path = self._run.prediction_file(self.recipe, row.image)
        with clock.phase("write"):
            write_mask(path, mask, {FINGERPRINT: fingerprint})
        return Made(bytes=path.stat().st_size)
