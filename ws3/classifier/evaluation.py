"""How well a classifier names what is in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.functional.classification import binary_average_precision

from ws3.classifier.model import Classifier
from ws3.datasets.images import decode_rgb, read_bytes
from ws3.datasets.index import ImageRow
from ws3.pixels import channels_first, normalise, resize_short_side, to_unit


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision over images.

    Attributes:
        mean: Over the classes that occur, in [0, 1]; None if none does.
        per_class: Per class name; None for a class that does not occur.
    """

    mean: float | None
    per_class: dict[str, float | None]


@torch.inference_mode()
def average_precision(
    classifier: Classifier, rows: Sequence[ImageRow], device: torch.device
) -> AveragePrecision:
    """Measure a classifier on whole images, their short side the network's input size.

    Args:
        classifier: The classifier; its network is moved to the device and back.
        rows: Images, with labels or as negatives; those with a problem are left out.
        device: Where to compute.

    Raises:
        Ws3Error: If an image can't be read.
    """
    good = [row for row in rows if not row.problem]
    if not good:
        return AveragePrecision(None, dict.fromkeys(classifier.classes))
    network = classifier.network.to(device).eval()
    logits = torch.stack([network(_whole(row, classifier).to(device))[0].cpu() for row in good])
    network.cpu()
    per_class: dict[str, float | None] = {}
    for index, name in enumerate(classifier.classes):
        labels = torch.tensor([int(name in row.labels) for row in good])
        scored = binary_average_precision(logits[:, index].sigmoid(), labels)
        per_class[name] = float(scored) if labels.any() else None
    defined = [value for value in per_class.values() if value is not None]
    return AveragePrecision(float(np.mean(defined)) if defined else None, per_class)


def _whole(row: ImageRow, classifier: Classifier) -> torch.Tensor:
    image = decode_rgb(read_bytes(row.path), row.path, row.coding)
    pixels = to_unit(resize_short_side(image, classifier.input_size))
    return torch.from_numpy(channels_first(normalise(pixels, classifier.mean, classifier.std)))[
        None
    ]
