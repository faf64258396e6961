"""Gradients of a class's logit with respect to the normalised input, or to a layer's output.

"Normalised" means RGB in [0, 1], minus the mean and divided by the standard deviation that the
classifier was trained with: per unit of RGB, a channel's gradient would be larger by 1 / std.
With the option `stride` the gradient ends at the network's last layer of that stride
(`ws3.attribution.layers`): its channels take the place of red, green and blue, the map has the
layer's resolution, and what lies before the layer needs no backward pass. `Method` says what the
methods get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ws3.attribution.channels import of_classes, reduce_channels
from ws3.attribution.interface import Attribution, Options, chosen_layers
from ws3.attribution.network import AttributionNetwork


def gradient(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Input gradients, "vanilla saliency" (Simonyan et al. 2013, arXiv 1312.6034).

    One forward pass for all classes, one backward pass per class.

    Raises:
        Ws3Error: If the network has no layer of the stride that is asked for.
    """
    return _from_gradients(network, inputs, classes, options, lambda values, gradient: gradient)


def input_x_gradient(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Input, or a layer's output, times gradient (Shrikumar et al. 2016, arXiv 1605.01713).

    Raises:
        Ws3Error: If the network has no layer of the stride that is asked for.
    """
    return _from_gradients(network, inputs, classes, options, torch.mul)


def _from_gradients(
    network: AttributionNetwork,
    inputs: Tensor,
    classes: Sequence[int],
    options: Options,
    values: Callable[[Tensor, Tensor], Tensor],
) -> Attribution:
    """Reduce `values(inputs, gradient)` for each class; `inputs` may be a layer's output."""
    strides, names = chosen_layers(options)
    if strides is None and not names:
        leaf = inputs.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        logits = network(leaf)
    else:
        (leaf,), logits = network.through_layers(inputs, strides, names)
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
