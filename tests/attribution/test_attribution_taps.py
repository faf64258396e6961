"""Layers by name, and layers of networks that can't be cut in two."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import NETWORKS, small_network

import ws3
from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.attribution.taps import transformer_layers
from ws3.classifier.tokens import TokenBackbone
from ws3.config.methods import check_method, method_entry
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error


def images(*size: int, count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(5))


def reached(classifier: ws3.Classifier, name: str, inputs: torch.Tensor, index: int) -> Any:
    """A layer's output and the logit's gradient there, from plain hooks on the whole network."""
    seen = []

    def keep(module, given, output):
        seen.append(output)
        output.retain_grad()

    hook = classifier.network.get_submodule(name).register_forward_hook(keep)
    leaf = inputs.clone().requires_grad_()
    with torch.enable_grad():
        classifier.network(leaf)[:, index].sum().backward()
    hook.remove()
    return seen[0].detach(), seen[0].grad


def scores(classifier: ws3.Classifier, method: str, inputs: torch.Tensor, **values: Any) -> Any:
    named = AttributionNetwork(classifier, named_layers="layer" in values)
    return method_entry(method).load()(named, inputs, [1, 2], Options(values=values)).scores


def as_map(values: torch.Tensor, name: str, grid: tuple[int, int]) -> torch.Tensor:
    if values.ndim == 3:  # tokens, those of the prefix first
        patches = values[:, values.shape[1] - grid[0] * grid[1] :]
        return patches.permute(0, 2, 1).unflatten(2, grid)
    return values.permute(0, 3, 1, 2) if name == "swin" else values


@pytest.mark.parametrize(
    ("name", "layer", "grid"),
    [
        ("vit", "encoder.layers.encoder_layer_2.ln_1", (6, 4)),
        ("timm:test_vit", "blocks.2.norm1", (6, 4)),
        ("swin", "features.3.1.norm2", (12, 8)),
        ("resnet18", "layer3.1", (6, 4)),
        ("convnext", "features.5.0", (6, 4)),
    ],
)
def test_grad_cam_at_a_named_layer_is_that_of_plain_hooks(name, layer, grid) -> None:
    classifier, inputs = small_network(name), images(96, 64)
    found = scores(classifier, "gradcam", inputs, layer=layer)
    for position, index in enumerate([1, 2]):
        output, gradient = (
            as_map(values, name, grid) for values in reached(classifier, layer, inputs, index)
        )
        wanted = (gradient.mean(dim=(2, 3), keepdim=True) * output).sum(dim=1).relu()
        torch.testing.assert_close(found[position], wanted, rtol=1e-3, atol=1e-6)
    assert found.any()


def test_the_last_layer_of_a_class_token_is_what_goes_into_the_last_block() -> None:
    classifier, inputs = small_network("vit"), images(96, 64)
    last = scores(classifier, "gradcam", inputs)
    named = scores(classifier, "gradcam", inputs, layer="encoder.layers.encoder_layer_3.ln_1")
    torch.testing.assert_close(last, named)
    assert last.any()


def test_strides_of_a_plain_transformer_are_depths() -> None:
    backbone = small_network("timm:test_vit").backbone
    assert isinstance(backbone, TokenBackbone)
    blocks = len(backbone.block_names)
    chosen = [transformer_layers(backbone, [stride]) for stride in (4, 8, 16, 32)]
    numbers = [min(-(-blocks * quarter // 4), blocks - 1) for quarter in (1, 2, 3, 4)]
    assert chosen == [(f"part.blocks.{number}.norm1",) for number in numbers]
    assert transformer_layers(backbone, []) == chosen[-1]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("preset", ["contrast_crops", "contrast_scales", "refinecam"])
def test_presets_of_several_layers_work_on_every_network(name: str, preset: str) -> None:
    recipe: dict[str, Any] = {"preset": preset}
    if preset == "contrast_crops":
        size = {"count": 2, "samples_per_chunk": 2, "batch": 2, "whole_image": [1.0]}
        recipe["samples"] = {**size, "input_size": 64, "side": [0.8, 0.95]}
    if preset == "contrast_scales":
        recipe["samples"] = {"kind": "scales", "scales": [1.0], "flip": True, "input_size": 64}
    image = images(60, 50, count=1)[0].permute(1, 2, 0)
    pixels = (image * 50 + 128).clamp(0, 255).byte().numpy()
    maps = ws3.score_maps(small_network(name), pixels, ["dog", "owl"], recipe)
    assert maps.shape == (2, 60, 50)
    # A product of maps may be 0 everywhere, as their layers may agree nowhere.
    assert preset == "refinecam" or maps.any()


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("resnet18", "layer5", "backbone of resnet18 has no layer 'layer5'; it has, .*layer4"),
        ("resnet18", "fc", "has no layer 'fc'"),
        ("vit", "encoder.layers.encoder_layer_1.self_attention", "is no map of the image"),
        ("vit", "conv_proj", "is no map of the image"),
        ("swin", "features.1.0.mlp.0.nothing", "has no layer"),
    ],
)
def test_a_layer_that_has_no_map_is_refused(name, layer, message) -> None:
    with pytest.raises(Ws3Error, match=message):
        scores(small_network(name), "gradcam", images(64, 64), layer=layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "a", "stride": 4}, "names what stride chooses, too; give one of the two"),
        ({"layer": []}, "must be the name of a layer, or a list of names"),
        ({"layer": ["a", "a"]}, "each of them once"),
        ({"layer": "a", "fusion": "product"}, "needs several layers"),
    ],
)
def test_wrong_layers_are_refused_with_the_configuration(options, message) -> None:
    with pytest.raises(Ws3Error, match=message):
        check_method(Recipe(method="gradcam", options=options))


def test_layers_that_are_multiplied_may_be_named() -> None:
    recipe = {
        "method": "gradcam++",
        "options": {"layer": ["layer2", "layer4"], "fusion": "product"},
    }
    named = ws3.score_maps(small_network("resnet18"), _picture(), ["dog"], recipe)
    strides = {"method": "gradcam++", "options": {"stride": [8, 32], "fusion": "product"}}
    cut = ws3.score_maps(small_network("resnet18"), _picture(), ["dog"], strides)
    # Folding rounds otherwise.
    torch.testing.assert_close(torch.from_numpy(named), torch.from_numpy(cut), rtol=0, atol=0.02)


def _picture() -> Any:
    values = torch.rand((64, 64, 3), generator=torch.Generator().manual_seed(2))
    return (values * 255).byte().numpy()
