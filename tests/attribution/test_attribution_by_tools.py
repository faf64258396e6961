"""Methods against other libraries that have them; `make test-tools` installs these."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from other_tools import tool
from small_networks import small_network
from torch import Tensor, fx, nn
from torchvision import models

from ws3.attribution.attention import legrad
from ws3.attribution.interface import Options
from ws3.attribution.lrp import lrp
from ws3.attribution.network import AttributionNetwork


def images(count: int = 2) -> Tensor:
    return torch.randn((count, 3, 64, 64), generator=torch.Generator().manual_seed(5))


def test_torchcams_legrad_agrees() -> None:
    methods = tool("torchcam.methods")
    classifier = small_network("vit")
    network: Any = models.VisionTransformer(64, 16, 4, 2, 24, 48, num_classes=3)
    network.load_state_dict(classifier.network.state_dict())
    network.eval()
    blocks = list(network.encoder.layers)

    def of_class_token(tokens: Tensor) -> Tensor:
        logits: Tensor = network.heads(network.encoder.ln(tokens)[:, 0])
        return logits

    for last in (4, 2):
        options = Options(values={"blocks": last})
        found = legrad(AttributionNetwork(classifier), images(1), [1, 2], options).scores
        for position, index in enumerate((1, 2)):
            with methods.LeGrad(
                network, blocks[-last:], score_projection=of_class_token
            ) as extractor:
                (wanted,) = extractor(index, network(images(1)))
            torch.testing.assert_close(found[position], wanted, rtol=1e-3, atol=1e-4)


class _Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sum = tool("zennit.layer").Sum()

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        added: Tensor = self.sum(torch.stack([one, other], dim=-1))
        return added


def of_zennit(network: AttributionNetwork) -> nn.Module:
    """The network with a module for every ReLU and addition, as zennit wants it."""
    graph = fx.symbolic_trace(nn.Sequential(network.backbone, network.classifier_head))
    modules = dict(graph.named_modules())
    for number, node in enumerate(list(graph.graph.nodes)):
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.ReLU | nn.ReLU6):
            graph.add_submodule(f"rectifier_{number}", type(module)())
            node.target = f"rectifier_{number}"
        if node.target in (operator.add, operator.iadd):
            graph.add_submodule(f"sum_{number}", _Sum())
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.call_module(f"sum_{number}", node.args))
            graph.graph.erase_node(node)
    graph.recompile()
    return graph.eval()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
def test_zennits_epsilon_plus_agrees(name: str) -> None:
    composites, rules = tool("zennit.composites"), tool("zennit.rules")
    gradient, batch_norm = tool("zennit.attribution").Gradient, tool("zennit.types").BatchNorm
    network = AttributionNetwork(small_network(name))
    inputs = images()
    options = Options("net", "positive", {"rule": "epsilon_plus", "epsilon": 1e-6})
    found = lrp(network, inputs, [1], options).scores
    plus = composites.EpsilonPlus(layer_map=[(batch_norm, rules.Pass())])
    with gradient(model=of_zennit(network), composite=plus) as attributor:
        wanted = attributor(
            inputs.clone().requires_grad_(), lambda logits: logits * (torch.arange(3) == 1)
        )[1]
    wanted = wanted.sum(dim=1).relu()
    assert (found[0] - wanted).norm() <= 1e-3 * wanted.norm()
