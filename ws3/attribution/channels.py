"""From one value per channel to one score per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def of_classes(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Return some columns (B, len(classes)) of logits (B, classes).

    A list as an index would be brought to the device, and the program wait for that.
    """
    return torch.stack([logits[:, index] for index in classes], dim=1)


def reduce_channels(
    values: Tensor,
    reduction: Literal["max", "mean", "l2", "sum", "net"],
    sign: Literal["abs", "positive"],
) -> Tensor:
    """Return the scores (B, H, W), at least 0, of values (B, channels, H, W), as float32.

    The sign comes first, channel by channel: `abs` takes absolute values, `positive` sets negative
    ones to 0. Then the channels are reduced: their maximum, mean, Euclidean norm or sum. `max`
    with `abs` is the saliency map of Simonyan et al. (2013). Only `net` adds the channels with
    their signs, so that they may cancel, before the sum's own sign is taken away.
    """
    if reduction == "net":
        values, reduction = values.sum(dim=1, keepdim=True), "sum"
    signed = values.abs() if sign == "abs" else values.relu()
    match reduction:
        case "max":
            result = signed.amax(dim=1)
        case "mean":
            result = signed.mean(dim=1)
        case "l2":
            result = torch.linalg.vector_norm(signed, dim=1)
        case "sum":
            result = signed.sum(dim=1)
    return result.float()


def rescaled(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Scale values to [0, 1] over some axes; what is the same everywhere becomes 0.

    Example:
        >>> rescaled(torch.tensor([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]]), (1,)).tolist()
        [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    """
    lowest = values.amin(dim=axes, keepdim=True)
    width = values.amax(dim=axes, keepdim=True) - lowest
    return torch.where(width > 0, (values - lowest) / width, 0.0)
