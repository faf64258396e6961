"""Methods of pytorch-grad-cam and Captum through their adapters: what a plain call returns."""

from __future__ import annotations

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from small_networks import small_network

import ws3
from ws3.attribution.interface import Options, load_method
from ws3.attribution.network import AttributionNetwork
from ws3.config.load import resolve_recipe
from ws3.errors import Ws3Error

pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")


def images(count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, 64, 96), generator=torch.Generator().manual_seed(5))


def explained(method: str, name: str, reduction: Any = "max", **values: Any) -> torch.Tensor:
    network = AttributionNetwork(small_network(name), named_layers="layer" in values)
    function, _ = load_method(resolve_recipe({"method": method, "options": values}, "a test"))
    return function(network, images(), [1, 2], Options(reduction, values=values)).scores


def plain(method: str, network: torch.nn.Module, layer: torch.nn.Module, reshape: Any) -> Any:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network.requires_grad_(True)
    maps = []
    for index in (1, 2):
        torch.manual_seed(0)
        with getattr(pytorch_grad_cam, method)(network, [layer], reshape) as cam:
            maps.append(cam(images(), [ClassifierOutputTarget(index)] * 2))
    return torch.from_numpy(np.stack(maps))


@pytest.mark.parametrize(
    "method",
    ["GradCAM", "HiResCAM", "XGradCAM", "ScoreCAM", "EigenCAM", "GradCAMElementWise", "LayerCAM"],
)
def test_pytorch_grad_cam_on_a_resnet_is_its_plain_call(method: str) -> None:
    found = explained(f"grad_cam:{method}", "resnet18", layer="layer3")
    network: Any = small_network("resnet18").network
    wanted = plain(method, network, network.layer3, None)
    torch.testing.assert_close(found, wanted.relu(), rtol=1e-3, atol=1e-3)
    assert found.any()


@pytest.mark.parametrize("method", ["GradCAM", "HiResCAM", "ScoreCAM", "EigenGradCAM"])
def test_pytorch_grad_cam_on_a_transformer_is_its_plain_call(method: str) -> None:
    found = explained(f"grad_cam:{method}", "vit")
    network: Any = small_network("vit").network

    def reshape(tokens):
        return tokens[:, 1:].permute(0, 2, 1).unflatten(2, (4, 6))

    wanted = plain(method, network, network.encoder.layers[-1].ln_1, reshape)
    torch.testing.assert_close(found, wanted.relu(), rtol=1e-3, atol=1e-3)
    assert found.shape == (2, 2, 64, 96)


def test_the_last_features_are_the_default_layer() -> None:
    found = explained("grad_cam:HiResCAM", "resnet18")
    named = explained("grad_cam:HiResCAM", "resnet18", layer="layer4")
    torch.testing.assert_close(found, named, rtol=1e-2, atol=1e-2)  # folding rounds otherwise


@pytest.mark.parametrize("name", ["resnet18", "vit", "swin"])
def test_captums_saliency_is_the_gradient(name: str) -> None:
    found = explained("captum:Saliency", name)
    torch.testing.assert_close(found, explained("gradient", name), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("GradientShap", {"n_samples": 3, "stdevs": 0.1}),
        ("InputXGradient", {}),
        ("IntegratedGradients", {"n_steps": 4}),
        ("Deconvolution", {}),
        ("Occlusion", {"sliding_window_shapes": [3, 32, 32], "strides": [3, 32, 32]}),
    ],
)
def test_captum_is_its_plain_call(method: str, values: dict[str, Any]) -> None:
    found = explained(f"captum:{method}", "resnet18", "sum", **values)
    # Folded as the adapter's network is, or ReLUs open and close at random.
    network = AttributionNetwork(small_network("resnet18"))
    whole = torch.nn.Sequential(network.backbone, network.classifier_head)
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    if method == "GradientShap":
        arguments["baselines"] = torch.zeros(2, 3, 64, 96)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    explainer = getattr(captum.attr, method)(whole)
    for position, index in enumerate((1, 2)):
        values_of = explainer.attribute(images().requires_grad_(), target=index, **arguments)
        wanted = values_of.detach().abs().sum(dim=1)
        torch.testing.assert_close(found[position], wanted, rtol=1e-3, atol=1e-6)
    assert found.any()


def test_what_is_random_is_the_same_again_and_leaves_the_generators_alone() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    first = explained("captum:GradientShap", "vit", stdevs=0.2)
    drawn = (float(torch.rand(1)), float(np.random.rand()))  # noqa: NPY002
    again = explained("captum:GradientShap", "vit", stdevs=0.2)
    assert torch.equal(first, again)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    small_network("vit")
    assert drawn == (float(torch.rand(1)), float(np.random.rand()))  # noqa: NPY002


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("grad_cam:ScoresCAM", {}, "no method grad_cam:ScoresCAM; pytorch_grad_cam has: Ablation"),
        ("captum:Lime", {"samples": 3}, "captum:Lime has no option 'samples'; it has: .*n_samples"),
        ("captum:LayerGradCam", {}, "explains a layer or wraps another method"),
        ("captum:NoiseTunnel", {}, "explains a layer or wraps another method"),
        ("captum:DeepLift", {}, "captum:DeepLift can't explain .* use another method"),
        ("grad_cam:GradCAM", {"layer": "nowhere"}, "has no layer 'nowhere'"),
        ("grad_cam:GradCAM", {"model": 1}, "has no option 'model'"),
    ],
)
def test_what_a_library_has_not_is_one_sentence(method, values, message) -> None:
    network = "resnet18" if method == "captum:DeepLift" else "vit"
    with pytest.raises(Ws3Error, match=message):
        explained(method, network, **values)


def test_a_recipe_may_name_them() -> None:
    picture = (images()[0].permute(1, 2, 0) * 50 + 128).clamp(0, 255).byte().numpy()
    recipe = {"method": "grad_cam:HiResCAM", "samples": {"kind": "full"}}
    maps = ws3.score_maps(small_network("vit"), picture, ["dog", "owl"], recipe)
    assert maps.shape == (2, 64, 96)
