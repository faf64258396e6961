"""On a real GPU: its maps are the CPU's, and no step of the host waits for it.

It imports little, so that `make gpu` can run it on a machine that has no more than torch.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ws3.attribution.device_engine import DeviceAttributor
from ws3.attribution.engine import Attributor, image_maps
from ws3.classifier.model import Classifier
from ws3.config.load import resolve_recipe
from ws3.config.presets import PRESETS
from ws3.sampling.plan import SamplePlan

SIZE = 48


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("preset", ["contrast_input", "contrast_crops", "cam_multiscale"])
def test_a_gpu_makes_the_cpus_maps_without_being_waited_for(preset):
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2), nn.ReLU6()]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3))
    classifier = Classifier(nn.Sequential(*layers), head, ("a", "b", "c"), input_size=SIZE)
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    settings = dict(PRESETS[preset].recipe)
    if settings["method"] == "layercam":
        settings["options"] = {"stride": [2, 4]}  # the network's
    if preset != "cam_multiscale":
        settings["samples"] = {**settings["samples"], "input_size": SIZE}
    recipe = resolve_recipe(settings, "the recipe")
    place = {"image": "i", "height": image.shape[0], "width": image.shape[1], "seed": 0}
    plan = SamplePlan(recipe.samples, **place, recipe="r", input_size=SIZE)
    expected = image_maps(Attributor(classifier, recipe), image, plan, [0, 2])
    device = DeviceAttributor(Attributor(classifier, recipe, "cuda"))
    for _ in range(4):  # the last ones by a graph
        found = device.maps(image, plan, [0, 2])
        for one, other in zip(found, expected, strict=True):
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.995
    wanted = {"0": range(plan.total)}
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = device.begin(image, plan, [0, 2], wanted)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert pending.chunks()["0"].samples == tuple(range(plan.total))
    assert pending.seconds > 0
