"""When `precision: auto` means bf16, and that it is the arithmetic it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18, resnext50_32x4d

from ws3.attribution import precision
from ws3.attribution.engine import Attributor
from ws3.attribution.precision import automatic_precision
from ws3.attribution.scorer import Scorer
from ws3.classifier.model import Classifier
from ws3.config.load import resolve_recipe
from ws3.torch_setup import multiplies_bf16

CROPS = {"preset": "gradient_crops", "precision": "auto"}


@pytest.fixture
def capable(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)


def recipe_of(**samples):
    return resolve_recipe({"method": "gradient", "samples": samples, "precision": "auto"})


@pytest.mark.parametrize(
    ("samples", "chosen"),
    [
        ({"kind": "crops", "count": 12}, "bf16"),
        ({"kind": "noise", "count": 12}, "bf16"),
        ({"kind": "crops", "count": 11}, "fp32"),
        ({"kind": "full"}, "fp32"),
        ({"kind": "scales", "scales": [1.0] * 12}, "fp32"),
        ({"kind": "crops", "count": {"max": 99, "tolerance": 0.1}, "samples_per_chunk": 6}, "bf16"),
        ({"kind": "crops", "count": {"max": 99, "tolerance": 0.1}, "samples_per_chunk": 5}, "fp32"),
    ],
)
def test_only_averages_over_enough_random_samples_are_rounded(capable, samples, chosen):
    assert automatic_precision(recipe_of(**samples), nn.Conv2d(3, 8, 3), "cpu") == chosen


@pytest.mark.parametrize(
    ("network", "chosen"),
    [(resnet18, "bf16"), (mobilenet_v2, "fp32"), (resnext50_32x4d, "fp32")],
)
def test_grouped_convolutions_are_left_in_fp32(capable, network, chosen):
    with torch.device("meta"):
        backbone = network()
    assert automatic_precision(recipe_of(kind="crops", count=24), backbone, "cpu") == chosen


def test_a_gpu_and_a_cpu_without_such_products_compute_in_fp32(capable, monkeypatch):
    recipe, layer = recipe_of(kind="crops", count=24), nn.Conv2d(3, 8, 3)
    assert automatic_precision(recipe, layer, "cuda") == "fp32"
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    assert automatic_precision(recipe, layer, "cpu") == "fp32"


@pytest.mark.parametrize(
    ("flags", "found"), [("sse4_2 avx512_bf16", True), ("amx_bf16", True), ("avx2 avx512bw", False)]
)
def test_the_cpu_tells_what_it_multiplies(tmp_path, monkeypatch, flags, found):
    told = tmp_path / "cpuinfo"
    told.write_text(f"flags : {flags}\n")
    monkeypatch.setattr("ws3.torch_setup.Path", lambda path: told)
    assert multiplies_bf16() == found
    told.unlink()
    assert not multiplies_bf16()


def small_classifier():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3))
    return Classifier(backbone, nn.Linear(8, 2), ("cat", "dog"), input_size=64)


def test_a_notebook_computes_with_what_auto_means_here(capable):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    maps = {
        name: Scorer(small_classifier(), {**CROPS, "precision": name}, recipe_name="r").maps(
            image, ["dog"]
        )
        for name in ("auto", "bf16", "fp32")
    }
    np.testing.assert_array_equal(maps["auto"], maps["bf16"])
    assert not np.array_equal(maps["auto"], maps["fp32"])
    np.testing.assert_allclose(maps["auto"], maps["fp32"], atol=0.1)


def test_in_bf16_a_samples_value_does_not_depend_on_its_neighbours(capable):
    attributor = Attributor(small_classifier(), resolve_recipe(CROPS))
    assert attributor.precision == "bf16"
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((16, 3, 64, 64), np.float32)
    scores, _ = attributor(batch, [0, 1])
    for keep in (0, 9, 15):
        other = rng.standard_normal((16, 3, 64, 64), np.float32)
        other[keep] = batch[keep]
        np.testing.assert_array_equal(attributor(other, [0, 1])[0][:, keep], scores[:, keep])
