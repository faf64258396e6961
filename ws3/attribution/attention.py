"""Methods that follow a transformer's attention from the class back to the patches.

For transformers whose every block lets each token attend to all others. What classifies is known of
each (`ws3.classifier.tokens.TokenBackbone.readers`): a class token, or all patches alike. Maps have
one value per patch. `Method` says what the methods get; reduction and sign have no meaning for
them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ws3.attribution.channels import of_classes, rescaled
from ws3.attribution.interface import Attribution, Options
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.tokens import TokenBackbone, TokenMap
from ws3.errors import Ws3Error


def attention_rollout(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928).

    Each block's attention, averaged over its heads, and the identity for the residual connection
    weigh one half each; the product over all blocks says how much of each patch arrives at what
    classifies. It knows no classes: all have the same map.

    Raises:
        Ws3Error: If the network is no such transformer.
    """
    backbone = _explicit(network, "attention_rollout")
    with torch.no_grad():
        with _attention(backbone) as attention:
            logits = network.logits_from_features(backbone(inputs))
        arrived = _identity(attention[0])
        for weights in attention:
            mean = weights.mean(dim=1)
            arrived = (mean + _identity(weights)) / 2 @ arrived
        scores = _of_patches(arrived, backbone, inputs)
    probabilities = of_classes(logits, classes).float().sigmoid()
    return Attribution(torch.stack([scores] * len(classes)), probabilities)


def attention_relevance(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Attention weighted by its gradient (Chefer et al. 2021, arXiv 2103.15679).

    In each block the attention is multiplied by the gradient of the logit, negative products are
    set to 0, and the heads averaged (equation 5); relevance begins as the identity, and each block
    adds this average times the relevance so far (equation 6).

    Raises:
        Ws3Error: If the network is no such transformer.
    """
    backbone = _explicit(network, "attention_relevance")
    leaf = inputs.detach().clone().requires_grad_()
    with _attention(backbone) as attention:
        logits = network.logits_from_features(backbone(leaf))
    scores = []
    for position, index in enumerate(classes):
        gradients = torch.autograd.grad(
            logits[:, index].sum(), attention, retain_graph=position + 1 < len(classes)
        )
        with torch.no_grad():
            relevance = _identity(attention[0])
            for weights, gradient in zip(attention, gradients, strict=True):
                passed = (weights * gradient).relu().mean(dim=1)
                relevance = relevance + passed @ relevance
            scores.append(_of_patches(relevance, backbone, inputs))
    probabilities = of_classes(logits.detach(), classes).float().sigmoid()
    return Attribution(torch.stack(scores), probabilities)


def legrad(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """LeGrad: how each block's attention would raise what it says of the class.

    Bousselham et al. 2024, arXiv 2404.03214. A block's logit is what the network's last
    normalisation and its head make of the tokens behind that block. Its gradient with respect to
    the block's attention, negative values set to 0, is averaged over heads and over the tokens that
    attend, and added over the blocks; each sample's map is scaled to [0, 1]. The option `blocks`
    takes the last ones only.

    Raises:
        Ws3Error: If the network is no such transformer.
    """
    backbone = _explicit(network, "legrad")
    behind = _Behind(backbone)
    leaf = inputs.detach().clone().requires_grad_()
    with _attention(backbone) as attention, _block_outputs(backbone) as outputs:
        logits = network.logits_from_features(backbone(leaf))
    total = torch.zeros((len(classes), len(inputs), attention[0].shape[3]), device=inputs.device)
    last = options.values.get("blocks") or 0
    for weights, tokens in zip(attention[-last:], outputs[-last:], strict=True):
        of_block = network.logits_from_features(behind(leaf, tokens))
        for position, index in enumerate(classes):
            # Only this block lies between its attention and its logit, so little is computed.
            (gradient,) = torch.autograd.grad(of_block[:, index].sum(), weights, retain_graph=True)
            total[position] += gradient.relu().float().mean(dim=(1, 2))
    patches = total[:, :, backbone.prefix :]
    scores = rescaled(patches, (2,)).reshape(*patches.shape[:2], *backbone.grid(inputs))
    return Attribution(scores, of_classes(logits.detach(), classes).float().sigmoid())


def ag_cam(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Attention-guided CAM (Leem and Seo 2024, arXiv 2402.04563).

    The gradient of the logit with respect to each block's attention, negative values set to 0,
    times the sigmoid of the products of queries and keys that the attention is made of; added over
    heads and blocks.

    Raises:
        Ws3Error: If the network is no such transformer.
    """
    backbone = _explicit(network, "ag_cam")
    leaf = inputs.detach().clone().requires_grad_()
    with _attention(backbone) as attention, _BeforeSoftmax() as products:
        logits = network.logits_from_features(backbone(leaf))
    if [one.shape for one in products.found] != [one.shape for one in attention]:
        raise Ws3Error(
            f"ag_cam doesn't find the products of queries and keys of {network.architecture}; use "
            "the method attention_relevance or legrad"
        )
    scores = []
    for position, index in enumerate(classes):
        gradients = torch.autograd.grad(
            logits[:, index].sum(), attention, retain_graph=position + 1 < len(classes)
        )
        relevance = torch.zeros_like(gradients[0][:, 0])
        for product, gradient in zip(products.found, gradients, strict=True):
            relevance += (gradient.relu() * product.sigmoid()).sum(dim=1)
        scores.append(_of_patches(relevance, backbone, inputs))
    probabilities = of_classes(logits.detach(), classes).float().sigmoid()
    return Attribution(torch.stack(scores), probabilities)


class _BeforeSoftmax(TorchFunctionMode):
    """Collects what attention is the softmax of, (B, heads, N, N), while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (Tensor.softmax, torch.softmax, nn.functional.softmax) and args[0].ndim == 4:
            self.found.append(args[0].detach())
        return func(*args, **(kwargs or {}))


class _Behind:
    """What a transformer makes of the tokens behind any of its blocks, as if that were the last."""

    def __init__(self, backbone: TokenBackbone) -> None:
        tensors = chain(backbone.parameters(), backbone.buffers())
        self._backbone = copy.deepcopy(backbone, {id(one): one for one in tensors})
        self._given = _Given()
        parent, _, _ = backbone.block_names[0].rpartition(".")
        above, _, name = parent.rpartition(".")
        kind = type(backbone.get_submodule(parent))
        blocks = kind([self._given]) if kind is nn.ModuleList else nn.Sequential(self._given)
        setattr(self._backbone.get_submodule(above), name, blocks)

    def __call__(self, inputs: Tensor, tokens: Tensor) -> TokenMap | Tensor:
        """Return the last features that tokens (B, N, F) of inputs (B, 3, H, W) lead to."""
        self._given.tokens = tokens
        features: TokenMap | Tensor = self._backbone(inputs)
        return features


class _Given(nn.Module):
    """In the place of all blocks: it returns what it was given before."""

    tokens: Tensor

    def forward(self, *_: Any, **__: Any) -> Tensor:
        return self.tokens


@contextmanager
def _block_outputs(backbone: TokenBackbone) -> Iterator[list[Tensor]]:
    """Collect the tokens behind each block (B, N, F) while the backbone runs."""
    found: list[Tensor] = []
    with ExitStack() as hooks:
        for name in backbone.block_names:
            block = backbone.get_submodule(name)
            hooks.enter_context(
                block.register_forward_hook(lambda *passed: found.append(passed[2]))
            )
        yield found


class _Attention(nn.Module):
    """torchvision's attention, computed step by step as timm does it."""

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = fused.num_heads
        self.weight, self.bias = fused.in_proj_weight, fused.in_proj_bias
        self.out_proj = fused.out_proj
        self.attn_drop = nn.Identity()

    def forward(self, tokens: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        """Return what tokens (B, N, F) become."""
        split = nn.functional.linear(tokens, self.weight, self.bias).chunk(3, dim=2)
        query, key, value = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in split
        )
        products = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        mixed = self.attn_drop(products.softmax(dim=3)) @ value
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


_explicit_copies: WeakKeyDictionary[AttributionNetwork, TokenBackbone] = WeakKeyDictionary()


def mean_attention(
    network: AttributionNetwork, inputs: Tensor, blocks: int | None = None
) -> Tensor:
    """Return what the patches of an image attend to, averaged over heads and blocks.

    Of each block's attention, that of its heads is averaged at once, and let go of.

    Args:
        network: The frozen classifier.
        inputs: Normalised, (1, 3, H, W).
        blocks: How many, from the last; None: all.

    Returns:
        (N, N): row i is what patch i attends to; what it attends to the prefix is left out.

    Raises:
        Ws3Error: If the network is no transformer whose every block sees all patches.
    """
    backbone = _explicit(network, "affinity: attention", "affinity: colour, or {network, weights}")
    prefix, total, looked_at = backbone.prefix, torch.zeros(()), 0

    def add(module: nn.Module, given: object, weights: Tensor) -> None:
        nonlocal total, looked_at
        total = total + weights[0, :, prefix:, prefix:].float().mean(dim=0)
        looked_at += 1

    with torch.no_grad(), ExitStack() as hooks:
        for module in _probabilities(backbone)[-(blocks or 0) :]:
            hooks.enter_context(module.register_forward_hook(add))
        backbone(inputs)
    return total / looked_at


def _explicit(
    network: AttributionNetwork, method: str, instead: str = "the method gradcam or layercam"
) -> TokenBackbone:
    """Return a network's backbone, with the same weights, that computes attention step by step.

    Args:
        network: The frozen classifier.
        method: What wants it, for messages.
        instead: What there is for other networks.

    Raises:
        Ws3Error: If it isn't a transformer whose every block sees all patches.
    """
    if network in _explicit_copies:
        return _explicit_copies[network]
    if not isinstance(network.backbone, TokenBackbone):
        raise Ws3Error(
            f"{method} is for transformers whose every block sees all patches (ViT, DeiT, DINOv2, "
            f"EVA), and {network.architecture} is none; use {instead}"
        )
    tensors = chain(network.backbone.parameters(), network.backbone.buffers())
    backbone = copy.deepcopy(network.backbone, {id(one): one for one in tensors})
    for parent in list(backbone.modules()):
        if hasattr(parent, "fused_attn"):
            vars(parent)["fused_attn"] = False
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(parent, name, _Attention(child))
    if len(_probabilities(backbone)) != len(backbone.block_names):
        raise Ws3Error(
            f"{method} doesn't know the attention of {network.architecture}; use {instead}"
        )
    _explicit_copies[network] = backbone
    return backbone


def _probabilities(backbone: TokenBackbone) -> list[nn.Module]:
    """Return, for each block, the module through which its attention (B, heads, N, N) passes."""
    modules = dict(backbone.named_modules())
    return [
        module
        for block in backbone.block_names
        for name, module in modules.items()
        if name.startswith(f"{block}.") and name.endswith(".attn_drop")
    ]


@contextmanager
def _attention(backbone: TokenBackbone) -> Iterator[list[Tensor]]:
    """Collect each block's attention (B, heads, N, N) while the backbone runs."""
    found: list[Tensor] = []
    with ExitStack() as hooks:
        for module in _probabilities(backbone):
            hook = module.register_forward_hook(lambda *passed: found.append(passed[2]))
            hooks.enter_context(hook)
        yield found


def _identity(attention: Tensor) -> Tensor:
    return torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)


def _of_patches(relevance: Tensor, backbone: TokenBackbone, inputs: Tensor) -> Tensor:
    """Return what the patches have (B, h, w) in those rows of (B, N, N) that classify."""
    rows = backbone.readers or range(backbone.prefix, relevance.shape[1])
    of_rows = torch.stack([relevance[:, row] for row in rows], dim=1).mean(dim=1)
    patches = of_rows[:, backbone.prefix :].float()
    return patches.reshape(len(patches), *backbone.grid(inputs))
