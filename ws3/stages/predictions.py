"""segmentation/<recipe>/model.pt + images -> predictions/<recipe>/<image>.png."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import nn

from ws3.datasets.index import ImageRow
from ws3.jobs.gpus import own_device
from ws3.jobs.runner import ImageResult
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import check_model
from ws3.run.samples import load_image
from ws3.segmentation.model import load_model
from ws3.segmentation.prediction import PredictionSettings, predict_refined
from ws3.stages.png_stage import PngStage


class PredictionsStage(PngStage):
    """Predicts an image's mask with the network that a recipe's masks, or ground truth, trained."""

    stage = "predictions"

    def __init__(self, run: Run, recipe: str) -> None:
        super().__init__(run, recipe)
        # One thread per process: the rounding must not depend on how many cores there are.
        torch.set_num_threads(1)
        command = f"ws3 train-segmentation {run.folder} --recipe {recipe}"
        check_model(run.model_file(recipe), run.segmentation(recipe), command)
        self._settings = PredictionSettings.of(run.config.segmentation)
        self._device = str(own_device(run.config.device))

    @cached_property
    def _network(self) -> nn.Module:
        return load_model(self.run.model_file(self.recipe)).network

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Predict and commit.

        Raises:
            Ws3Error: If the image can't be read, or the network's output is not finite.
        """
        with timer.phase("load"):
            image, network = load_image(row), self._network
        with timer.phase("compute"):
            probabilities = predict_refined(network, image, self._settings, self._device)
            mask = probabilities.argmax(axis=0).astype(np.uint8)
        with timer.phase("write"):
            return self.commit(row, fingerprint, mask)
