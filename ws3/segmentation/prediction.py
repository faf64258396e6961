"""Class probabilities of one image from a trained segmentation network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ws3.errors import Ws3Error
from ws3.pixels import to_unit
from ws3.segmentation.data import normalise


@torch.inference_mode()
def predict(
    network: nn.Module,
    image: NDArray[np.uint8],
    scales: Sequence[float],
    flip: bool,
    device: str,
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
    network.to(device).eval()
    total: Tensor | None = None
    for scale in scales:
        at_scale = _probabilities(network, image, scale, device)
        if flip:
            mirrored = _probabilities(network, image[:, ::-1], scale, device)
            at_scale = (at_scale + mirrored.flip(-1)) / 2
        total = at_scale if total is None else total + at_scale
    if total is None:
        raise ValueError("predict needs at least one scale")
    probabilities: NDArray[np.float32] = (total / len(scales)).cpu().numpy()
    if not np.isfinite(probabilities).all():
        raise Ws3Error(
            "the segmentation network's output is not finite; train it again with a lower "
            "segmentation.learning_rate"
        )
    return probabilities


def _probabilities(
    network: nn.Module, image: NDArray[np.uint8], scale: float, device: str
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
