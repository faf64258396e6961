"""ReLUs with the derivative of a smooth function.

A ReLU's derivative is a step: whether a unit passes the gradient on hangs on the last bit of its
input, which is much of the noise in an input gradient. With the derivative of softplus instead, one
backward pass shows what SmoothGrad needs many for.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from ws3.errors import Ws3Error

_SMOOTH = {
    *("ELU", "CELU", "GELU", "GELUTanh", "QuickGELU", "Mish", "Softplus", "Tanh"),
    *("SiLU", "Swish", "SwiGLU", "SwiGLUPacked", "GluMlp"),
}
"""Activations, torch's and timm's, whose derivative is continuous."""

_log = logging.getLogger(__name__)


class SmoothReLU(nn.Module):
    """ReLU or ReLU6 in the forward pass; in the backward pass, softplus of a given sharpness.

    Dombrowski et al. (2019, arXiv 1906.07983) put softplus in both passes. Here the forward pass
    stays exact, so that the logits, and what is explained, are the network's own.
    """

    def __init__(self, maximum: float, sharpness: float) -> None:
        """Make a rectifier.

        Args:
            maximum: Where the output stops growing: 6 for ReLU6, infinity for ReLU.
            sharpness: Beta of softplus(x) = log(1 + exp(beta x)) / beta.
        """
        super().__init__()
        self.maximum = maximum
        self.sharpness = sharpness

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs, cut at 0 and at the maximum."""
        result: Tensor = _Rectify.apply(inputs, self.maximum, self.sharpness)
        return result


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, maximum: float, sharpness: float) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.maximum, ctx.sharpness = maximum, sharpness
        return inputs.clamp(0, maximum)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inputs,) = ctx.saved_tensors
        result = torch.empty_like(inputs)
        # Sample by sample and in place: what is in between then stays in the processor's cache. A
        # GPU would wait for a thousand small kernels.
        whole = [(inputs, gradients[0], result)]
        parts = whole if inputs.is_cuda else zip(inputs, gradients[0], result, strict=True)
        for values, gradient, out in parts:
            torch.mul(values, ctx.sharpness, out=out).sigmoid_()
            if ctx.maximum < float("inf"):
                out -= values.sub(ctx.maximum).mul_(ctx.sharpness).sigmoid_()
            out *= gradient
        return result, None, None


def with_smooth_relu(network: nn.Module, sharpness: float, architecture: str) -> nn.Module:
    """Replace every ReLU of a network by a `SmoothReLU`, in place.

    A network of smooth activations only needs none, and is left alone, with a line in the log.

    Raises:
        Ws3Error: If the network has neither.
    """
    found = 0
    smooth = {type(part).__name__ for part in network.modules()} & _SMOOTH
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU | nn.ReLU6):
                maximum = 6.0 if isinstance(child, nn.ReLU6) else float("inf")
                setattr(parent, name, SmoothReLU(maximum, sharpness))
                found += 1
    if not found and smooth:
        _log.info(
            "smooth_relu changes nothing for %s, which has no ReLU: its %s is smooth already",
            architecture,
            " and ".join(sorted(smooth)),
        )
    elif not found:
        raise Ws3Error(
            f"smooth_relu is for networks of ReLUs, and {architecture} has none; leave it out"
        )
    return network
