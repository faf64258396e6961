"""Methods that Captum implements, fed with batches of samples.

Each class of an image takes its own passes here. The baseline of all that need one is the mean
colour, which is 0 in the normalised input. Captum is imported on first use, since that takes long.
`Method` says what the methods get.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from ws3.attribution.channels import of_classes, reduce_channels
from ws3.attribution.interface import Attribution, Options
from ws3.attribution.network import AttributionNetwork
from ws3.errors import Ws3Error

# Captum knows rules for ReLU and max pooling only; it would pass over all of these silently. Gates
# of squeeze-and-excitation (Sigmoid, Hardsigmoid) multiply two signals, which has no rule either.
_NO_DIFFERENCE = 1e-10  # as in Captum's rule of ReLU
_NO_RULE = (nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Sigmoid, nn.SiLU)
# Nor does it see a function that is called without a module.
_UNSEEN = {"relu", "relu_", "relu6", "gelu", "hardswish", "max_pool2d", "sigmoid", "silu", "tanh"}


def guided_backprop(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Guided back-propagation (Springenberg et al. 2014, arXiv 1412.6806).

    For networks whose only nonlinearities are ReLU, ReLU6 and max pooling.

    Raises:
        Ws3Error: If the network has other nonlinearities.
    """
    from captum.attr import GuidedBackprop

    attribute = GuidedBackprop(rectified(network, _GuidedCap)).attribute
    return by_class(network, inputs, classes, options, lambda x, c: attribute(x, target=c))


def deeplift(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """DeepLIFT with the rescale rule, against the mean colour (Shrikumar 2017, arXiv 1704.02685).

    For networks whose only nonlinearities are ReLU, ReLU6 and max pooling. The contributions of a
    sample's pixels sum to the change of the logit.

    Raises:
        Ws3Error: If the network has other nonlinearities.
    """
    from captum.attr import DeepLift

    attribute = DeepLift(rectified(network, RescaledCap)).attribute
    return by_class(network, inputs, classes, options, lambda x, c: attribute(x, target=c))


def integrated_gradients(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Integrated gradients from the mean colour (Sundararajan et al. 2017, arXiv 1703.01365).

    Gauss-Legendre quadrature with as many points as the option `steps` says; each is one batch of
    the samples, so that memory doesn't grow with the steps and every batch has one shape.
    """
    from captum.attr import IntegratedGradients

    steps = options.values["steps"]
    attribute = IntegratedGradients(network).attribute
    return by_class(
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

    The options `window` and `stride` are shares of the input's sides. A pixel's value is the mean
    over the windows that hide it; source: arXiv 1311.2901. All three channels
    carry that value, so `max` and `mean` keep it, `sum` triples it.
    """
    from captum.attr import Occlusion

    values = options.values
    sides = inputs.shape[2:]
    window = [max(1, round(values["window"] * side)) for side in sides]
    # A stride above the window would leave pixels that are never hidden.
    strides = [
        min(shown, max(1, round(values["stride"] * side)))
        for shown, side in zip(window, sides, strict=True)
    ]
    attribute = Occlusion(network).attribute
    with torch.no_grad():
        return by_class(
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


def by_class(
    network: AttributionNetwork,
    inputs: Tensor,
    classes: Sequence[int],
    options: Options,
    attribute: Callable[[Tensor, int], Tensor],
) -> Attribution:
    """Return a method's scores, class by class.

    Args:
        network: The frozen classifier.
        inputs: Normalised, (B, 3, H, W).
        classes: Logit indices to explain.
        options: Say how channels become one number.
        attribute: From inputs and a logit's index to one value per value of the inputs.
    """
    leaf = inputs.detach().contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = network(leaf)
    scores = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting .*hooks")
        for index in classes:
            values = attribute(leaf.clone().requires_grad_(torch.is_grad_enabled()), index)
            scores.append(reduce_channels(values.detach(), options.reduction, options.sign))
    return Attribution(torch.stack(scores), of_classes(logits, classes).float().sigmoid())


class _GuidedCap(nn.Module):
    """ReLU6 with a ReLU module that Captum's guided back-propagation finds."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        return cast(Tensor, self.relu(inputs)).clamp(max=6)


class RescaledCap(nn.Module):
    """ReLU6 as two ReLU modules in a row, whose rescale factors multiply to ReLU6's own."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.ReLU()
        self.upper = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs, cut at 0 and 6."""
        return 6 - cast(Tensor, self.upper(6 - self.lower(inputs)))


class RescaledPool(nn.Module):
    """Max pooling with DeepLIFT's rule, for a batch whose second half are the baselines.

    Where a window's maximum rises from the baseline's, the change is due to the input's largest
    value; where it falls, to the baseline's. A value in several windows has the sum of its parts.
    Captum's own rule is lost after a ReLU, and gives such a value the part of one window only.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        # Not as a part of this module, or Captum would find it and apply its own rule, too.
        self.settings = {
            "kernel_size": pool.kernel_size,
            "stride": pool.stride,
            "padding": pool.padding,
            "dilation": pool.dilation,
            "ceil_mode": pool.ceil_mode,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the maxima (2 B, C, h, w) of the inputs (2 B, C, H, W)."""
        return cast(Tensor, _PoolRule.apply(inputs, self.settings))


class _PoolRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, settings: dict[str, Any]) -> Tensor:
        outputs, places = nn.functional.max_pool2d(inputs, **settings, return_indices=True)
        ctx.save_for_backward(inputs, outputs, places)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        inputs, outputs, places = ctx.saved_tensors
        # Both halves get the same multipliers, so that the first is enough.
        gradient = gradients[0].chunk(2)[0]
        difference = torch.sub(*inputs.chunk(2))
        output, baseline = outputs.chunk(2)
        place, baseline_place = places.chunk(2)

        def routed(part: Tensor, where: Tensor) -> Tensor:
            flat = torch.zeros_like(difference).flatten(2).contiguous()
            flat.scatter_add_(2, where.flatten(2), part.flatten(2))
            return flat.view(difference.shape)

        rise, fall = (output - baseline).clamp(min=0), (output - baseline).clamp(max=0)
        parts = routed(gradient * rise, place) + routed(gradient * fall, baseline_place)
        # Without a difference there is nothing to share out, and the rule's limit is the gradient.
        still = difference.abs() < _NO_DIFFERENCE
        multipliers = torch.where(
            still, routed(gradient, place), parts / difference.masked_fill(still, 1)
        )
        return torch.cat([multipliers, multipliers]), None


_rectified_copies: WeakKeyDictionary[AttributionNetwork, dict[type[nn.Module], nn.Module]] = (
    WeakKeyDictionary()
)


def rectified(network: AttributionNetwork, relu6: type[nn.Module]) -> nn.Module:
    """Return a copy whose every ReLU is a module of its own that works out of place.

    For DeepLIFT, which `RescaledCap` stands for, every max pooling has its own rule, too.

    Captum hooks modules, so one that a network uses twice, as torchvision's ResNet does, would see
    two signals as one; and it passes over ReLU6.

    Args:
        network: The frozen classifier; the copy is made once for each `relu6`.
        relu6: What stands in for every ReLU6.

    Raises:
        Ws3Error: If the network has nonlinearities for which there is no rule, or can't be traced.
    """
    copies = _rectified_copies.setdefault(network, {})
    if relu6 not in copies:
        copies[relu6] = _rectify(network, relu6)
    return copies[relu6]


def _rectify(network: AttributionNetwork, relu6: type[nn.Module]) -> nn.Module:
    whole = nn.Sequential(network.backbone, network.classifier_head)
    strange = sorted({type(m).__name__ for m in whole.modules() if isinstance(m, _NO_RULE)})
    if strange:
        raise Ws3Error(
            "guided_backprop, deeplift and lrp are defined for networks of ReLUs, but "
            f"{network.architecture} has {' and '.join(strange)}; use the method gradient or "
            "integrated_gradients"
        )
    try:
        graph = fx.symbolic_trace(copy.deepcopy(whole))
    except Exception as error:
        # Any kind, as the tracer runs the network's own code on stand-ins for tensors.
        raise Ws3Error(
            f"guided_backprop, deeplift and lrp need a network that torch.fx can trace, and "
            f"{network.architecture} is none ({error}); use the method gradient or "
            "integrated_gradients"
        ) from error
    called = {
        getattr(node.target, "__name__", str(node.target))
        for node in graph.graph.nodes
        if node.op in ("call_function", "call_method")
    }
    if called & _UNSEEN:
        raise Ws3Error(
            f"guided_backprop, deeplift and lrp see modules only, but {network.architecture} calls "
            f"{' and '.join(sorted(called & _UNSEEN))} as a function; make it a module, or use the "
            "method gradient or integrated_gradients"
        )
    modules = dict(graph.named_modules())
    for number, node in enumerate(list(graph.graph.nodes)):
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.ReLU | nn.ReLU6):
            name = f"rectifier_{number}"
            graph.add_submodule(name, nn.ReLU() if isinstance(module, nn.ReLU) else relu6())
            node.target = name
        if isinstance(module, nn.MaxPool2d) and relu6 is RescaledCap:
            name = f"pool_{number}"
            graph.add_submodule(name, RescaledPool(module))
            node.target = name
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval()
