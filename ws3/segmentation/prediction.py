"""Class probabilities of one image from a trained segmentation network, and its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ws3.config.masks import CrfParameters
from ws3.config.model import Float, Section
from ws3.config.recipes import Precision
from ws3.config.segmentation import Segmentation
from ws3.errors import Ws3Error
from ws3.masks.crf import DenseCrf, parameters
from ws3.pixels import to_unit
from ws3.segmentation.data import normalise
from ws3.torch_setup import Moment, arithmetic, fetched

PRECISION: Precision = "tf32"
"""Of convolutions on a GPU; a CPU has fp32 alone."""


class PredictionSettings(Section):
    """How a network's masks are made of images; without arguments, the configuration's defaults.

    Example:
        >>> PredictionSettings(scales=(0.75, 1.0)).flip
        True
    """

    scales: tuple[Annotated[Float, Field(ge=0.01, le=4)], ...] = Field((1.0,), min_length=1)
    """Sizes relative to the image whose probabilities are averaged."""
    flip: bool = True
    """Whether to average over the mirrored image too."""
    crf: CrfParameters | None = None
    """The CRF on the probabilities."""

    @classmethod
    def of(cls, config: Segmentation) -> PredictionSettings:
        """Return what the `segmentation` section of a configuration says."""
        return cls(scales=config.test_scales, flip=config.test_flip, crf=parameters(config.crf))


def predict_refined(
    network: nn.Module,
    image: NDArray[np.uint8],
    settings: PredictionSettings,
    device: torch.device | str,
) -> NDArray[np.float32]:
    """Return the probabilities whose largest is the mask: averaged, and refined by the CRF.

    The mask is `probabilities.argmax(axis=0)`, for the stage and for `ws3 predict` alike.

    Args:
        network: As for `predict`.
        image: RGB, uint8 (H, W, 3).
        settings: Scales, flip and CRF.
        device: Where to compute; the CRF runs on the CPU.

    Returns:
        float32 (classes with background, H, W), summing to 1 over classes.

    Raises:
        Ws3Error: If the network's output is not finite, or the image is too large for the CRF.
    """
    pending = PendingPrediction(network, image, settings, device)
    return refined(pending.probabilities(), image, settings)


def refined(
    probabilities: NDArray[np.float32], image: NDArray[np.uint8], settings: PredictionSettings
) -> NDArray[np.float32]:
    """Return probabilities after the CRF of the settings, if there is one.

    Args:
        probabilities: float32 (classes with background, H, W), summing to 1 over classes.
        image: RGB, uint8 (H, W, 3).
        settings: The CRF.

    Returns:
        float32, of the same shape.

    Raises:
        Ws3Error: If the image is too large for the CRF.
    """
    if settings.crf is not None:
        crf = DenseCrf(image, len(probabilities), settings.crf)
        # Averages of softmaxes may pass 1 by a rounding.
        probabilities = crf.refine(np.clip(probabilities, 0, 1))
    return probabilities


def predict(
    network: nn.Module,
    image: NDArray[np.uint8],
    scales: Sequence[float],
    flip: bool,
    device: torch.device | str,
) -> NDArray[np.float32]:
    """Average the class probabilities over scales and, if asked for, the mirrored image.

    The network sees one image at a time, so the result doesn't depend on any other image. With
    `flip`, the mirrored image gets exactly the mirrored probabilities.

    Args:
        network: A network from `build`; it is put into evaluation mode and moved to `device`.
        image: RGB, uint8 (H, W, 3).
        scales: Factors of the image's size.
        flip: Whether to average with the mirrored image.
        device: Where to compute.

    Returns:
        Probabilities, float32 (classes with background, H, W), summing to 1 over classes.

    Raises:
        Ws3Error: If the network's output is not finite.
    """
    if not scales:
        raise ValueError("predict needs at least one scale")
    settings = PredictionSettings(scales=tuple(scales), flip=flip)
    return PendingPrediction(network, image, settings, device).probabilities()


class PendingPrediction:
    """One image that was handed to the network, on a GPU without waiting for it.

    Args:
        network: As for `predict`.
        image: RGB, uint8 (H, W, 3).
        settings: Scales and flip; the CRF comes after this.
        device: Where to compute.
    """

    @torch.inference_mode()
    def __init__(
        self,
        network: nn.Module,
        image: NDArray[np.uint8],
        settings: PredictionSettings,
        device: torch.device | str,
    ) -> None:
        place = torch.device(device)
        self._began = Moment(place)
        network.to(place).eval()
        total = torch.zeros((), device=place)
        with arithmetic(PRECISION, place):
            for scale in settings.scales:
                at_scale = _probabilities(network, image, scale, place)
                if settings.flip:
                    mirrored = _probabilities(network, image[:, ::-1], scale, place)
                    at_scale = (at_scale + mirrored.flip(-1)) / 2
                total = total + at_scale
        self._fetched = fetched(total / len(settings.scales))
        self._ended = Moment(place)

    def probabilities(self) -> NDArray[np.float32]:
        """Wait for the device, and return float32 (classes with background, H, W).

        Raises:
            Ws3Error: If the network's output is not finite.
        """
        self._ended.wait()
        probabilities: NDArray[np.float32] = self._fetched.numpy()
        if not np.isfinite(probabilities).all():
            raise Ws3Error(
                "the segmentation network's output is not finite; train it again with a lower "
                "segmentation.learning_rate"
            )
        return probabilities

    @property
    def seconds(self) -> float:
        """What the device took, from its first step to its last; known after `probabilities`."""
        return self._ended.since(self._began)


def _probabilities(
    network: nn.Module, image: NDArray[np.uint8], scale: float, device: torch.device
) -> Tensor:
    """Probabilities (classes, H, W) at the image's size, from the image at one scale."""
    height, width = image.shape[:2]
    scaled_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # The same interpolation as in training. The mirrored image is resized by itself, rather than
    # the resized image mirrored, so that mirroring is exact whatever the rounding.
    scaled = cv2.resize(np.ascontiguousarray(image), scaled_size)
    pixels = torch.from_numpy(normalise(to_unit(np.asarray(scaled, np.uint8))))
    logits: Tensor = network(pixels[None].to(device))["out"].float()
    if logits.shape[-2:] != (height, width):
        logits = functional.interpolate(
            logits, size=(height, width), mode="bilinear", align_corners=False
        )
    return logits.softmax(dim=1)[0]
