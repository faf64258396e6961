"""Networks: heads, the split in backbone and head, folding, devices."""

from __future__ import annotations

import pytest
import torch
from lively_norms import with_lively_norms
from torch import nn
from torchvision import models

from ws3 import torch_setup
from ws3.classifier import networks
from ws3.classifier.build import build_classifier
from ws3.classifier.model import backbone_and_head_parameters, cam_weight, folded
from ws3.errors import Ws3Error

# One of each family, and the ReLU networks' side branches.
SMALL = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x0_5",
    "swin_t",
    "vgg11",
    "vgg11_bn",
]


@pytest.mark.parametrize("architecture", SMALL)
@torch.no_grad()
def test_backbone_and_head_are_the_network_and_folding_keeps_it(architecture: str) -> None:
    torch.manual_seed(0)
    network = with_lively_norms(networks.build(architecture, 3))
    fast = folded(networks.backbone(network))
    assert isinstance(fast, torch.fx.GraphModule)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in networks.backbone(network).modules())
    left = sum(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    assert left < norms or norms == 0
    for size in ((64, 64), (96, 72)):  # folding must not freeze the size
        images = torch.randn(2, 3, *size)
        expected = network(images)
        features = networks.backbone(network)(images)
        assert expected.shape == (2, 3)
        assert features.ndim == 4
        torch.testing.assert_close(networks.classifier_head(network)(features), expected)
        scale = float(expected.abs().max())
        folded_logits = networks.classifier_head(network)(fast(images))
        torch.testing.assert_close(folded_logits, expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("architecture", SMALL)
@torch.no_grad()
def test_a_linear_head_is_exactly_pooling_and_a_linear_layer(architecture: str) -> None:
    network = networks.build(architecture, 4).eval()
    weight = cam_weight(networks.classifier_head(network))
    assert (weight is None) == (architecture in ("convnext_tiny", "mobilenet_v3_small"))
    if weight is not None:
        (head,) = [m for m in networks.classifier_head(network).modules() if type(m) is nn.Linear]
        images = torch.randn(1, 3, 64, 64)
        pooled = networks.backbone(network)(images).mean(dim=(2, 3))
        torch.testing.assert_close(pooled @ weight.T + head.bias, network(images))


def test_parameters_part_in_backbone_and_head() -> None:
    classifier = build_classifier("mobilenet_v3_small", list("abcdefg"), 64)
    network = classifier.network
    backbone, head = backbone_and_head_parameters(classifier)
    assert [tuple(p.shape) for p in head] == [(7, 1024), (7,)]
    assert len(backbone) + 2 == len(list(network.parameters()))


def test_all_but_vgg_and_alexnet_keep_torchvisions_parameter_names() -> None:
    for architecture in ("resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny"):
        own = networks.build(architecture, 3).state_dict()
        theirs = models.get_model(architecture, num_classes=3).state_dict()
        assert {n: v.shape for n, v in own.items()} == {n: v.shape for n, v in theirs.items()}


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("resnet_50", "did you mean .*resnet50"),
        ("fcn_resnet50", "torchvision has no classification network 'fcn_resnet50'"),
        ("squeezenet1_1", "squeezenet1_1 is not supported, .* choose a network of one of these"),
    ],
)
def test_other_networks_are_refused(architecture: str, message: str) -> None:
    with pytest.raises(Ws3Error, match=message):
        networks.build(architecture, 3)


def test_every_classification_network_is_built_or_refused_by_its_class() -> None:
    refused = set()
    for architecture in models.list_models(module=models):
        kind = networks.family_of(architecture)
        if kind is None:
            refused.add(architecture.rstrip("0123456789_").split("_")[0])
    assert refused == {"squeezenet"}


def test_what_cannot_be_traced_is_copied_as_it_is() -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.layer(images)
            return result if result.sum() > 0 else -result

    part = Choosy()
    copied = folded(part)
    images = torch.randn(1, 3, 8, 8)
    assert isinstance(copied, Choosy)
    assert copied is not part
    assert torch.equal(copied(images), part.eval()(images))


def test_normalisation_is_that_of_torchvisions_weights() -> None:
    assert networks.normalisation("resnet50")[0] == (0.485, 0.456, 0.406)
    assert networks.normalisation("efficientnet_v2_l") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_setup.device("auto") == torch_setup.device("cpu") == torch.device("cpu")
    with pytest.raises(Ws3Error, match="no GPU"):
        torch_setup.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_setup.device("auto") == torch_setup.device("cuda") == torch.device("cuda")
    assert torch_setup.device("cpu") == torch.device("cpu")
