"""Layers of a network by their names, as maps, while the network runs.

Where a network can't be cut in two (`ws3.attribution.layers`), since its tokens don't all stand for
places or torch.fx can't trace it, its layers are tapped: what a layer returns becomes a map (B, F,
h, w), and goes on from there in the form that the network has it in.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ws3.classifier.tokens import TokenBackbone, TokenMap
from ws3.errors import Ws3Error
from ws3.messages import shown

_SIDES = (224, 160)  # pixels: which axes of a layer's output are its sides shows in their ratio

_SHARES = {1: 0.25, 2: 0.25, 4: 0.25, 8: 0.5, 16: 0.75, 32: 1.0}
"""How much of a plain transformer's blocks lies before the layer of a stride."""


class Taps:
    """Collects the maps of layers while it is entered.

    Attributes:
        maps: By the names that were given, (B, F, h, w). The first to be reached is a leaf.

    Example:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> with Taps(backbone, ["0"], "a toy") as taps:
        ...     last = backbone(torch.zeros(1, 3, 8, 8))
        >>> taps.maps["0"].shape, taps.maps["0"].is_leaf, last.requires_grad
        (torch.Size([1, 4, 6, 6]), True, True)
    """

    def __init__(self, backbone: nn.Module, names: Sequence[str], architecture: str) -> None:
        """Find the layers.

        Args:
            backbone: From the image to the last spatial features.
            names: As in the network.
            architecture: What messages call the network.

        Raises:
            Ws3Error: If the backbone has no such layer.
        """
        self.maps: dict[str, Tensor] = {}
        self._backbone, self._architecture = backbone, architecture
        self._layers = {name: layer_of(backbone, name, architecture) for name in names}
        self._hooks = ExitStack()
        self._grid = (0, 0)

    def __enter__(self) -> Taps:
        """Begin to collect."""
        if isinstance(self._backbone, TokenBackbone):
            self._hooks.enter_context(self._backbone.register_forward_pre_hook(self._note_grid))
            axes: dict[str, int] = {}
        else:
            axes = {
                name: channel_axis(self._backbone, layer, name, self._architecture)
                for name, layer in self._layers.items()
            }
        for name, layer in self._layers.items():
            hook = partial(self._tap, name, axes.get(name))
            self._hooks.enter_context(layer.register_forward_hook(hook))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the network as it was.

        Raises:
            Ws3Error: If a layer was not reached.
        """
        self._hooks.close()

    def _note_grid(self, backbone: TokenBackbone, given: tuple[Tensor, ...]) -> None:
        self._grid = backbone.grid(given[0])

    def _tap(self, name: str, form: int | None, layer: nn.Module, given: Any, output: Any) -> Any:
        first = not self.maps
        if form is not None:
            features = output if form == 1 else output.permute(0, 3, 1, 2)
            # A copy, as a rectifier that works in place would write over what others look at.
            self.maps[name] = features.detach().clone().requires_grad_() if first else features
            onward = self.maps[name] if form == 1 else self.maps[name].permute(0, 2, 3, 1)
            return onward.clone()
        is_tokens = isinstance(output, Tensor) and output.ndim == 3
        prefix = output.shape[1] - math.prod(self._grid) if is_tokens else -1
        if prefix not in (0, self._backbone.prefix):
            raise _no_map(name, self._architecture)
        tokens = TokenMap.of(output.detach() if first else output, prefix, self._grid)
        if first:
            tokens.map.requires_grad_()
        self.maps[name] = tokens.map
        return tokens.tokens()


def transformer_layers(backbone: TokenBackbone, strides: Sequence[int]) -> tuple[str, ...]:
    """Return the layers of a plain transformer that stand for strides.

    All its layers have one resolution. What a stride says of depth in a network that halves its
    maps is taken over: 4 stands for what goes into the block behind the first quarter of the
    blocks, 8 for the first half, 16 for three quarters; 32, and no stride at all, for what goes
    into the last block, which is the last layer by whose patches a class token learns anything.
    Each is tapped behind the block's first normalisation.

    Args:
        backbone: The transformer.
        strides: Ascending; none: that of the last layer.

    Returns:
        Names in the backbone, each once.
    """
    blocks = backbone.block_names
    indices = [
        min(math.ceil(_SHARES[stride] * len(blocks)), len(blocks) - 1)
        for stride in strides or (32,)
    ]
    return tuple(dict.fromkeys(f"{blocks[index]}.{backbone.first_norm}" for index in indices))


def chain_layers(backbone: nn.Module, strides: Sequence[int], architecture: str) -> tuple[str, ...]:
    """Return the layers of some strides of a backbone that torch.fx can't trace.

    They are those through which everything passes because the backbone calls them one after the
    other: its children, and theirs where they are an `nn.Sequential`. Where there is none of a
    stride, it is the last of the next smaller one.

    Args:
        backbone: From the image to the last spatial features.
        strides: Ascending.
        architecture: What messages call the network.

    Returns:
        Names in the backbone, each once.

    Raises:
        Ws3Error: If all its layers have larger strides.
    """
    chain = _chain(backbone, "")
    found: dict[int, str] = {}

    def note(name: str, layer: nn.Module, given: Any, output: Any) -> None:
        axis = _axis(output)
        if axis is not None:
            side = output.shape[2 if axis == 1 else 1]
            found[1 << round(math.log2(_SIDES[0] / side))] = name

    with ExitStack() as hooks:
        for name, layer in chain:
            hooks.enter_context(layer.register_forward_hook(partial(note, name)))
        _try(backbone)
    names = []
    for stride in strides:
        fitting = [own for own in found if own <= stride]
        if not fitting:
            choice = ", ".join(map(str, sorted(found))) or "none"
            raise Ws3Error(
                f"{architecture} has no layer of stride {stride} or less through which everything "
                f"passes; choose from: {choice}"
            )
        names.append(found[max(fitting)])
    return tuple(dict.fromkeys(names))


def _chain(module: nn.Module, before: str) -> list[tuple[str, nn.Module]]:
    """Return the layers that a backbone calls one after the other, with their names."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        # The part of a network of timm's stands for the network, whose children follow in order.
        inner = isinstance(child, nn.Sequential) or (not before and name == "part")
        found += _chain(child, f"{before}{name}.") if inner else [(f"{before}{name}", child)]
        if isinstance(child, nn.Sequential):
            found.append((f"{before}{name}", child))
    return found


def as_map(
    backbone: nn.Module,
    layer: nn.Module,
    name: str,
    architecture: str,
    images: Tensor,
    output: Tensor,
) -> Tensor:
    """Return what a layer returned for images (B, 3, H, W) as a map (B, F, h, w).

    Raises:
        Ws3Error: If it is none.
    """
    if isinstance(backbone, TokenBackbone):
        grid = backbone.grid(images)
        prefix = output.shape[1] - math.prod(grid) if output.ndim == 3 else -1
        if prefix not in (0, backbone.prefix):
            raise _no_map(name, architecture)
        return TokenMap.of(output, prefix, grid).map
    channels = channel_axis(backbone, layer, name, architecture)
    return output if channels == 1 else output.permute(0, 3, 1, 2)


def layer_of(backbone: nn.Module, name: str, architecture: str) -> nn.Module:
    """Return a layer of a backbone by its name in the network.

    Raises:
        Ws3Error: If there is none.
    """
    layers = dict(backbone.named_modules())
    for known in (name, f"part.{name}"):  # as timm's networks are kept
        if name and known in layers:
            found: nn.Module = layers[known]
            return found
    own = [one.removeprefix("part.") for one in layers if one not in ("", "part", "fit")]
    close = difflib.get_close_matches(name, own, n=3) or own[-1:]
    raise Ws3Error(
        f"the option layer: the backbone of {architecture} has no layer {shown(name)}; it has, "
        f"among others, {' and '.join(close)}"
    )


def channel_axis(backbone: nn.Module, layer: nn.Module, name: str, architecture: str) -> int:
    """Return which axis of a layer's output holds its channels: 1, or 3 for Swin's.

    Raises:
        Ws3Error: If its output is no map.
    """
    known = layer.__dict__.get("_ws3_channel_axis")
    if known is None:
        outputs: list[Any] = []
        with layer.register_forward_hook(lambda _, given, output: outputs.append(output)):
            _try(backbone)
        known = _axis(outputs[0]) if len(outputs) == 1 else None
        if known is None:
            raise _no_map(name, architecture)
        layer.__dict__["_ws3_channel_axis"] = known
    return int(known)


def _try(backbone: nn.Module) -> None:
    reference = next(backbone.parameters(), torch.zeros(1))
    with torch.no_grad():
        backbone(reference.new_zeros(1, 3, *_SIDES))


def _axis(output: Any) -> int | None:
    """Return the axis of the channels of a map of an image with `_SIDES`, None if it is no map."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        return None
    for axis, (rows, columns) in ((1, (2, 3)), (3, (1, 2))):
        height, width = output.shape[rows], output.shape[columns]
        # Within one pixel, as networks round up, or cut borders off.
        if abs(height * _SIDES[1] / _SIDES[0] - width) <= 1.5 and width > 1:
            return axis
    return None


def _no_map(name: str, architecture: str) -> Ws3Error:
    return Ws3Error(
        f"the option layer: what {shown(name)} of {architecture} returns is no map of the image; "
        "name a layer between two blocks, or a normalisation"
    )
