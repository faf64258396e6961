"""Networks of timm (pytorch-image-models), taken apart as torchvision's are.

timm is optional: `pip install 'ws3-seg[timm]'`. It is imported when a configuration or a checkpoint
names one of its networks, `timm:NAME`, and not before.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from ws3.classifier.model import Classifier, LayerTracer
from ws3.classifier.tokens import Assembled, Fit, TokenBackbone, TokenHead, TokenMap
from ws3.config.classifier import TIMM
from ws3.errors import Ws3Error
from ws3.messages import reason, shown
from ws3.registry import optional_package

# Odd sides, as a recipe's samples and whole photographs have any: a network that adds maps of
# several strides, or cuts them into windows, fails on them if it can't do that for all sizes.
_TRIAL = (1, 3, 70, 97)

_WINDOWED = 32  # pixels: sides that are multiples of it suit networks that halve five times

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

    def create(**more: Any) -> nn.Module:
        try:
            made: nn.Module = timm.create_model(
                name, pretrained=False, num_classes=len(classes), **more
            )
        except Exception as error:
            # Any kind, as every network of timm's has code of its own.
            raise Ws3Error(
                f"classifier.architecture: timm can't build {architecture} for {len(classes)} "
                f"classes ({reason(error)}); choose another network"
            ) from error
        return made

    network = create()
    settings: Mapping[str, Any] = timm.data.resolve_model_data_config(network)
    if _is_plain_transformer(network):
        network = create(dynamic_img_size=True)
        backbone, head = _token_parts(network, architecture)
        network = Assembled(network, backbone, head)
    else:
        try:
            backbone, head = _parts(network, architecture)
        except Ws3Error:
            network, fit = _resizable(network, create, settings)
            backbone, head = _parts(network, architecture, fit)
            network = Assembled(network, backbone, head)
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


def _is_plain_transformer(network: nn.Module) -> bool:
    """Whether a network's blocks all see all tokens: ViT, DeiT, DINO, BEiT, EVA."""
    names = ("blocks", "num_prefix_tokens", "patch_embed", "dynamic_img_size")
    return all(hasattr(network, name) for name in names)


def _resizable(
    network: nn.Module, create: Callable[..., nn.Module], settings: Mapping[str, Any]
) -> tuple[nn.Module, Fit]:
    """Return a network that doesn't take every size, and the sizes that it takes."""
    if hasattr(network, "dynamic_img_size"):  # Swin, which pads its windows
        return create(strict_img_size=False), Fit(_WINDOWED)
    try:
        with torch.no_grad():
            trial = copy.deepcopy(network).eval()
            trial.forward_features(torch.zeros(1, 3, 2 * _WINDOWED, 3 * _WINDOWED))  # type: ignore[operator]
    except Exception:
        # Any kind, as the network's own code runs.
        return network, Fit(1, fixed=settings["input_size"][-1])
    return network, Fit(_WINDOWED)


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
    who = f"classifier.architecture: {architecture} is a network of timm's"
    return optional_package("timm", who, "timm")


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
    """A method of a network, with those of the network's children that it needs.

    What it returns, or takes, may have the channels last, as Swin has: it gets or gives (B, F, h,
    w).
    """

    def __init__(
        self,
        network: nn.Module,
        method: str,
        children: Collection[str],
        *,
        fit: Fit | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.fit = fit
        self.channels_last = channels_last
        self.method = method
        self.part = copy.copy(network)
        self.part.__dict__["_modules"] = {
            name: child for name, child in network.named_children() if name in children
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Call the method."""
        backbone = self.method == "forward_features"
        if self.fit is not None:
            inputs = self.fit(inputs)
        if self.channels_last and not backbone:
            inputs = inputs.permute(0, 2, 3, 1)
        result: Tensor = getattr(self.part, self.method)(inputs)
        return result.permute(0, 3, 1, 2) if self.channels_last and backbone else result

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


def _parts(
    network: nn.Module, architecture: str, fit: Fit | None = None
) -> tuple[nn.Module, nn.Module]:
    """Return a network's backbone and head, told apart by a trial.

    Args:
        network: A network of timm's.
        architecture: Its name in messages.
        fit: To the sizes that it takes, if it doesn't take all.

    Raises:
        Ws3Error: If the backbone makes no map (B, F, h, w), or not for every size of image.
    """
    training = network.training
    network.eval()
    wrong, last = "", None
    features = logits = torch.empty(0)
    channels_last = fit is not None and getattr(network, "output_fmt", "NCHW") == "NHWC"
    try:
        images = torch.zeros(_TRIAL) if fit is None else fit(torch.zeros(_TRIAL))
        features, in_backbone = _called(network, "forward_features", images)
        channels = features.shape[3 if channels_last else 1] if features.ndim == 4 else None
        if channels != network.num_features:
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
            f"({wrong or 'its head returns no logits'}); choose another network, such as "
            "timm:resnet50 or timm:vit_small_patch16_224"
        )
    every = {name for name, _ in network.named_children()}
    in_backbone, in_head = in_backbone | (every - in_head), in_head | (every - in_backbone)
    backbone = _Part(network, "forward_features", in_backbone, fit=fit, channels_last=channels_last)
    head = _Part(network, "forward_head", in_head, channels_last=channels_last)
    if not isinstance(last, nn.Linear) or not _is_average_and_linear(head, last):
        return backbone, head
    return backbone, _pooled_linear(last)


def _pooled_linear(last: nn.Linear) -> nn.Module:
    exact = nn.Sequential()
    exact.add_module("pool", nn.AdaptiveAvgPool2d(1))
    exact.add_module("flatten", nn.Flatten(1))
    exact.add_module("classifier", last)
    return exact


class _Tokens(TokenBackbone):
    """The backbone of a transformer of timm's."""

    def __init__(self, network: nn.Module, readers: Sequence[int], *, pooled: bool) -> None:
        """Share the parts of a network that was built for dynamic sizes."""
        patch: Any = network.patch_embed
        prefix: Any = network.num_prefix_tokens
        super().__init__(patch.patch_size[0], prefix, readers, pooled=pooled)
        names = {name for name, _ in network.named_children()} - _HEAD_CHILDREN
        self.part = _Part(network, "forward_features", names).part

    @property
    def block_names(self) -> list[str]:
        """Names of the blocks."""
        blocks = self.part.get_submodule("blocks")
        return [f"part.blocks.{name}" for name, _ in blocks.named_children()]

    @property
    def first_norm(self) -> str:
        """The name of a block's first normalisation."""
        return "norm1"

    def tokens(self, images: Tensor) -> Tensor:
        """Return the last tokens."""
        result: Tensor = self.part.forward_features(images)  # type: ignore[operator]
        return result


class _TokensHead(TokenHead):
    """The head of a transformer of timm's."""

    def __init__(self, network: nn.Module) -> None:
        """Share the parts of a network that classify."""
        super().__init__()
        self.part = _Part(network, "forward_head", _HEAD_CHILDREN).part
        self.part.__dict__["_parameters"] = {}
        self.part.__dict__["_buffers"] = {}

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        result: Tensor = self.part.forward_head(tokens)  # type: ignore[operator]
        return result


_HEAD_CHILDREN = {"attn_pool", "fc_norm", "head_drop", "head", "head_dist"}
"""The children of a transformer of timm's that classify."""


def _token_parts(network: nn.Module, architecture: str) -> tuple[nn.Module, nn.Module]:
    """Return a transformer's backbone and head, and find out which tokens classify.

    Raises:
        Ws3Error: If it makes no tokens of a grid of patches.
    """
    wrong, readers, pooled = "", tuple[int, ...](), False
    last: Any = None
    head = _TokensHead(network)
    backbone = _Tokens(network, (), pooled=False)
    try:
        images = torch.zeros(1, 3, 3 * backbone.patch, 4 * backbone.patch)
        with torch.no_grad():
            tokens = copy.deepcopy(backbone).eval().tokens(images)
        if tokens.ndim != 3 or tokens.shape[1] != backbone.prefix + 12:
            wrong = f"but {tuple(tokens.shape)} for 3 x 4 patches"
        else:
            last = network.get_classifier()  # type: ignore[operator]
            readers, pooled = _readers(head, backbone.prefix, tokens.shape[2])
    except Exception as error:
        # Any kind, as the network's own code runs.
        wrong = reason(error)
    if wrong:
        raise Ws3Error(
            f"classifier.architecture: {architecture} is not supported, as it makes no token of "
            f"each patch ({wrong}); choose another network, such as timm:vit_small_patch16_224"
        )
    exact = pooled and isinstance(last, nn.Linear)
    return _Tokens(network, readers, pooled=exact), _pooled_linear(last) if exact else head


def _readers(head: _TokensHead, prefix: int, features: int) -> tuple[tuple[int, ...], bool]:
    """Return which tokens of the prefix a head reads, and whether it is an average of the patches.

    Found out with weights drawn for it, as new ones may be 0. An average is one with a linear layer
    behind it, and nothing else.
    """
    trial = _randomised(head)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn((2, prefix + 6, features), generator=generator).requires_grad_()
    with torch.enable_grad():
        logits = trial(TokenMap.of(tokens, prefix, (2, 3)))
        (gradient,) = torch.autograd.grad(logits.square().sum(), tokens)
    read = gradient.abs().amax(dim=(0, 2)) > 0
    if bool(read[prefix:].any()):
        last = trial.part.get_classifier()  # type: ignore[operator]
        if not isinstance(last, nn.Linear) or bool(read[:prefix].any()):
            return (), False
        expected = last(tokens[:, prefix:].mean(dim=1))
        return (), torch.allclose(logits, expected, rtol=1e-4, atol=1e-4)
    return tuple(read.nonzero().flatten().tolist()), False


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


def _is_average_and_linear(head: _Part, linear: nn.Linear) -> bool:
    """Whether a head computes no more than the linear layer of the averages, whatever its weights.

    torch's global generator isn't touched, from which the weights come.
    """
    trial = _randomised(head)
    last = trial.part.get_classifier()  # type: ignore[operator]
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn((2, linear.in_features, 2, 3), generator=generator)
    with torch.no_grad():
        try:
            return torch.allclose(trial(maps), last(maps.mean(dim=(2, 3))), rtol=1e-4, atol=1e-4)
        except RuntimeError:  # layers in between change the number of features
            return False


Head = TypeVar("Head", _Part, _TokensHead)


def _randomised(head: Head) -> Head:
    """Return a copy in evaluation mode whose weights are drawn, always the same."""
    trial = copy.deepcopy(head).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trial.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return trial
