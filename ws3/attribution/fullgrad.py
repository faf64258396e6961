"""FullGrad: what the input and the biases of every layer contribute to a class's logit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ws3.attribution.channels import of_classes, rescaled
from ws3.attribution.interface import Attribution, Options
from ws3.attribution.network import AttributionNetwork
from ws3.errors import Ws3Error


def fullgrad(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """FullGrad (Srinivas and Fleuret 2019, arXiv 1905.00780).

    Absolute values of `full_gradient`, scaled to [0, 1], are enlarged to the input and added over
    all channels and layers. `rescale: layer` scales by the extremes of all channels of a layer, as
    the authors' program does; `channel` by each channel's own, as pytorch-grad-cam does. Both
    leave out biases behind the last features, which have no place.

    Raises:
        Ws3Error: If the network has attention.
    """
    if network.attends:
        raise Ws3Error(
            f"fullgrad adds what the biases of convolutions contribute, and {network.architecture} "
            "has attention, where contributions don't add up to the logit; use the method gradient "
            "or integrated_gradients"
        )
    leaf = inputs.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    with _affine_outputs(network.backbone) as affine:
        logits = network(leaf)
    axes = (1, 2, 3) if options.values.get("rescale", "layer") == "layer" else (2, 3)
    scores = []
    for position, index in enumerate(classes):
        last = position + 1 == len(classes)
        total = torch.zeros_like(leaf[:, :1])
        for part in full_gradient(logits[:, index], leaf, affine, retain_graph=not last):
            scaled = rescaled(part.abs(), axes).sum(dim=1, keepdim=True)
            total += nn.functional.interpolate(
                scaled, leaf.shape[2:], mode="bilinear", align_corners=False
            )
        scores.append(total[:, 0].float())
    probabilities = of_classes(logits.detach(), classes).float().sigmoid()
    return Attribution(torch.stack(scores), probabilities)


def full_gradient(
    logit: Tensor, leaf: Tensor, affine: Sequence[tuple[Tensor, Tensor]], *, retain_graph: bool
) -> Iterator[Tensor]:
    """Yield the input times its gradient, then each layer's bias times its output's gradient.

    In a network of ReLUs and max pooling, all of them add up to the logit, less the biases of the
    head.

    Args:
        logit: (B,), of one class.
        leaf: The input (B, 3, H, W).
        affine: Output (B, F, h, w) and bias (F,) of each layer.
        retain_graph: Whether there will be another backward pass.
    """
    outputs = [output for output, _ in affine]
    gradient, *gradients = torch.autograd.grad(
        logit.sum(), [leaf, *outputs], retain_graph=retain_graph
    )
    with torch.no_grad():
        yield leaf * gradient
        for (_, bias), of_output in zip(affine, gradients, strict=True):
            yield bias[None, :, None, None] * of_output


@contextmanager
def _affine_outputs(backbone: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect each convolution's and batch norm's output and bias while the backbone runs.

    A batch norm's bias is what it adds to its input times a factor, its mean included. Those that
    are folded into a convolution are part of the convolution's bias.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, given: object, output: Tensor) -> Tensor:
        bias = _bias(module)
        if bias is None:
            return output
        found.append((output, bias))
        return output.clone()  # what comes next may write over it

    with ExitStack() as hooks:
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                hooks.enter_context(module.register_forward_hook(note))
        yield found


def _bias(module: nn.Module) -> Tensor | None:
    if isinstance(module, nn.Conv2d):
        return module.bias
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return None
    if module.running_var is None:
        return None
    factor = (module.running_var + module.eps).rsqrt()
    factor = factor if module.weight is None else factor * module.weight
    shift = -module.running_mean * factor
    return shift if module.bias is None else shift + module.bias
