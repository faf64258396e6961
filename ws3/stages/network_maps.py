"""segmentation/<another recipe>/model.pt + images -> maps/<recipe>.zarr: a second round."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ws3.datasets.index import ImageRow
from ws3.jobs.gpus import own_device
from ws3.jobs.runner import ImageResult
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.samples import load_image
from ws3.segmentation.model import load_model
from ws3.segmentation.prediction import predict
from ws3.stages.predictions import checked_model
from ws3.stages.whole_maps import WholeMapsStage


class NetworkMapsStage(WholeMapsStage):
    """Lets a trained segmentation network divide an image among its labels and the background."""

    def __init__(self, run: Run, recipe: str, network: str) -> None:
        """Find the network.

        Args:
            run: The run.
            recipe: Whose maps are made.
            network: The recipe whose masks trained the network.

        Raises:
            StaleResultError: If it is not trained yet, or is not what the run trained.
        """
        super().__init__(run, recipe)
        self._model = checked_model(run, network)
        self._device = own_device(run.config.device)

    @cached_property
    def _network(self) -> nn.Module:
        return load_model(self._model).network

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Predict and commit.

        Raises:
            Ws3Error: If the image can't be read, or the network's output is not finite.
        """
        views = self.run.config.segmentation
        if not row.labels:
            return self.commit(row, fingerprint, np.zeros((0, row.height, row.width), np.float16))
        with timer.phase("load"):
            image, network = load_image(row), self._network
        with timer.phase("compute"):
            probabilities = predict(
                network, image, views.test_scales, views.test_flip, self._device
            )
            maps = among_labels(probabilities, self.run.class_values(row))
        with timer.phase("write"):
            return self.commit(row, fingerprint, maps.astype(np.float16))


def among_labels(probabilities: NDArray[np.float32], values: Sequence[int]) -> NDArray[np.float32]:
    """Return the probabilities of an image's labels, given that it shows no other class.

    Args:
        probabilities: float32 (classes with background, H, W), summing to 1 over classes.
        values: Mask values of the labels, from 1.

    Returns:
        float32 (labels, H, W) in [0, 1]; with the background's they sum to 1. All are 0 where the
        network gives neither a label nor the background any probability.

    Example:
        >>> seen = np.array([0.2, 0.6, 0.2], np.float32).reshape(3, 1, 1)
        >>> among_labels(seen, [2]).ravel().tolist()
        [0.5]
    """
    labelled = probabilities[list(values)]
    total = probabilities[0] + labelled.sum(axis=0)
    divided: NDArray[np.float32] = labelled / np.maximum(total, np.finfo(np.float32).tiny)
    return divided
