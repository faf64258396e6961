"""The run's classifier at work on images: the only place where saliency and maps meet torch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.attribution.registry import get
from ws3.classifier import checkpoints
from ws3.classifier.checkpoints import Classifier
from ws3.config.recipes import Recipe
from ws3.jobs.gpus import own_device
from ws3.run.folder import Run
from ws3.torch_setup import arithmetic


class Attributor:
    """Attributes network batches, all samples of one image."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        """Load the classifier.

        Raises:
            Ws3Error: if the checkpoint can't be used, or the method doesn't go with its network.
        """
        classifier = _classifier(run)
        self.mean, self.std = classifier.mean, classifier.std
        self._device = own_device(run.config.device)
        self._network = AttributionNetwork(
            classifier,
            self._device,
            log_odds=recipe.target == "log_odds",
            smooth_relu=recipe.smooth_relu,
        )
        self._method, self._precision = get(recipe.method), recipe.precision
        self._options = Options(recipe.reduce_channels, recipe.sign, recipe.options)

    def __call__(
        self, inputs: NDArray[np.float32], classes: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Attribute one network batch.

        Args:
            inputs: float32 (samples, 3, h, w), normalised.
            classes: logit indices of the classes to explain.

        Returns:
            scores: float32 (classes, samples, h', w'), not negative.
            probabilities: float32 (samples, classes).
        """
        batch = torch.from_numpy(inputs).to(self._device)
        with arithmetic(self._precision, self._device):
            attribution = self._method(self._network, batch, classes, self._options)
        return attribution.scores.float().cpu().numpy(), (
            attribution.probabilities.float().cpu().numpy()
        )


class FeatureReader:
    """Returns the classifier's last spatial features of whole images, always on the CPU."""

    def __init__(self, run: Run) -> None:
        """Load the classifier.

        Raises:
            Ws3Error: if the checkpoint can't be used.
        """
        self._network = AttributionNetwork(_classifier(run))

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 (F, h, w) of an image, uint8 RGB (H, W, 3).

        The network sees it with the shorter side at the size that the classifier was made for.
        """
        height, width = image.shape[:2]
        factor = self._network.input_size / min(height, width)
        size = round(width * factor), round(height * factor)
        shrinks = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(image, size, interpolation=shrinks), np.float32) / 255
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        with torch.inference_mode():
            features = self._network.features(self._network.normalise(batch))[0]
        return features.numpy()


def _classifier(run: Run) -> Classifier:
    # One thread a process: the rounding must not depend on how many cores there are.
    torch.set_num_threads(1)
    return checkpoints.load(run.classifier_file)
