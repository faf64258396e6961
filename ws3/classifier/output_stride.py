"""The output stride of a network, made smaller without a change of its weights.

Where the last stages keep their resolution, the layers behind each stride that is taken away are
dilated (Chen et al. 2017, "Rethinking atrous convolution", arXiv 1706.05587). So every second pixel
of the features at half the stride is a pixel of the original's, exactly, for inputs whose sides are
multiples of 32; those between are new.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from ws3.errors import Ws3Error

_SIDE = 224  # pixels: divisible by the networks' stride

_EXACT = (
    models.ConvNeXt,
    models.EfficientNet,
    models.MNASNet,
    models.MobileNetV2,
    models.MobileNetV3,
    models.RegNet,
    models.ResNet,
    models.ShuffleNetV2,
    models.VGG,
)
"""Networks whose spatial layers are all convolutions, max poolings and squeeze-and-excitation."""


class GridPool(nn.AdaptiveAvgPool2d):
    """Global average pooling over the pixels that the network had at its own stride.

    Squeeze-and-excitation then weighs channels as it was trained to.
    """

    def __init__(self, step: int) -> None:
        """Take every `step`-th row and column."""
        super().__init__(1)
        self.step = step

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the means (B, F, 1, 1) of features (B, F, h, w)."""
        return super().forward(inputs[:, :, :: self.step, :: self.step])


class TrailingConv2d(nn.Conv2d):
    """A convolution with zeros to the right and below, for kernels of an even size.

    Without them, a kernel of 2 x 2 that moves by one pixel would take a row and a column away.
    """

    trailing: int = 0

    @classmethod
    def of(cls, convolution: nn.Conv2d, trailing: int) -> TrailingConv2d:
        """Return a convolution with the parameters of another, which are shared."""
        made = cls.__new__(cls)
        vars(made).update(vars(convolution))
        made.trailing = trailing
        return made

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the convolved inputs (B, F, h, w)."""
        padding = (0, self.trailing, 0, self.trailing)
        return super().forward(functional.pad(inputs, padding))


def reduce_output_stride(
    backbone: nn.Module, network: nn.Module, output_stride: int, name: str
) -> None:
    """Let the last features of a network have a smaller stride, in place; weights are kept.

    Args:
        backbone: From the image to the last spatial features: the network's, or a copy of it.
        network: The whole network, which tells whether this can be done.
        output_stride: Pixels of the input per pixel of the features, per side: 8, 16 or 32.
        name: What messages call the network.

    Raises:
        Ws3Error: If it can't be done exactly, or the network's stride is smaller already.

    Example:
        >>> network = models.resnet18(weights=None)
        >>> backbone = nn.Sequential(*list(network.children())[:-2])
        >>> reduce_output_stride(backbone, network, 8, "resnet18")
        >>> backbone(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 512, 8, 8])
    """
    if not isinstance(network, _EXACT):
        able = ", ".join(kind.__name__ for kind in _EXACT)
        raise Ws3Error(
            f"output_stride: {name} can't keep the resolution of its last layers with the same "
            f"weights; leave it out, or choose a network of one of these families: {able}"
        )
    sides, own = _sides(backbone)
    if output_stride > own:
        raise Ws3Error(
            f"output_stride: {name} has features of stride {own} already, and can't have a larger "
            f"one of {output_stride}; choose {own} or less"
        )
    if output_stride == own:
        return
    for parent in list(backbone.modules()):
        for key, child in list(parent.named_children()):
            if child in sides:
                coming, going = (_stride(side) for side in sides.pop(child))
                setattr(parent, key, _dilated(child, coming, going, output_stride))


def _dilated(layer: nn.Module, coming: int, going: int, output_stride: int) -> nn.Module:
    """Return a layer, changed, whose input and output had some strides, for a smaller one."""
    factor = coming // min(coming, output_stride)
    if isinstance(layer, GridPool):
        layer.step *= factor
    elif isinstance(layer, nn.AdaptiveAvgPool2d):
        return GridPool(factor) if factor > 1 else layer
    elif isinstance(layer, nn.ConstantPad2d):
        left, right, top, bottom = (factor * width for width in layer.padding)
        layer.padding = left, right, top, bottom
    elif isinstance(layer, nn.Conv2d | nn.MaxPool2d):
        return _dilated_window(layer, factor, coming, going, output_stride)
    return layer


def _dilated_window(
    layer: nn.Conv2d | nn.MaxPool2d, factor: int, coming: int, going: int, output_stride: int
) -> nn.Module:
    moving: Any = layer  # the two kinds write numbers in different ways
    (kernel, _), (stride, _) = _pair(moving.kernel_size), _pair(moving.stride)
    (padding, _), (dilation, _) = _pair(moving.padding), _pair(moving.dilation)
    if kernel == stride == 1:
        return layer
    kept = min(going, output_stride) // min(coming, output_stride) if stride > 1 else 1
    moving.stride = (kept, kept)
    moving.dilation = (dilation * factor,) * 2
    moving.padding = (padding * factor,) * 2
    if isinstance(layer, TrailingConv2d):
        layer.trailing *= factor
    # How much smaller than its input the output would be, now that each pixel has its own window.
    missing = factor * (dilation * (kernel - 1) - 2 * padding)
    if kept == stride or missing <= 0:
        return layer
    if isinstance(layer, nn.Conv2d):
        return TrailingConv2d.of(layer, missing)
    return nn.Sequential(nn.ConstantPad2d((0, missing, 0, missing), -math.inf), layer)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _stride(side: int) -> int:
    """Return the stride of a map's side in pixels; padding may have made it a little larger."""
    return 1 << round(math.log2(_SIDE / side))


def _sides(backbone: nn.Module) -> tuple[dict[nn.Module, tuple[int, int]], int]:
    """Return the sides of each layer's input and output, in pixels, and the features' stride."""
    # On the meta device tensors have a shape and no values: nothing is computed.
    shadow = copy.deepcopy(backbone).to("meta", torch.float32).eval()
    named = dict(backbone.named_modules())
    found: dict[nn.Module, tuple[int, int]] = {}

    def note(name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        found[named[name]] = given[0].shape[2], output.shape[2]

    for name, module in shadow.named_modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.ConstantPad2d):
            hook: Callable[..., None] = partial(note, name)
            module.register_forward_hook(hook)
    with torch.no_grad():
        features = shadow(torch.empty(1, 3, _SIDE, _SIDE, device="meta"))
    return found, _stride(features.shape[2])
