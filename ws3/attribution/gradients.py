"""Gradients of a class's logit with respect to the normalised input.

"Normalised" means RGB in [0, 1], minus the mean and divided by the standard deviation that the
classifier was trained with: per unit of RGB, a channel's gradient would be larger by 1 / std.
`Method` says what the methods get; they have no options of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ws3.attribution.channels import of_classes, reduce_channels
from ws3.attribution.interface import Attribution, Options
from ws3.attribution.network import AttributionNetwork


def gradient(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Input gradients, "vanilla saliency" (Simonyan et al. 2013, arXiv 1312.6034).

    One forward pass for all classes, one backward pass per class.
    """
    return _from_gradients(network, inputs, classes, options, lambda inputs, gradient: gradient)


def input_x_gradient(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Input times gradient (Shrikumar et al. 2016, arXiv 1605.01713)."""
    return _from_gradients(network, inputs, classes, options, torch.mul)


def _from_gradients(
    network: AttributionNetwork,
    inputs: Tensor,
    classes: Sequence[int],
    options: Options,
    values: Callable[[Tensor, Tensor], Tensor],
) -> Attribution:
    """Reduce `values(inputs, gradient)` for each class."""
    leaf = inputs.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    logits = network(leaf)
    scores = []
    for position, index in enumerate(classes):
        # Samples don't mix in the network, so the gradient of the sum holds each sample's own.
        (gradient,) = torch.autograd.grad(
            logits[:, index].sum(), leaf, retain_graph=position + 1 < len(classes)
        )
        chosen = values(leaf.detach(), gradient)
        scores.append(reduce_channels(chosen, options.reduction, options.sign))
    probabilities = of_classes(logits.detach(), classes).float().sigmoid()
    return Attribution(torch.stack(scores), probabilities)
