"""segmentation/<recipe>/model.pt + images -> predictions/<recipe>/<image>.png."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ws3.datasets.index import ImageRow
from ws3.jobs.gpus import own_device
from ws3.jobs.runner import ImageResult
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import check_model
from ws3.run.samples import load_image
from ws3.segmentation.model import load_model
from ws3.segmentation.prediction import (
    PRECISION,
    PendingPrediction,
    PredictionSettings,
    predict_refined,
    refined,
)
from ws3.stages.png_stage import PngStage
from ws3.torch_setup import device_facts


class PredictionsStage(PngStage):
    """Predicts an image's mask with the network that a recipe's masks, or ground truth, trained.

    Attributes:
        pretend_device: Whether torch's CPU device is used as if it were a GPU, for tests.
    """

    stage = "predictions"
    pretend_device = False

    def __init__(self, run: Run, recipe: str) -> None:
        super().__init__(run, recipe)
        self._model = checked_model(run, recipe)
        self.settings = PredictionSettings.of(run.config.segmentation)
        self.device = own_device(run.config.device)

    @cached_property
    def network(self) -> nn.Module:
        """The trained network."""
        return load_model(self._model).network

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Predict and commit.

        Raises:
            Ws3Error: If the image can't be read, or the network's output is not finite.
        """
        with timer.phase("load"):
            image, network = load_image(row), self.network
        with timer.phase("compute"):
            probabilities = predict_refined(network, image, self.settings, self.device)
            mask = probabilities.argmax(axis=0).astype(np.uint8)
        with timer.phase("write"):
            return self.commit(row, fingerprint, mask)

    def device_steps(self) -> _OnDevice | None:
        """Return how images go through the GPU that this job has, or None without one."""
        if self.device.type == "cpu" and not self.pretend_device:
            return None
        return _OnDevice(self)


def checked_model(run: Run, name: str) -> Path:
    """Return the file of a segmentation network of a run, and let this process predict with it.

    Args:
        run: The run.
        name: Of the recipe that it was trained on, or `ground_truth`.

    Raises:
        StaleResultError: If it is not trained yet, or the file is not what the training wrote.
    """
    # One thread per process: the rounding must not depend on how many cores there are.
    torch.set_num_threads(1)
    command = f"ws3 train-segmentation {run.folder} --recipe {name}"
    check_model(run.model_file(name), run.segmentation(name), command)
    return run.model_file(name)


class _OnDevice:
    """The stage's three steps on a GPU, beside which the CRF runs; see `ws3.jobs.pipeline`."""

    def __init__(self, stage: PredictionsStage) -> None:
        self._stage = stage
        facts = device_facts(stage.device, PRECISION)
        self._computed_on = {"computed_on": json.dumps(facts)}

    def read(self, row: ImageRow, fingerprint: str) -> _Read:
        """Read an image."""
        return _Read(row, fingerprint, load_image(row))

    def start(self, read: _Read) -> PendingPrediction:
        """Hand it to the GPU."""
        stage = self._stage
        return PendingPrediction(stage.network, read.image, stage.settings, stage.device)

    def finish(self, read: _Read, pending: PendingPrediction | None) -> ImageResult:
        """Wait for the GPU, refine and commit."""
        if pending is None:
            return ImageResult()
        probabilities = refined(pending.probabilities(), read.image, self._stage.settings)
        mask = probabilities.argmax(axis=0).astype(np.uint8)
        return self._stage.commit(read.row, read.fingerprint, mask, self._computed_on)


@dataclass(frozen=True)
class _Read:
    """An image to predict."""

    row: ImageRow
    fingerprint: str
    image: NDArray[np.uint8]
