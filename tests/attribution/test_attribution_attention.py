"""Attention rollout and relevance, against the papers' formulas for one small network."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small_networks import small_network

from ws3.attribution.attention import _explicit
from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.tokens import TokenBackbone
from ws3.config.methods import method_entry
from ws3.errors import Ws3Error

Params = dict[str, torch.Tensor]


def images(*size: int, count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(5))


def by_hand(state: Params, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The small ViT of torchvision's for one image of 64 x 64, from its weights alone.

    Returns the logits and each block's attention (heads, N, N), through which they go.
    """
    width, heads = 24, 2
    size = width // heads

    def norm(tokens, name):
        centred = tokens - tokens.mean(dim=1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    kernel = state["conv_proj.weight"].flatten(1)
    patches = [
        kernel @ image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16].flatten()
        + state["conv_proj.bias"]
        for row in range(4)
        for column in range(4)
    ]
    tokens = torch.stack([state["class_token"][0, 0], *patches])
    tokens = tokens + state["encoder.pos_embedding"][0]
    attention = []
    for number in range(4):
        block = f"encoder.layers.encoder_layer_{number}"
        seen = norm(tokens, f"{block}.ln_1")
        projected = (
            seen @ state[f"{block}.self_attention.in_proj_weight"].T
            + state[f"{block}.self_attention.in_proj_bias"]
        )
        weights = []
        for head in range(heads):
            query, key = (projected[:, part * width + head * size :][:, :size] for part in (0, 1))
            weights.append((query @ key.T / math.sqrt(size)).softmax(dim=1))
        attention.append(torch.stack(weights).requires_grad_())
        mixed = torch.cat(
            [
                attention[-1][head] @ projected[:, 2 * width + head * size :][:, :size]
                for head in range(heads)
            ],
            dim=1,
        )
        out = f"{block}.self_attention.out_proj"
        tokens = tokens + mixed @ state[f"{out}.weight"].T + state[f"{out}.bias"]
        inner = norm(tokens, f"{block}.ln_2")
        inner = inner @ state[f"{block}.mlp.0.weight"].T + state[f"{block}.mlp.0.bias"]
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        tokens = tokens + inner @ state[f"{block}.mlp.3.weight"].T + state[f"{block}.mlp.3.bias"]
    last = norm(tokens, "encoder.ln")[0]
    return last @ state["heads.head.weight"].T + state["heads.head.bias"], attention


def explained(method: str, name: str, inputs: torch.Tensor) -> Any:
    network = AttributionNetwork(small_network(name))
    return method_entry(method).load()(network, inputs, [1, 2], Options())


def test_the_network_by_hand_is_the_network() -> None:
    classifier = small_network("vit")
    state = classifier.network.state_dict()
    for image in images(64, 64):
        torch.testing.assert_close(
            by_hand(state, image)[0], classifier.network(image[None])[0], rtol=1e-4, atol=1e-4
        )


def test_rollout_is_the_papers_product() -> None:
    state = small_network("vit").network.state_dict()
    found = explained("attention_rollout", "vit", images(64, 64)).scores
    for number, image in enumerate(images(64, 64)):
        rollout = torch.eye(17)
        for weights in by_hand(state, image)[1]:
            rollout = (0.5 * weights.mean(dim=0) + 0.5 * torch.eye(17)) @ rollout
        torch.testing.assert_close(rollout.sum(dim=1), torch.ones(17))
        wanted = rollout[0, 1:].view(4, 4)
        torch.testing.assert_close(found[0, number], wanted, rtol=1e-4, atol=1e-6)
    assert torch.equal(found[0], found[1])  # it knows no classes


def test_relevance_is_the_papers_sum() -> None:
    state = small_network("vit").network.state_dict()
    found = explained("attention_relevance", "vit", images(64, 64))
    for position, index in enumerate((1, 2)):
        for number, image in enumerate(images(64, 64)):
            logits, attention = by_hand(state, image)
            gradients = torch.autograd.grad(logits[index], attention)
            relevance = torch.eye(17)
            for weights, gradient in zip(attention, gradients, strict=True):
                average = (gradient * weights).clamp(min=0).mean(dim=0)
                relevance = relevance + average @ relevance
            wanted = relevance[0, 1:].view(4, 4).detach()
            torch.testing.assert_close(found.scores[position, number], wanted, rtol=1e-3, atol=1e-6)
            assert float(found.probabilities[number, position]) == pytest.approx(
                float(logits[index].detach().sigmoid()), abs=1e-4
            )
    assert not torch.allclose(found.scores[0], found.scores[1])


@pytest.mark.parametrize("name", ["vit", "timm:test_vit", "timm:test_vit4"])
@torch.no_grad()
def test_attention_step_by_step_is_the_network(name: str) -> None:
    network = AttributionNetwork(small_network(name))
    inputs = images(96, 64)
    step_by_step = _explicit(network, "attention_rollout")
    torch.testing.assert_close(
        network.logits_from_features(step_by_step(inputs)), network(inputs), rtol=1e-4, atol=1e-5
    )


def test_where_patches_classify_their_rows_are_averaged() -> None:
    inputs = images(96, 64)
    backbone = small_network("timm:test_vit4").backbone
    assert isinstance(backbone, TokenBackbone)
    assert backbone.readers == ()
    found = explained("attention_rollout", "timm:test_vit4", inputs).scores
    assert found.shape == (2, 2, 6, 4)
    # Rows of a product of attention sum to 1, and so does their mean; the prefix has the rest.
    totals = found[0].flatten(1).sum(dim=1)
    assert (totals <= 1 + 1e-5).all()
    assert (totals > 0.5).all()


@pytest.mark.parametrize("name", ["resnet18", "swin", "timm:test_maxvit"])
@pytest.mark.parametrize("method", ["attention_rollout", "attention_relevance"])
def test_other_networks_are_refused(method: str, name: str) -> None:
    with pytest.raises(
        Ws3Error, match=f"^{method} is for transformers whose every block .*gradcam"
    ):
        explained(method, name, images(64, 64))
