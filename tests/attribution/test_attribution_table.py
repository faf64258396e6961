"""The table of docs/recipes.md: which method explains which network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import small_network

from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.config.methods import OWN_METHODS, method_entry, method_options
from ws3.errors import Ws3Error

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
EXAMPLES = {
    "ResNet": "resnet18",
    "VGG": "vgg11_bn",
    "DenseNet": "densenet121",
    "MobileNetV2": "mobilenet_v2",
    "GoogLeNet": "googlenet",
    "Inception": "inception",
    "MobileNetV3": "mobilenet_v3_small",
    "EfficientNet": "efficientnet_b0",
    "ConvNeXt": "convnext",
    "Swin": "swin",
    "MaxViT": "maxvit",
    "timm's MaxViT": "timm:test_maxvit",
    "ViT with a class token": "vit",
    "timm's ViT with a class token": "timm:test_vit",
    "timm's ViT that averages its patches": "timm:test_vit4",
    "CLIP with a class token": "open_clip:tiny_clip",
}
ALSO = {
    "gradcam": ("gradcam++", "layercam"),
    "gradient": ("input_x_gradient", "integrated_gradients", "occlusion"),
}
FAST: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 2},
    "occlusion": {"window": 0.5, "stride": 0.5},
}


def table() -> dict[str, dict[str, str]]:
    section = (
        PAGE.read_text().partition("## Which method on which network")[2].partition("\n## ")[0]
    )
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = {}
    for name, *cells in rows:
        found[name] = {
            method: cell
            for names, cell in zip(head[1:], cells, strict=True)
            for method in re.findall(r"`([^`]+)`", names)
        }
    return found


def test_the_table_names_every_method_and_network() -> None:
    assert set(table()) == set(EXAMPLES)
    for row in table().values():
        methods = {*row, *(more for name in row for more in ALSO.get(name, ()))}
        assert methods == set(OWN_METHODS)
        assert set(row.values()) <= {"yes", "no"}


@pytest.mark.parametrize("network", EXAMPLES)
def test_a_method_explains_a_network_or_says_why_not(network: str) -> None:
    classifier = small_network(EXAMPLES[network])
    prepared = AttributionNetwork(classifier)
    # Larger than the features' stride, or deep layers have one pixel and one value.
    inputs = torch.randn((2, 3, 96, 64), generator=torch.Generator().manual_seed(5))
    for listed, cell in table()[network].items():
        for name in (listed, *ALSO.get(listed, ())):
            entry = method_entry(name)
            options = Options(values=method_options(name, entry, FAST.get(name, {})))
            if cell == "no":
                with pytest.raises(Ws3Error, match=r"^[^\n]*[;,:] [^\n]*$") as refusal:
                    entry.load()(prepared, inputs, [1, 2], options)
                assert "use" in str(refusal.value) or "make it" in str(refusal.value)
                continue
            found = entry.load()(prepared, inputs, [1, 2], options)
            assert found.scores.shape[:2] == (2, 2)
            assert torch.isfinite(found.scores).all()
            assert (found.scores >= 0).all()
            assert found.probabilities.shape == (2, 2)
            torch.testing.assert_close(
                found.probabilities,
                classifier.network(inputs)[:, 1:].sigmoid(),
                rtol=1e-2,
                atol=1e-3,
            )
