"""Layer-wise relevance propagation: by hand with dense matrices, conserved, and as Captum's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import EpsilonRule
from small_networks import small_network
from torch import Tensor, nn

from ws3.attribution.interface import Options
from ws3.attribution.lrp import lrp
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.model import Classifier
from ws3.errors import Ws3Error

CLASSES = ("cat", "dog", "owl")


class Residual(nn.Module):
    """Three convolutions, the second beside a shortcut; its input has both signs."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.third = nn.Conv2d(4, 5, 1, bias=bias)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, inputs: Tensor) -> Tensor:
        before = self.first(inputs)
        added = before + self.second(before)
        features: Tensor = self.relu(self.third(self.pool(self.relu(added))))
        return features


def classifier(*, bias: bool, seed: int = 0) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(nn.Flatten(), nn.Linear(5, 3, bias=bias))
        backbone = Residual(bias=bias)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), *head)
    return Classifier(backbone.eval(), pooled.eval(), CLASSES, input_size=32)


def images(count: int = 2, side: int = 6) -> Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(5))


def relevance(network: AttributionNetwork, inputs: Tensor, rule: str, **values: Any) -> Tensor:
    """Return what the pixels have, their channels added with their signs; negative is 0."""
    options = Options("net", "positive", {"rule": rule, "epsilon": 1e-6, **values})
    return lrp(network, inputs, [0, 1, 2], options).scores


def handed_down(
    layer: nn.Conv2d | nn.Linear, x: np.ndarray, above: np.ndarray, *, positive: bool
) -> np.ndarray:
    """Share out a layer's relevance by its dense matrix, row by row."""
    zero = torch.zeros(1, *x.shape)
    with torch.no_grad():
        bias = layer(zero).double().flatten().numpy()
        units = torch.eye(x.size).view(-1, *x.shape)
        matrix = (layer(units) - layer(zero)).double().flatten(1).numpy().T
    products = matrix * x.ravel()
    if positive:
        products, bias = products.clip(min=0), bias.clip(min=0)
    sums = products.sum(axis=1) + bias
    sums = sums + np.where(sums < 0, -1e-6, 1e-6)
    shares: np.ndarray = (products / sums[:, None] * above.ravel()[:, None]).sum(axis=0)
    return shares.reshape(x.shape)


def by_hand(made: Classifier, image: Tensor, index: int, *, positive: bool) -> np.ndarray:
    network: Any = made.backbone
    linear: Any = made.head[2]  # type: ignore[index]
    with torch.no_grad():
        first = network.first(image[None])
        second = network.second(first)
        rectified = (first + second).relu()
        pooled, where = nn.functional.max_pool2d(rectified, 2, return_indices=True)
        last = network.third(pooled).relu()
        means = last.mean(dim=(2, 3))
        logits = linear(means)[0].double().numpy()

    def numbers(tensor):
        return tensor[0].double().numpy()

    target = np.where(np.arange(3) == index, logits, 0)
    of_means = handed_down(linear, numbers(means), target, positive=False)
    places = numbers(last).reshape(5, -1)
    down = places / (places.sum(axis=1, keepdims=True) + 1e-6) * of_means[:, None]
    down = handed_down(network.third, numbers(pooled), down, positive=positive)
    spread = np.zeros(rectified[0].numel()).reshape(4, -1)
    for channel in range(4):
        for place, value in zip(where[0, channel].flatten(), down[channel].ravel(), strict=True):
            spread[channel, place] += value
    above = spread.reshape(4, 6, 6)
    one, other = numbers(first), numbers(second)
    whole = one + other
    shared = above / (whole + np.where(whole < 0, -1e-6, 1e-6))
    down = shared * one + handed_down(network.second, one, shared * other, positive=positive)
    return handed_down(network.first, numbers(image[None]), down, positive=positive).sum(axis=0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rule", ["epsilon_plus", "epsilon"])
def test_relevance_is_that_of_the_dense_matrices(rule: str, bias: bool) -> None:
    made = classifier(bias=bias)
    found = relevance(AttributionNetwork(made), images(), rule).numpy()
    for index in range(3):
        for number, image in enumerate(images()):
            wanted = by_hand(made, image, index, positive=rule == "epsilon_plus")
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(
                found[index, number] / scale, wanted.clip(min=0) / scale, atol=2e-3
            )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rule", ["epsilon_plus", "epsilon"])
def test_without_biases_the_pixels_values_add_up_to_the_logit(rule: str, seed: int) -> None:
    made = classifier(bias=False, seed=seed)
    network = AttributionNetwork(made)
    with torch.no_grad():
        logits = made.network(images())
    options = Options("net", "positive", {"rule": rule, "epsilon": 1e-7})
    positive = lrp(network, images(), [0, 1, 2], options).scores
    both = Options("net", "abs", {"rule": rule, "epsilon": 1e-7})
    strength = lrp(network, images(), [0, 1, 2], both).scores
    total = (2 * positive - strength).sum(dim=(2, 3)).T
    scale = strength.sum(dim=(2, 3)).T  # what cancels rounds
    assert ((total - logits).abs() < 1e-3 * scale).all()


def test_a_positive_rule_hands_down_one_sign_only() -> None:
    made = classifier(bias=False)
    with torch.no_grad():
        made.head[2].weight.abs_()  # type: ignore[index]
        logits = made.network(images())
    assert (logits > 0).all()
    strength = lrp(
        AttributionNetwork(made),
        images(),
        [0],
        Options("net", "abs", {"rule": "epsilon_plus", "epsilon": 1e-7}),
    ).scores
    torch.testing.assert_close(strength[0].sum(dim=(1, 2)), logits[:, 0], rtol=1e-3, atol=1e-5)


def test_rules_leave_no_trace_in_the_network() -> None:
    network = AttributionNetwork(classifier(bias=True))
    plus, epsilon = (relevance(network, images(), rule) for rule in ("epsilon_plus", "epsilon"))
    assert torch.equal(relevance(network, images(), "epsilon_plus"), plus)
    assert torch.equal(relevance(network, images(), "epsilon"), epsilon)
    assert not torch.allclose(plus, epsilon)
    # Nor does a sample depend on its neighbours.
    alone = relevance(network, images()[1:], "epsilon_plus")
    torch.testing.assert_close(alone[:, 0], plus[:, 1], rtol=1e-4, atol=1e-6)


def test_a_plain_network_has_the_values_of_captums_own_call() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2))
        linear = nn.Linear(5, 3)
    made = Classifier(backbone, linear, CLASSES, input_size=32)
    found = relevance(AttributionNetwork(made), images(side=9), "epsilon")

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.pool, self.linear = backbone, nn.AdaptiveAvgPool2d(1), linear

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.linear(self.pool(self.backbone(inputs)).flatten(1))
            return logits

    plain = Plain()
    for index in range(3):
        for module in plain.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                vars(module)["rule"] = EpsilonRule(1e-6)
        wanted = LRP(plain).attribute(images(side=9).requires_grad_(), target=index).detach()
        wanted = wanted.sum(dim=1).relu()
        torch.testing.assert_close(found[index], wanted, rtol=1e-2, atol=1e-3 * float(wanted.max()))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext", "inception", "vit"])
def test_what_has_no_rule_is_refused_in_a_sentence(name: str) -> None:
    network = AttributionNetwork(small_network(name))
    with pytest.raises(Ws3Error, match=r"lrp .*; (make it a module, or )?use the method"):
        relevance(network, images(side=64), "epsilon")


class Scaled(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.convolution, self.norm = how, nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.convolution(inputs)
        if self.how == "norm":
            features = self.norm(features)
        elif self.how == "constant":
            features = features + 1
        elif self.how == "multiplied":
            features = features * features
        elif self.how == "parameter":
            features = features + self.scale
        return features


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("norm", "GroupNorm"),
        ("constant", "a constant that is added"),
        ("multiplied", "the function mul"),
        ("parameter", "a parameter outside of layers"),
    ],
)
def test_relevance_never_passes_silently_through_what_has_no_rule(how: str, message: str) -> None:
    made = Classifier(Scaled(how), nn.Linear(4, 3), CLASSES, input_size=32)
    with pytest.raises(Ws3Error, match=f"^lrp has no rule for {message}, which .*; use the method"):
        relevance(AttributionNetwork(made), images(), "epsilon")
