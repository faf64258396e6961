"""Methods that follow attention, against the papers' formulas for one small network."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from small_networks import small_network

from ws3.attribution.attention import _Behind, _block_outputs, _explicit
from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.tokens import TokenBackbone
from ws3.config.methods import method_entry
from ws3.errors import Ws3Error

Params = dict[str, torch.Tensor]


def images(*size: int, count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(5))


class ByHand(NamedTuple):
    """The small ViT of torchvision's for one image of 64 x 64, from its weights alone.

    Each block's attention (heads, N, N), through which the logits go, is the softmax of its
    products; its own logits are what the network would say if it were the last.
    """

    logits: torch.Tensor
    attention: list[torch.Tensor]
    products: list[torch.Tensor]
    of_blocks: list[torch.Tensor]


def by_hand(state: Params, image: torch.Tensor) -> ByHand:
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
    attention, all_products, of_blocks = [], [], []
    for number in range(4):
        block = f"encoder.layers.encoder_layer_{number}"
        seen = norm(tokens, f"{block}.ln_1")
        projected = (
            seen @ state[f"{block}.self_attention.in_proj_weight"].T
            + state[f"{block}.self_attention.in_proj_bias"]
        )
        products = []
        for head in range(heads):
            query, key = (projected[:, part * width + head * size :][:, :size] for part in (0, 1))
            products.append(query @ key.T / math.sqrt(size))
        all_products.append(torch.stack(products).detach())
        attention.append(torch.stack([one.softmax(dim=1) for one in products]).requires_grad_())
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
        of_blocks.append(last @ state["heads.head.weight"].T + state["heads.head.bias"])
    return ByHand(of_blocks[-1], attention, all_products, of_blocks)


def explained(method: str, name: str, inputs: torch.Tensor, **values: Any) -> Any:
    network = AttributionNetwork(small_network(name))
    return method_entry(method).load()(network, inputs, [1, 2], Options(values=values))


def test_the_network_by_hand_is_the_network() -> None:
    classifier = small_network("vit")
    state = classifier.network.state_dict()
    for image in images(64, 64):
        torch.testing.assert_close(
            by_hand(state, image).logits, classifier.network(image[None])[0], rtol=1e-4, atol=1e-4
        )


def test_rollout_is_the_papers_product() -> None:
    state = small_network("vit").network.state_dict()
    found = explained("attention_rollout", "vit", images(64, 64)).scores
    for number, image in enumerate(images(64, 64)):
        rollout = torch.eye(17)
        for weights in by_hand(state, image).attention:
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
            logits, attention, *_ = by_hand(state, image)
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


@pytest.mark.parametrize("blocks", [None, 1, 3])
def test_legrad_is_the_papers_sum(blocks: int | None) -> None:
    state = small_network("vit").network.state_dict()
    found = explained("legrad", "vit", images(64, 64), blocks=blocks)
    for position, index in enumerate((1, 2)):
        for number, image in enumerate(images(64, 64)):
            network = by_hand(state, image)
            total = torch.zeros(17)
            for block in range(4)[-(blocks or 4) :]:
                (gradient,) = torch.autograd.grad(
                    network.of_blocks[block][index], network.attention[block], retain_graph=True
                )
                for head in gradient.clamp(min=0):
                    total += head.sum(dim=0) / (2 * 17)
            wanted = total[1:] - total[1:].min()
            wanted = (wanted / wanted.max()).view(4, 4)
            torch.testing.assert_close(found.scores[position, number], wanted, rtol=1e-3, atol=1e-4)
            assert float(found.probabilities[number, position]) == pytest.approx(
                float(network.logits[index].detach().sigmoid()), abs=1e-4
            )
    assert not torch.allclose(found.scores[0], found.scores[1])


def test_ag_cam_is_the_papers_sum() -> None:
    state = small_network("vit").network.state_dict()
    found = explained("ag_cam", "vit", images(64, 64)).scores
    for position, index in enumerate((1, 2)):
        for number, image in enumerate(images(64, 64)):
            network = by_hand(state, image)
            gradients = torch.autograd.grad(network.logits[index], network.attention)
            total = torch.zeros(17)
            for gradient, products in zip(gradients, network.products, strict=True):
                for head, product in zip(gradient, products, strict=True):
                    total += head[0].clamp(min=0) / (1 + (-product[0]).exp())
            wanted = total[1:].view(4, 4)
            torch.testing.assert_close(found[position, number], wanted, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("name", ["vit", "timm:test_vit", "timm:test_vit4"])
def test_the_last_blocks_logits_are_the_networks(name: str) -> None:
    network = AttributionNetwork(small_network(name))
    backbone = _explicit(network, "legrad")
    with torch.no_grad(), _block_outputs(backbone) as outputs:
        logits = network.logits_from_features(backbone(images(96, 64)))
        behind = _Behind(backbone)
        found = [network.logits_from_features(behind(images(96, 64), one)) for one in outputs]
    torch.testing.assert_close(found[-1], logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[0], logits, atol=1e-2)


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
@pytest.mark.parametrize("method", ["attention_rollout", "attention_relevance", "legrad", "ag_cam"])
def test_other_networks_are_refused(method: str, name: str) -> None:
    with pytest.raises(
        Ws3Error, match=f"^{method} is for transformers whose every block .*gradcam"
    ):
        explained(method, name, images(64, 64))
