"""What `precision: auto` means for a recipe, a network and a machine."""

from __future__ import annotations

import torch
from torch import nn

from ws3.config.recipes import Precision, Recipe
from ws3.torch_setup import multiplies_bf16


def automatic_precision(
    recipe: Recipe, backbone: nn.Module, device: torch.device | str
) -> Precision:
    """Return bf16 where that was measured to be faster and to leave the maps as they are.

    Three things must hold. Each image is an average over twelve or more random samples: bf16 moves
    a single gradient by 0.3 in relative L2, and an average over crops by 0.02 to 0.05. The network
    has no grouped convolutions: bf16 made `contrast_crops` 4.0 times as fast with ResNet-50 and 3.5
    times with ResNet-18, but slower (0.9) with MobileNetV2, whose depthwise convolutions gain
    nothing. And the CPU has instructions for such products; GPUs were not measured.

    Args:
        recipe: The recipe.
        backbone: From the input to the last spatial features.
        device: Where to compute.

    Example:
        >>> from ws3.config.load import resolve_recipe
        >>> depthwise = nn.Conv2d(8, 8, 3, groups=8)
        >>> automatic_precision(resolve_recipe("contrast_crops"), depthwise, "cpu")
        'fp32'
    """
    grouped = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in backbone.modules())
    on_cpu = torch.device(device).type == "cpu"
    return "bf16" if recipe.averages and not grouped and on_cpu and multiplies_bf16() else "fp32"


__all__ = ["automatic_precision"]
