"""Networks of timm (pytorch-image-models), taken apart as torchvision's are.

timm is optional: `pip install 'ws3-seg[timm]'`. It is imported when a configuration or a checkpoint
names one of its networks, `timm:NAME`, and not before.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from ws3.classifier.model import Classifier, LayerTracer
from ws3.config.classifier import TIMM
from ws3.errors import Ws3Error
from ws3.messages import reason, shown

# Odd sides, as a recipe's samples and whole photographs have any: a network that adds maps of
# several strides, or cuts them into windows, fails on them if it can't do that for all sizes.
_TRIAL = (1, 3, 70, 97)

# Names of the package efficientnet_lite_pytorch, and timm's: in a block that doesn't expand its
# channels, in the others, and outside.
_NARROW = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def build_timm(architecture: str, classes: Sequence[str], input_size: int) -> Classifier:
    """Return an untrained classifier with a network of timm's.

    The backbone is the network's `forward_features`, the head its `forward_head`; where the latter
    is exactly average pooling and one linear layer, that is what the head consists of, and CAM is
    exact. Mean and standard deviation are those of timm's weights of that network. timm's
    parameter names are kept.

    Args:
        architecture: `timm:` and timm's name of a network, possibly with the tag of its weights:
            `timm:resnet18` or `timm:resnet18.a1_in1k`.
        classes: Class names.
        input_size: Side in pixels of the network's input.

    Raises:
        Ws3Error: If timm isn't installed, has no such network, or the network has no last spatial
            features for images of any size.

    Example:
        >>> build_timm("timm:resnet18", ("cat", "dog"), 224).head  # doctest: +SKIP
        Sequential(
          (pool): AdaptiveAvgPool2d(output_size=1)
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (classifier): Linear(in_features=512, out_features=2, bias=True)
        )
    """
    timm = _timm(architecture)
    name = _known(timm, architecture)
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=len(classes))
    except Exception as error:
        # Any kind, as every network of timm's has code of its own.
        raise Ws3Error(
            f"classifier.architecture: timm can't build {architecture} for {len(classes)} classes "
            f"({reason(error)}); choose another network"
        ) from error
    backbone, head = _parts(network, architecture)
    settings: Mapping[str, Any] = timm.data.resolve_model_data_config(network)
    return Classifier(
        backbone,
        head,
        tuple(classes),
        tuple(settings["mean"]),
        tuple(settings["std"]),
        input_size,
        architecture,
        network,
    )


def timm_weights(architecture: str) -> dict[str, Tensor]:
    """Return the state dict of timm's own weights, which timm downloads if it has to.

    Raises:
        Ws3Error: If timm isn't installed, has no such network or weights, or can't download them.
    """
    timm = _timm(architecture)
    name = _known(timm, architecture)
    try:
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        # Any kind, as the download goes through libraries of timm's own choice.
        raise Ws3Error(
            f"classifier.weights: timm's ImageNet weights of {architecture} can't be had "
            f"({reason(error)}); give the path of a state-dict file instead"
        ) from error
    return state


def of_efficientnet_lite(state: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return a state dict of EfficientNet-Lite with timm's names.

    The package `efficientnet_lite_pytorch`, and those of its weights, begin all names with an
    underscore and number the blocks through, where timm numbers them within stages.

    Args:
        state: Tensors by name, of that package or of any other; others are left as they are.
        own: The names in timm's network, from which the stages follow.

    Example:
        >>> own = ["blocks.0.0.conv_pw.weight", "blocks.1.0.conv_pwl.weight"]
        >>> list(of_efficientnet_lite({"_conv_stem.weight": 0, "_blocks.1._bn0.bias": 0}, own))
        ['conv_stem.weight', 'blocks.1.0.bn1.bias']
    """
    if "_conv_stem.weight" not in state:
        return dict(state)
    found = (re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in own)
    blocks = sorted({(int(match[1]), int(match[2])) for match in found if match})
    expanding = {name.rpartition(".conv_pwl.")[0] for name in own}
    names = dict[str, str]()
    for number, (stage, index) in enumerate(blocks):
        place = f"blocks.{stage}.{index}"
        for theirs, ours in (_EXPANDING if place in expanding else _NARROW).items():
            names[f"_blocks.{number}.{theirs}"] = f"{place}.{ours}"
    names |= _OUTSIDE
    renamed = dict[str, Tensor]()
    for name, value in state.items():
        module, _, tensor = name.rpartition(".")
        renamed[f"{names.get(module, module)}.{tensor}"] = value
    return renamed


def _timm(architecture: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise Ws3Error(
            f"classifier.architecture: {architecture} is a network of timm's, which can't be "
            f"imported ({reason(error)}); install it with: pip install 'ws3-seg[timm]'"
        ) from error
    module: ModuleType = timm
    return module


def _known(timm: ModuleType, architecture: str) -> str:
    """Return timm's name of a network that timm has.

    Raises:
        Ws3Error: If it has none of that name. Anything else that timm's factory would take, such
            as the address of weights elsewhere, is no name.
    """
    name = architecture.removeprefix(TIMM)
    base, _, tag = name.partition(".")
    known = timm.list_models()
    if base not in known:
        close = [f"{TIMM}{one}" for one in difflib.get_close_matches(base, known, n=3)]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise Ws3Error(
            f"classifier.architecture: timm {timm.__version__} has no network {shown(base)}{hint}"
        )
    if tag and name not in timm.list_pretrained(f"{base}.*"):
        tags = ", ".join(timm.list_pretrained(f"{base}.*")) or "none"
        raise Ws3Error(
            f"classifier.architecture: timm {timm.__version__} has no weights {shown(name)}; it "
            f"has: {tags}"
        )
    return name


class _Part(nn.Module):
    """A method of a network, with those of the network's children that it needs."""

    def __init__(self, network: nn.Module, method: str, children: Collection[str]) -> None:
        super().__init__()
        self.method = method
        self.part = copy.copy(network)
        self.part.__dict__["_modules"] = {
            name: child for name, child in network.named_children() if name in children
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Call the method."""
        result: Tensor = getattr(self.part, self.method)(inputs)
        return result

    def folded(self) -> nn.Module:
        """Return a copy in evaluation mode, its batch norms folded into the convolutions before."""
        duplicate = copy.deepcopy(self).eval()
        _part_activations(duplicate)
        try:
            traced = fx.GraphModule(duplicate, LayerTracer().trace(duplicate))
            return fuse(traced, no_trace=True)
        except Exception:
            # Any kind, as the tracer runs the network's own code on stand-ins for tensors.
            return duplicate


def _part_activations(network: nn.Module) -> None:
    """Replace batch norms that are activations, too, by the two one after the other."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            parts = dict(child.named_children())
            if isinstance(child, nn.BatchNorm2d) and set(parts) == {"drop", "act"}:
                norm = nn.BatchNorm2d(child.num_features, child.eps, child.momentum)
                norm._parameters.update(child._parameters)
                norm._buffers.update(child._buffers)
                setattr(parent, name, nn.Sequential(norm, parts["drop"], parts["act"]).eval())


def _parts(network: nn.Module, architecture: str) -> tuple[nn.Module, nn.Module]:
    """Return a network's backbone and head, told apart by a trial.

    Raises:
        Ws3Error: If the backbone makes no map (B, F, h, w), or not for every size of image.
    """
    training = network.training
    network.eval()
    wrong, last = "", None
    features = logits = torch.empty(0)
    try:
        features, in_backbone = _called(network, "forward_features", torch.zeros(_TRIAL))
        if features.ndim != 4 or features.shape[1] != network.num_features:
            wrong = f"but {tuple(features.shape)} for an image {_TRIAL}"
        else:
            logits, in_head = _called(network, "forward_head", features)
            last = network.get_classifier()  # type: ignore[operator]
    except Exception as error:
        # Any kind, as the network's own code runs.
        wrong = reason(error)
    finally:
        network.train(training)
    if wrong or logits.ndim != 2:
        raise Ws3Error(
            f"classifier.architecture: {architecture} is not supported, as it doesn't end in one "
            f"map (B, F, h, w) for images of any size, which is pooled and classified "
            f"({wrong or 'its head returns no logits'}); choose a convolutional network, such as "
            "timm:resnet50 or timm:efficientnet_lite0"
        )
    every = {name for name, _ in network.named_children()}
    backbone = _Part(network, "forward_features", in_backbone | (every - in_head))
    head = _Part(network, "forward_head", in_head | (every - in_backbone))
    if not isinstance(last, nn.Linear) or not _is_average_and_linear(head, features.shape[1]):
        return backbone, head
    exact = nn.Sequential()
    exact.add_module("pool", nn.AdaptiveAvgPool2d(1))
    exact.add_module("flatten", nn.Flatten(1))
    exact.add_module("classifier", last)
    return backbone, exact


def _called(network: nn.Module, method: str, inputs: Tensor) -> tuple[Tensor, set[str]]:
    """Return what a method returns, and the children of the network that it calls."""
    called = set[str]()
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
        for name, child in network.named_children()
        for module in child.modules()
    ]
    try:
        with torch.no_grad():
            return getattr(network, method)(inputs), called
    finally:
        for hook in hooks:
            hook.remove()


def _is_average_and_linear(head: _Part, features: int) -> bool:
    """Whether a head computes no more than the linear layer of the averages, whatever its weights.

    torch's global generator isn't touched, from which the weights come.
    """
    trial = copy.deepcopy(head).eval()
    last = trial.part.get_classifier()  # type: ignore[operator]
    if last.in_features != features:
        return False
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trial.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        maps = torch.randn((2, features, 2, 3), generator=generator)
        return torch.allclose(trial(maps), last(maps.mean(dim=(2, 3))), rtol=1e-4, atol=1e-4)
