"""Networks that see an image as tokens, or only at sizes of their own.

A vision transformer cuts an image into patches, each of which becomes a token, and puts tokens
before them that stand for no place: a class token, registers. ws3 calls these the *prefix*. What
classifies may be the prefix alone, so the last spatial features of such a network come with it.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from ws3.errors import Ws3Error


class TokenMap(NamedTuple):
    """The tokens of a layer.

    Attributes:
        map: Those of the patches, as features (B, F, h, w).
        prefix: Those before them (B, P, F).
    """

    map: Tensor
    prefix: Tensor

    @classmethod
    def of(cls, tokens: Tensor, prefix: int, grid: tuple[int, int]) -> TokenMap:
        """Take tokens (B, P + h w, F) apart."""
        patches = tokens[:, prefix:].transpose(1, 2)
        return cls(patches.reshape(*patches.shape[:2], *grid), tokens[:, :prefix])

    def tokens(self) -> Tensor:
        """Return the tokens (B, P + h w, F) as the network has them."""
        return torch.cat([self.prefix, self.map.flatten(2).transpose(1, 2)], dim=1)


class Fit(nn.Module):
    """Resizes images to a size that a network can take, bilinearly.

    The nearest one: a map over what the network sees is a map over the image.
    """

    def __init__(self, step: int, least: int = 1, fixed: int | None = None) -> None:
        """Say which sizes there are.

        Args:
            step: Sides are multiples of this number of pixels.
            least: The least side in pixels.
            fixed: The only side, where there is only one.
        """
        super().__init__()
        self.step, self.least, self.fixed = step, least, fixed

    def side(self, given: int) -> int:
        """Return the side in pixels that a side becomes.

        Example:
            >>> [Fit(14).side(given) for given in (3, 160, 224)], Fit(1, least=75).side(64)
            ([14, 154, 224], 75)
        """
        if self.fixed is not None:
            return self.fixed
        nearest = (given + self.step // 2) // self.step * self.step
        return max(nearest, -(-self.least // self.step) * self.step)

    def forward(self, images: Tensor) -> Tensor:
        """Return the images (B, 3, H, W) at such a size."""
        size = self.side(images.shape[2]), self.side(images.shape[3])
        if size == tuple(images.shape[2:]):
            return images
        return functional.interpolate(images, size, mode="bilinear", align_corners=False)


class Assembled(nn.Module):
    """A network's parts under the names that they have in it, called as backbone and head are.

    For networks whose own `forward` takes images of one size only, or returns more than logits.

    Attributes:
        kind: The class of the network.
    """

    def __init__(self, network: nn.Module, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self._modules.update(network._modules)
        self._parameters.update(network._parameters)
        self._buffers.update(network._buffers)
        self.kind = type(network)
        # Past torch's registration, or every parameter would have a second name.
        self.__dict__["_parts"] = (backbone, head)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of images (B, 3, H, W)."""
        backbone, head = self.__dict__["_parts"]
        return cast(Tensor, head(backbone(images)))


class TokenBackbone(nn.Module):
    """From images to the tokens of the last layer, of a transformer whose every block sees all.

    Attributes:
        fit: To multiples of the patch's side.
        patch: The patch's side in pixels.
        prefix: How many tokens stand for no place.
        readers: Which tokens the head classifies by: numbers within the prefix; none: the patches.
        pooled: Whether the head needs no more than the patches' map; `forward` then returns that.
    """

    def __init__(
        self, patch: int, prefix: int, readers: Sequence[int], *, pooled: bool = False
    ) -> None:
        super().__init__()
        self.fit = Fit(patch)
        self.patch, self.prefix, self.readers = patch, prefix, tuple(readers)
        self.pooled = pooled

    @abstractmethod
    def tokens(self, images: Tensor) -> Tensor:
        """Return the last tokens (B, P + h w, F) of images whose sides are multiples of a patch."""

    @property
    @abstractmethod
    def block_names(self) -> list[str]:
        """Names of the blocks, within this module, in order."""

    @property
    @abstractmethod
    def first_norm(self) -> str:
        """The name, within a block, of the normalisation before its attention."""

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Return how many rows and columns of patches images (B, 3, H, W) have."""
        height, width = (self.fit.side(side) // self.patch for side in images.shape[2:])
        return height, width

    def forward(self, images: Tensor) -> TokenMap | Tensor:
        """Return the last tokens of images (B, 3, H, W) of any size."""
        fitted = self.fit(images)
        features = TokenMap.of(self.tokens(fitted), self.prefix, self.grid(fitted))
        return features.map if self.pooled else features

    def folded(self) -> nn.Module:
        """Return a copy in evaluation mode; there is nothing to fold."""
        return copy.deepcopy(self).eval()


class TokenHead(nn.Module):
    """From the last tokens to the logits."""

    @abstractmethod
    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits (B, classes) of tokens (B, P + h w, F)."""

    def forward(self, features: TokenMap) -> Tensor:
        """Return the logits (B, classes).

        Raises:
            Ws3Error: If the prefix is missing.
        """
        if not isinstance(features, TokenMap):
            raise Ws3Error(
                "this network classifies by a token that stands for no place, so its logits don't "
                "follow from a map of features alone; use AttributionNetwork.through_layers"
            )
        return self.logits(features.tokens())


def resampled(positions: Tensor, prefix: int, grid: tuple[int, int]) -> Tensor:
    """Return position embeddings (1, P + h w, F) for another grid, by bicubic interpolation.

    Those of the prefix are kept, and all of them where the grid is that of the embeddings, which
    must be square.

    Raises:
        ValueError: If the embeddings are not those of a square.
    """
    side = round((positions.shape[1] - prefix) ** 0.5)
    if side * side != positions.shape[1] - prefix:
        raise ValueError(f"{positions.shape[1] - prefix} position embeddings make no square")
    if grid == (side, side):
        return positions
    own = TokenMap.of(positions, prefix, (side, side))
    moved = functional.interpolate(
        own.map.float(), list(grid), mode="bicubic", antialias=True, align_corners=False
    )
    return TokenMap(moved.to(positions.dtype), own.prefix).tokens()


def attends(network: nn.Module) -> bool:
    """Return whether a network has attention of tokens to tokens, over all or within windows.

    Example:
        >>> attends(nn.Sequential(nn.MultiheadAttention(8, 2))), attends(nn.Conv2d(3, 4, 1))
        (True, False)
    """
    return any(
        "Attention" in type(part).__name__
        and any(isinstance(child, nn.Linear) for child in part.children())
        for part in network.modules()
    )


_POSITIONS = ("pos_embed", "pos_embedding")


def fitting_positions(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], prefix: int
) -> dict[str, Tensor]:
    """Return a state dict whose position embeddings have the number that a network has.

    Args:
        state: Tensors by name.
        own: The network's own.
        prefix: How many tokens of the network stand for no place.
    """
    fitted = dict(state)
    for name, value in state.items():
        mine = own.get(name)
        if not name.endswith(_POSITIONS) or mine is None or mine.ndim != 3 or value.ndim != 3:
            continue
        if mine.shape[1] == value.shape[1] or mine.shape[2] != value.shape[2]:
            continue
        for before in dict.fromkeys((prefix, 0)):  # some networks give the prefix none
            sides = [math.isqrt(max(0, one.shape[1] - before)) for one in (mine, value)]
            if all(
                side * side + before == one.shape[1]
                for side, one in zip(sides, (mine, value), strict=True)
            ):
                fitted[name] = resampled(value, before, (sides[0], sides[0]))
                break
    return fitted


class TorchvisionTokens(TokenBackbone):
    """The backbone of torchvision's vision transformers."""

    def __init__(self, network: models.VisionTransformer) -> None:
        """Share a network's parts, all but its head."""
        super().__init__(network.patch_size, 1, [0])
        self.class_token = network.class_token
        self.conv_proj = network.conv_proj
        self.encoder = network.encoder

    @property
    def block_names(self) -> list[str]:
        """Names of the blocks."""
        return [f"encoder.layers.{name}" for name, _ in self.encoder.layers.named_children()]

    @property
    def first_norm(self) -> str:
        """The name of a block's first normalisation."""
        return "ln_1"

    def tokens(self, images: Tensor) -> Tensor:
        """Return the last tokens."""
        patches = self.conv_proj(images)
        grid = patches.shape[2], patches.shape[3]
        start = self.class_token.expand(len(images), -1, -1)
        tokens = TokenMap(patches, start).tokens()
        tokens = tokens + resampled(self.encoder.pos_embedding, 1, grid)
        encoded: Tensor = self.encoder.ln(self.encoder.layers(self.encoder.dropout(tokens)))
        return encoded


class TorchvisionTokenHead(TokenHead):
    """The head of torchvision's vision transformers, which reads the class token."""

    def __init__(self, heads: nn.Module) -> None:
        """Share the network's head."""
        super().__init__()
        self.heads = heads

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        return cast(Tensor, self.heads(tokens[:, 0]))
