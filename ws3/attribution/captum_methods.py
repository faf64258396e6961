"""Methods that Captum implements, fed with batches of samples.

Each class of an image takes its own passes here. The baseline of all that need one is the mean
colour, which is 0 in the normalised input. Captum is imported on first use, since that takes long.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from ws3.attribution import catalogue
from ws3.attribution.channels import reduce_channels
from ws3.attribution.interface import Attribution, Options
from ws3.attribution.network import AttributionNetwork
from ws3.errors import Ws3Error

# Captum knows rules for ReLU and max pooling only; it would pass over all of these silently. Gates
# of squeeze-and-excitation (Sigmoid, Hardsigmoid) multiply two signals, which has no rule either.
_NO_RULE = (nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Sigmoid, nn.SiLU)


def guided_backprop(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Guided back-propagation (Springenberg et al. 2014, arXiv 1412.6806).

    Args:
        network: The frozen classifier; its only nonlinearities are ReLU, ReLU6 and max pooling.
        inputs: Normalised inputs (B, 3, H, W).
        classes: Logit indices.
        options: Reduction and sign; no options of its own.

    Raises:
        Ws3Error: If the network has other nonlinearities.
    """
    from captum.attr import GuidedBackprop

    catalogue.resolve("guided_backprop", options.values)
    attribute = GuidedBackprop(_rectified("guided_backprop", network)).attribute
    return _by_class(network, inputs, classes, options, lambda x, c: attribute(x, target=c))


def deeplift(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """DeepLIFT with the rescale rule, against the mean colour (Shrikumar 2017, arXiv 1704.02685).

    Args:
        network: The frozen classifier; its only nonlinearities are ReLU, ReLU6 and max pooling.
        inputs: Normalised inputs (B, 3, H, W).
        classes: Logit indices.
        options: Reduction and sign; no options of its own.

    Raises:
        Ws3Error: If the network has other nonlinearities.
    """
    from captum.attr import DeepLift

    catalogue.resolve("deeplift", options.values)
    attribute = DeepLift(_rectified("deeplift", network)).attribute
    return _by_class(network, inputs, classes, options, lambda x, c: attribute(x, target=c))


def integrated_gradients(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Integrated gradients from the mean colour (Sundararajan et al. 2017, arXiv 1703.01365).

    Gauss-Legendre quadrature; each step is one batch of the samples, so that memory doesn't grow
    with the steps and every batch has one shape.

    Args:
        network: The frozen classifier.
        inputs: Normalised inputs (B, 3, H, W).
        classes: Logit indices.
        options: Reduction and sign; `steps`.
    """
    from captum.attr import IntegratedGradients

    steps = catalogue.resolve("integrated_gradients", options.values)["steps"]
    attribute = IntegratedGradients(network).attribute
    return _by_class(
        network,
        inputs,
        classes,
        options,
        lambda x, c: attribute(x, target=c, n_steps=steps, internal_batch_size=len(x)),
    )


def occlusion(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Fall of the logit under a moving window of the mean colour (Zeiler and Fergus 2014).

    A pixel's value is the mean over the windows that hide it; source: arXiv 1311.2901. All three
    channels carry that value, so `max` and `mean` keep it, `sum` triples it.

    Args:
        network: The frozen classifier.
        inputs: Normalised inputs (B, 3, H, W).
        classes: Logit indices.
        options: Reduction and sign; `window` and `stride`, as shares of the input's sides.
    """
    from captum.attr import Occlusion

    values = catalogue.resolve("occlusion", options.values)
    sides = inputs.shape[2:]
    window = [max(1, round(values["window"] * side)) for side in sides]
    # A stride above the window would leave pixels that are never hidden.
    strides = [
        min(shown, max(1, round(values["stride"] * side)))
        for shown, side in zip(window, sides, strict=True)
    ]
    attribute = Occlusion(network).attribute
    with torch.no_grad():
        return _by_class(
            network,
            inputs,
            classes,
            options,
            lambda x, c: attribute(
                x,
                target=c,
                sliding_window_shapes=(3, *window),
                strides=(3, *strides),
            ),
        )


def _by_class(
    network: AttributionNetwork,
    inputs: Tensor,
    classes: Sequence[int],
    options: Options,
    attribute: Callable[[Tensor, int], Tensor],
) -> Attribution:
    leaf = inputs.detach().contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = network(leaf)
    scores = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting .*hooks")
        for index in classes:
            values = attribute(leaf.clone().requires_grad_(torch.is_grad_enabled()), index)
            scores.append(reduce_channels(values.detach(), options.reduction, options.sign))
    return Attribution(torch.stack(scores), logits[:, list(classes)].float().sigmoid())


class _GuidedCap(nn.Module):
    """ReLU6 with a ReLU module that Captum's guided back-propagation finds."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        return cast(Tensor, self.relu(inputs)).clamp(max=6)


class _RescaledCap(nn.Module):
    """ReLU6 as two ReLU modules in a row, whose rescale factors multiply to ReLU6's own."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.ReLU()
        self.upper = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        return 6 - cast(Tensor, self.upper(6 - self.lower(inputs)))


_CAPS: dict[str, type[nn.Module]] = {"guided_backprop": _GuidedCap, "deeplift": _RescaledCap}
_rectified_copies: WeakKeyDictionary[AttributionNetwork, dict[str, nn.Module]] = WeakKeyDictionary()


def _rectified(method: str, network: AttributionNetwork) -> nn.Module:
    """Return a copy whose every ReLU is a module of its own that works out of place.

    Captum hooks modules, so one that a network uses twice, as torchvision's ResNet does, would see
    two signals as one; and it passes over ReLU6.
    """
    copies = _rectified_copies.setdefault(network, {})
    if method not in copies:
        copies[method] = _rectify(method, network)
    return copies[method]


def _rectify(method: str, network: AttributionNetwork) -> nn.Module:
    whole = nn.Sequential(network.trunk, network.tail)
    strange = sorted({type(m).__name__ for m in whole.modules() if isinstance(m, _NO_RULE)})
    if strange:
        raise Ws3Error(
            f"the method {method} is defined for networks of ReLUs, but {network.architecture} has "
            f"{' and '.join(strange)}; use the method gradient or integrated_gradients"
        )
    graph = fx.symbolic_trace(copy.deepcopy(whole))
    modules = dict(graph.named_modules())
    for number, node in enumerate(list(graph.graph.nodes)):
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.ReLU | nn.ReLU6):
            name = f"rectifier_{number}"
            graph.add_submodule(name, nn.ReLU() if isinstance(module, nn.ReLU) else _CAPS[method]())
            node.target = name
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval()
