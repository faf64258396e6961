"""Torchvision's classification networks with a multi-label head, and where to take them apart.

Every supported network is a *trunk*, which ends in the last spatial feature map, and a *tail*,
which pools it and classifies. Where the tail is exactly global average pooling and one linear
layer, the class activation map (CAM) is exact.
"""

from __future__ import annotations

import copy
import difflib
from contextlib import suppress
from dataclasses import dataclass
from typing import get_type_hints

from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError
from torchvision import models

from ws3.errors import Ws3Error

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class _Family:
    """How the networks of one torchvision class are put together."""

    trunk: tuple[str, ...]  # children that lead to the last spatial features, in order
    head: str  # child that ends in the linear layer of the logits
    relu_after_trunk: bool = False
    flat: bool = True  # whether the head takes flattened features


_FAMILIES: dict[type[nn.Module], _Family] = {
    models.AlexNet: _Family(("features",), "classifier"),
    models.ConvNeXt: _Family(("features",), "classifier", flat=False),
    models.DenseNet: _Family(("features",), "classifier", relu_after_trunk=True),
    models.EfficientNet: _Family(("features",), "classifier"),
    models.MNASNet: _Family(("layers",), "classifier"),
    models.MobileNetV2: _Family(("features",), "classifier"),
    models.MobileNetV3: _Family(("features",), "classifier"),
    models.RegNet: _Family(("stem", "trunk_output"), "fc"),
    models.ResNet: _Family(
        ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"), "fc"
    ),
    models.ShuffleNetV2: _Family(("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"), "fc"),
    models.SwinTransformer: _Family(("features", "norm", "permute"), "head"),
    models.VGG: _Family(("features",), "classifier"),
}


def build(architecture: str, classes: int) -> nn.Module:
    """Return an untrained torchvision network whose last layer gives `classes` logits.

    VGG and AlexNet get global average pooling and one linear layer in place of torchvision's three
    fully connected ones, as is common for CAM (Zhou et al. 2016): their CAM is exact, and any input
    size will do. All other networks keep torchvision's structure and parameter names.

    Args:
        architecture: Torchvision's name of a classification network, such as `resnet50`.
        classes: Number of classes, at least 1.

    Raises:
        Ws3Error: If the name is unknown, or the network isn't supported.
    """
    family = family_of(architecture)
    if family is None:
        names = ", ".join(sorted(kind.__name__ for kind in _FAMILIES))
        raise Ws3Error(
            f"classifier.architecture: {architecture} is not supported, as it doesn't end in one "
            f"spatial feature map that is pooled and classified; choose a network of one of "
            f"these families: {names}"
        )
    network: nn.Module = models.get_model(architecture, weights=None)
    head = head_name(network)
    old = network.get_submodule(head)
    if family in (models.VGG, models.AlexNet):
        convolutions = [m for m in trunk(network).modules() if isinstance(m, nn.Conv2d)]
        network.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
        network.add_module(head, nn.Linear(convolutions[-1].out_channels, classes))
    elif isinstance(old, nn.Sequential):
        old[-1] = nn.Linear(logits_layer(network).in_features, classes)
    else:
        network.add_module(head, nn.Linear(logits_layer(network).in_features, classes))
    return network


def family_of(architecture: str) -> type[nn.Module] | None:
    """Return the torchvision class of a supported network, or None if it isn't supported.

    Raises:
        Ws3Error: If torchvision has no classification network of that name.
    """
    known = models.list_models(module=models)
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise Ws3Error(
            f"classifier.architecture: torchvision has no classification network "
            f"{architecture!r}{hint}"
        )
    kind: type[nn.Module] = get_type_hints(models.get_model_builder(architecture))["return"]
    return kind if kind in _FAMILIES else None


def head_name(network: nn.Module) -> str:
    """Return the name of the child that holds the classification layers."""
    return _family(network).head


def logits_layer(network: nn.Module) -> nn.Linear:
    """Return the linear layer that gives the logits."""
    head = network.get_submodule(head_name(network))
    last = head[-1] if isinstance(head, nn.Sequential) else head
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the head of {type(network).__name__} doesn't end in a linear layer")
    return last


def trunk(network: nn.Module) -> nn.Sequential:
    """Return the part from the image (B, 3, H, W) to the last spatial features (B, F, h, w).

    This is what CAM weights and what Grad-CAM targets. The modules are shared with the network.
    """
    family = _family(network)
    part = nn.Sequential()
    for name in family.trunk:
        part.add_module(name, network.get_submodule(name))
    if family.relu_after_trunk:
        part.add_module("relu", nn.ReLU())
    return part


def tail(network: nn.Module) -> nn.Sequential:
    """Return the part from the last spatial features (B, F, h, w) to the logits (B, classes).

    The modules are shared with the network.
    """
    family = _family(network)
    part = nn.Sequential()
    part.add_module("pool", nn.AdaptiveAvgPool2d(1))
    if family.flat:
        part.add_module("flatten", nn.Flatten(1))
    part.add_module(family.head, network.get_submodule(family.head))
    return part


def linear_head(network: nn.Module) -> nn.Linear | None:
    """Return the last layer if the tail is only average pooling, dropout and it; else None.

    Where it is not None, the logits are the average of the class activation maps plus a bias.
    """
    if not _family(network).flat:
        return None
    head = network.get_submodule(head_name(network))
    before = list(head)[:-1] if isinstance(head, nn.Sequential) else []
    return logits_layer(network) if all(isinstance(m, nn.Dropout) for m in before) else None


def backbone_and_head_parameters(
    network: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of all but the last layer, and those of the last layer."""
    head = list(logits_layer(network).parameters())
    ids = {id(parameter) for parameter in head}
    return [p for p in network.parameters() if id(p) not in ids], head


def normalisation(
    architecture: str,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the RGB mean and standard deviation of torchvision's weights of that network.

    They are for RGB in [0, 1]; networks for which torchvision has no weights get ImageNet's.
    """
    try:
        weights = models.get_model_weights(architecture)["DEFAULT"]
    except KeyError:
        return IMAGENET_MEAN, IMAGENET_STD
    preset = weights.transforms()
    return tuple(preset.mean), tuple(preset.std)


def folded(part: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode with batch norms folded into the convolutions before them.

    A part that torch.fx can't trace is copied as it is.
    """
    duplicate = copy.deepcopy(part).eval()
    with suppress(TraceError):
        duplicate = fuse(duplicate)
    return duplicate


def _family(network: nn.Module) -> _Family:
    return _FAMILIES[type(network)]
