"""FullGrad: complete, and as pytorch-grad-cam and its authors compute it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam import FullGrad
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import ws3
from ws3.attribution import fullgrad as module
from ws3.attribution.channels import rescaled
from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier
from ws3.config.methods import check_method
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error

CLASSES = [2, 0]


@torch.no_grad()
def trained(architecture: str) -> Classifier:
    """Make a network whose batch norms and biases are not idle, with logits far above rounding."""
    torch.manual_seed(1)
    classifier = build_classifier(architecture, ("a", "b", "c"), 64)
    network = classifier.network.double().train()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d) and layer.bias is not None:
            layer.bias.copy_(0.1 * torch.randn_like(layer.bias))
    for _ in range(3):
        network(torch.randn(3, 3, 64, 64).double())
    for parameter in classifier.head.parameters():
        parameter.mul_(1e10)  # pytorch-grad-cam adds 1e-7 to what it divides by
    network.eval()
    return classifier


def images() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, 64, 96, generator=generator, dtype=torch.float64)


def scores(network: AttributionNetwork, rescale: str) -> Tensor:
    options = Options(values={"rescale": rescale})
    return module.fullgrad(network, images(), CLASSES, options).scores


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121", "vgg11_bn"])
def test_the_full_gradient_adds_up_to_the_logit(architecture: str) -> None:
    """The theorem of the paper, for batch norms behind and before convolutions."""
    classifier = trained(architecture)
    network = AttributionNetwork(classifier)
    leaf = images().requires_grad_()
    with module._affine_outputs(network.backbone) as affine:
        logits = network(leaf)
    parts = list(module.full_gradient(logits[:, 1], leaf, affine, retain_graph=False))
    total = torch.stack([part.sum(dim=(1, 2, 3)) for part in parts]).sum(dim=0)
    (linear,) = [layer for layer in classifier.head.modules() if isinstance(layer, nn.Linear)]
    torch.testing.assert_close(total, classifier.network(images())[:, 1] - linear.bias[1])
    assert float((parts[0].sum(dim=(1, 2, 3)) - total).detach().abs().min()) > 1e-3


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v2", "vgg11"])
def test_pytorch_grad_cam_agrees(architecture: str) -> None:
    classifier = trained(architecture)
    found = scores(AttributionNetwork(classifier), "channel")
    assert found.shape == (2, 2, 64, 96)
    for position, index in enumerate(CLASSES):
        for number, image in enumerate(images()):
            with FullGrad(classifier.network, []) as peer:
                wanted = peer(image[None].clone(), [ClassifierOutputTarget(index)])[0]
            mine = found[position, number].numpy()
            mine = (mine - mine.min()) / (mine.max() - mine.min())
            np.testing.assert_allclose(mine, wanted, atol=1e-3)


def _keep(kept: list[Any], layer: nn.Module, given: object, output: Tensor) -> Tensor:
    kept.append((layer, output))
    return output.clone()


def test_by_default_it_scales_as_the_authors_program_does() -> None:
    """`_postProcess` of their repository, with unfolded batch norms and plain hooks."""
    classifier = trained("resnet18")
    found = scores(AttributionNetwork(classifier), "layer")
    network, given = classifier.network, images()
    for position, index in enumerate(CLASSES):
        outputs: list[tuple[nn.BatchNorm2d, Tensor]] = []
        hooks = [
            layer.register_forward_hook(partial(_keep, outputs))
            for layer in network.modules()
            if isinstance(layer, nn.BatchNorm2d)
        ]
        leaf = given.clone().requires_grad_()
        gradients = torch.autograd.grad(
            network(leaf)[:, index].sum(), [leaf, *(output for _, output in outputs)]
        )
        for hook in hooks:
            hook.remove()
        parts = [leaf.detach() * gradients[0]]
        for (layer, _), gradient in zip(outputs, gradients[1:], strict=True):
            # What the layer makes of zeros.
            bias = layer(torch.zeros(1, layer.num_features, 1, 1, dtype=torch.float64))
            parts.append((bias * gradient).detach())
        wanted = torch.zeros(2, 1, 64, 96, dtype=torch.float64)
        for part in parts:
            flat = part.abs().flatten(1)
            low, high = flat.min(1).values, flat.max(1).values
            part = (part.abs() - low.view(-1, 1, 1, 1)) / (high - low).view(-1, 1, 1, 1)
            large = nn.functional.interpolate(part, (64, 96), mode="bilinear")
            wanted += large.sum(dim=1, keepdim=True)
        torch.testing.assert_close(found[position], wanted[:, 0].float(), rtol=1e-4, atol=1e-5)


def test_a_constant_contribution_is_no_map() -> None:
    flat = torch.full((1, 2, 3, 3), 4.0)
    assert not rescaled(flat, (1, 2, 3)).any()
    ramp = torch.tensor([[[[1.0, 2.0, 3.0]], [[1.0, 1.0, 5.0]]]])
    assert rescaled(ramp, (1, 2, 3)).flatten().tolist() == [0, 0.25, 0.5, 0, 0, 1]
    assert rescaled(ramp, (2, 3)).flatten().tolist() == [0, 0.5, 1, 0, 0, 1]


def test_the_preset_scores_an_image_at_a_finer_output_stride_too() -> None:
    torch.manual_seed(0)
    classifier = build_classifier("mobilenet_v2", ("cat", "dog"), 64)
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    one, other = (
        ws3.score_maps(classifier, image, ["dog"], {"preset": "fullgrad", "output_stride": stride})
        for stride in (None, 16)
    )
    assert one.shape == other.shape == (1, 64, 80)
    assert one.max() == other.max() == 1
    assert not np.array_equal(one, other)


def test_another_way_of_scaling_is_refused() -> None:
    recipe = Recipe(method="fullgrad", options={"rescale": "image"})
    with pytest.raises(Ws3Error, match="the option rescale of the method fullgrad is 'image'"):
        check_method(recipe)
