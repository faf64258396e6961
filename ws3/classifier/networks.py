"""Classifiers by name: torchvision's networks, taken apart, and those that other packages add.

Every torchvision network that is supported is a *backbone*, which ends in the last spatial feature
map, and a *head*, which pools it and classifies. Where the head is exactly global average pooling
and one linear layer, the class activation map (CAM) is exact.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from torch import Tensor, nn
from torchvision import models
from torchvision.models.googlenet import BasicConv2d as OfGoogLeNet
from torchvision.models.inception import BasicConv2d as OfInception

from ws3.classifier.tokens import Assembled, Fit, TorchvisionTokenHead, TorchvisionTokens
from ws3.errors import Ws3Error
from ws3.messages import shown
from ws3.pixels import IMAGENET_MEAN, IMAGENET_STD, RGB
from ws3.registry import Registry

CLASSIFIERS: Registry[Callable[[Sequence[str]], Any]] = Registry(
    "classifier", "ws3.classifiers", {}
)
"""The networks that installed packages add to torchvision's.

An entry point of the group `ws3.classifiers` is a function from class names to an untrained
`ws3.Classifier`. See docs/extending/classifier.md.
"""


@dataclass(frozen=True, slots=True)
class _Family:
    """How the networks of one torchvision class are put together."""

    backbone: tuple[str, ...]  # children that lead to the last spatial features, in order
    head: str  # child that ends in the linear layer of the logits
    relu_after_backbone: bool = False
    flat: bool = True  # whether the head takes flattened features
    dropout: str | None = None  # child between the pooling and the head
    least: int = 1  # side in pixels of the smallest input
    auxiliary: tuple[str, ...] = ()  # children that only ImageNet's training has


_FAMILIES: dict[type[nn.Module], _Family] = {
    models.AlexNet: _Family(("features",), "classifier"),
    models.ConvNeXt: _Family(("features",), "classifier", flat=False),
    models.DenseNet: _Family(("features",), "classifier", relu_after_backbone=True),
    models.EfficientNet: _Family(("features",), "classifier"),
    models.GoogLeNet: _Family(
        (
            *("conv1", "maxpool1", "conv2", "conv3", "maxpool2"),
            *("inception3a", "inception3b", "maxpool3"),
            *(f"inception4{letter}" for letter in "abcde"),
            *("maxpool4", "inception5a", "inception5b"),
        ),
        "fc",
        dropout="dropout",
        auxiliary=("aux1", "aux2"),
    ),
    models.Inception3: _Family(
        (
            *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
            *("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
            *(f"Mixed_5{letter}" for letter in "bcd"),
            *(f"Mixed_6{letter}" for letter in "abcde"),
            *(f"Mixed_7{letter}" for letter in "abc"),
        ),
        "fc",
        dropout="dropout",
        least=75,
        auxiliary=("AuxLogits",),
    ),
    models.MaxVit: _Family(("stem", "blocks"), "classifier", flat=False),
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
    models.VisionTransformer: _Family((), "heads"),
}

_CENTRED: RGB = (0.5, 0.5, 0.5)
"""Mean and deviation of what GoogLeNet and Inception see.

torchvision's weights of the two expect ImageNet's mean and deviation, which the network turns into
these; here it is done at once.
"""

_MAXVIT_STEP = 224  # pixels: windows of 7 at a stride of 32


def build(architecture: str, classes: int, input_size: int = 224) -> nn.Module:
    """Return an untrained torchvision network whose last layer gives `classes` logits.

    VGG and AlexNet get global average pooling and one linear layer in place of torchvision's three
    fully connected ones, as is common for CAM (Zhou et al. 2016): their CAM is exact, and any input
    size will do. GoogLeNet and Inception come without their auxiliary heads. All other networks
    keep torchvision's structure and parameter names.

    Args:
        architecture: Torchvision's name of a classification network, such as `resnet50`.
        classes: Number of classes, at least 1.
        input_size: Side in pixels of the input. MaxViT is made for it (or for the nearest multiple
            of 224), the others take any size.

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
    more: dict[str, Any] = {}
    if _FAMILIES[family].auxiliary:
        more = {"aux_logits": False, "init_weights": False, "transform_input": False}
    if family is models.MaxVit:
        more = {"input_size": (Fit(_MAXVIT_STEP).side(input_size),) * 2}
    network: nn.Module = models.get_model(architecture, weights=None, **more)
    head = _family(network).head
    old = network.get_submodule(head)
    if family in (models.VGG, models.AlexNet):
        convolutions = [m for m in backbone(network).modules() if isinstance(m, nn.Conv2d)]
        network.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
        network.add_module(head, nn.Linear(convolutions[-1].out_channels, classes))
    elif isinstance(old, nn.Sequential):
        old[-1] = nn.Linear(_in_features(old[-1]), classes)
    else:
        network.add_module(head, nn.Linear(_in_features(old), classes))
    return network


def family_of(architecture: str) -> type[nn.Module] | None:
    """Return the torchvision class of a supported network, or None if it isn't supported.

    Raises:
        Ws3Error: If torchvision has no classification network of that name.
    """
    known = models.list_models(module=models)
    if architecture not in known:
        close = difflib.get_close_matches(architecture, [*known, *CLASSIFIERS], n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        added = ", ".join(CLASSIFIERS) or "none"
        raise Ws3Error(
            f"classifier.architecture: torchvision has no classification network "
            f"{shown(architecture)}{hint} (installed packages add: {added})"
        )
    kind: type[nn.Module] = get_type_hints(models.get_model_builder(architecture))["return"]
    return kind if kind in _FAMILIES else None


def taken_apart(network: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return a network's backbone, its head, and the whole, which takes images of any size.

    Modules are shared. ReLUs that GoogLeNet and Inception call as functions become modules of the
    network, which compute the same.

    Raises:
        Ws3Error: If it is not one of torchvision's supported networks.
    """
    family = _family(network)
    if family.auxiliary:
        _with_rectifiers(network)
    parts = backbone(network), classifier_head(network)
    sized = isinstance(network, models.MaxVit | models.VisionTransformer)
    whole = Assembled(network, *parts) if sized or family.auxiliary else network
    return *parts, whole


def backbone(network: nn.Module) -> nn.Module:
    """Return the part from the image (B, 3, H, W) to the last spatial features (B, F, h, w).

    This is what CAM weights and what Grad-CAM targets; of a vision transformer, the features come
    with the class token (`ws3.classifier.tokens.TokenMap`). The modules are shared with the
    network.

    Raises:
        Ws3Error: If it is not one of torchvision's supported networks.
    """
    family = _family(network)
    if isinstance(network, models.VisionTransformer):
        return TorchvisionTokens(network)
    part = nn.Sequential()
    if isinstance(network, models.MaxVit):
        first: Any = network.blocks[0]
        part.add_module("fit", Fit(1, fixed=4 * first.grid_size[0]))
    if family.least > 1:
        part.add_module("fit", Fit(1, family.least))
    for name in family.backbone:
        child = network.get_submodule(name)
        part.add_module(name, nn.Sequential(*child) if isinstance(child, nn.ModuleList) else child)
    if family.relu_after_backbone:
        part.add_module("relu", nn.ReLU())
    return part


def classifier_head(network: nn.Module) -> nn.Module:
    """Return the part from the last spatial features (B, F, h, w) to the logits (B, classes).

    The modules are shared with the network.

    Raises:
        Ws3Error: If it is not one of torchvision's supported networks.
    """
    family = _family(network)
    if isinstance(network, models.VisionTransformer):
        return TorchvisionTokenHead(network.heads)
    part = nn.Sequential()
    part.add_module("pool", nn.AdaptiveAvgPool2d(1))
    if family.flat:
        part.add_module("flatten", nn.Flatten(1))
    if family.dropout is not None:
        part.add_module(family.dropout, network.get_submodule(family.dropout))
    part.add_module(family.head, network.get_submodule(family.head))
    return part


def normalisation(architecture: str) -> tuple[RGB, RGB]:
    """Return the RGB mean and standard deviation of torchvision's weights of that network.

    They are for RGB in [0, 1]; networks for which torchvision has no weights get ImageNet's.
    """
    family = family_of(architecture)
    if family is not None and _FAMILIES[family].auxiliary:
        return normalised_as(family)
    try:
        weights = models.get_model_weights(architecture)["DEFAULT"]
    except KeyError:
        return IMAGENET_MEAN, IMAGENET_STD
    preset = weights.transforms()
    return tuple(preset.mean), tuple(preset.std)


def normalised_as(family: type[nn.Module]) -> tuple[RGB, RGB]:
    """Return the RGB mean and standard deviation of most of torchvision's weights of a family."""
    if family in _FAMILIES and _FAMILIES[family].auxiliary:
        return _CENTRED, _CENTRED
    return IMAGENET_MEAN, IMAGENET_STD


def auxiliary(network: nn.Module) -> tuple[str, ...]:
    """Return what the names of tensors begin with that a network needs in ImageNet's training only.

    Example:
        >>> auxiliary(nn.Identity())
        ()
    """
    kind = network.kind if isinstance(network, Assembled) else type(network)
    family = _FAMILIES.get(kind)
    return tuple(f"{name}." for name in family.auxiliary) if family else ()


class _Rectified(nn.Module):
    """GoogLeNet's and Inception's convolution with a batch norm, its ReLU a module."""

    def __init__(self, conv: nn.Module, bn: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv, bn, nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        rectified: Tensor = self.relu(self.bn(self.conv(inputs)))
        return rectified


def _with_rectifiers(network: nn.Module) -> None:
    """Replace a network's convolutions with functional ReLUs by `_Rectified`, in place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, OfGoogLeNet | OfInception):
                setattr(parent, name, _Rectified(child.conv, child.bn))


def _in_features(layer: nn.Module) -> int:
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"the head ends in {type(layer).__name__}, not in a linear layer")
    return layer.in_features


def _family(network: nn.Module) -> _Family:
    family = _FAMILIES.get(type(network))
    if family is None:
        raise Ws3Error(
            f"{type(network).__name__} is none of the torchvision networks that ws3 takes apart; "
            "give its parts: ws3.Classifier(backbone=..., head=..., classes=...)"
        )
    return family
