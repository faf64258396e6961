"""The device's engine on torch's CPU device: its maps are the CPU path's, whatever its batches."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from ws3.aggregation.accumulate import collect_chunk
from ws3.aggregation.chunks import SampleChunk
from ws3.attribution.device_engine import DeviceAttributor
from ws3.attribution.engine import Attributor, image_maps
from ws3.attribution.graphs import ChosenClasses
from ws3.attribution.interface import Attribution
from ws3.classifier.model import Classifier
from ws3.config.load import resolve_recipe
from ws3.config.presets import PRESETS
from ws3.errors import Ws3Error
from ws3.sampling.plan import SamplePlan

SIZE = 48


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2), nn.ReLU6()]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3))
    return Classifier(nn.Sequential(*layers), head, ("a", "b", "c"), input_size=SIZE)


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def recipe_of(preset, **samples):
    recipe = dict(PRESETS[preset].recipe)
    if recipe["method"] == "layercam":
        recipe["options"] = {"stride": [2, 4]}  # the network's
    return resolve_recipe({**recipe, "samples": {**recipe.get("samples", {}), **samples}}, "it")


def plan_of(recipe, image):
    place = {"image": "i", "height": image.shape[0], "width": image.shape[1], "seed": 0}
    return SamplePlan(recipe.samples, **place, recipe="r", input_size=SIZE)


@pytest.mark.parametrize(
    ("preset", "samples"),
    [
        ("contrast_input", {"input_size": SIZE}),
        ("contrast_input", {"input_size": SIZE, "count": 4}),  # and the whole image
        ("contrast_input", {"input_size": SIZE, "keep_samples": True}),
        ("contrast_crops", {"input_size": SIZE}),
        ("cam_multiscale", {}),
        ("gradient", {"flip": True}),
        ("smoothgrad", {"count": 6}),
        ("sess", {"scales": [1.0, 1.5, 3.0], "step": 0.5}),
        ("fullgrad", {}),
    ],
)
def test_maps_are_the_cpus_up_to_rounding(classifier, image, preset, samples):
    recipe = recipe_of(preset, **samples)
    attributor = Attributor(classifier, recipe)
    plan = plan_of(recipe, image)
    expected = image_maps(attributor, image, plan, [0, 2]).astype(np.float32)
    found = DeviceAttributor(attributor, most_pixels=15 * SIZE * SIZE).maps(image, plan, [0, 2])
    for one, other in zip(found, expected, strict=True):
        assert spearmanr(one.ravel(), other.ravel()).statistic > 0.999
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_chunk_goes_on_where_it_was_stored(classifier, image):
    recipe = recipe_of("contrast_input", input_size=SIZE)
    attributor = Attributor(classifier, recipe)
    device, plan = DeviceAttributor(attributor), plan_of(recipe, image)
    stored = collect_chunk(
        attributor.attribute(image, plan, [1], range(16)), recipe.aggregation, (1, 90, 130)
    )
    assert isinstance(stored, SampleChunk)
    wanted = {"0": range(16, 20), "1": range(20, 23)}
    found = device.begin(image, plan, [1], wanted, {"0": stored, "1": None}).chunks()
    assert found["0"].samples == tuple(range(20))
    assert found["1"].samples == (20, 21, 22)
    whole = device.begin(image, plan, [1], {"0": range(20)}).chunks()
    sums, expected = (
        some["0"].sums for some in (found, whole) if isinstance(some["0"], SampleChunk)
    )
    np.testing.assert_allclose(sums, expected, rtol=0.05, atol=0.01 * expected.max())


def test_too_little_memory_halves_the_batch_with_one_line(classifier, image, caplog):
    recipe = recipe_of("contrast_input", input_size=SIZE)
    attributor = Attributor(classifier, recipe)
    plan, method, seen = plan_of(recipe, image), attributor.method, []

    def hungry(network, inputs, classes, options):
        seen.append(len(inputs))
        if len(inputs) > 12:
            raise torch.OutOfMemoryError
        return method(network, inputs, classes, options)

    plain = DeviceAttributor(attributor).maps(image, plan, [0])
    attributor.method = hungry
    device = DeviceAttributor(attributor)
    found = device.maps(image, plan, [0])
    device.maps(image, plan, [0])
    assert seen == [40, 20, *[10] * 4, *[10] * 4]
    assert caplog.messages == [
        "the cpu has too little memory for 40 samples at once; going on with 20",
        "the cpu has too little memory for 20 samples at once; going on with 10",
    ]
    np.testing.assert_allclose(found, plain, atol=1e-3)


def test_memory_for_not_even_one_sample_is_said(classifier, image):
    recipe = recipe_of("gradient")
    attributor = Attributor(classifier, recipe)

    def hungry(network, inputs, classes, options):
        raise torch.OutOfMemoryError

    attributor.method = hungry
    with pytest.raises(Ws3Error, match="too little memory for one sample of 32 x 64 pixels"):
        DeviceAttributor(attributor).maps(image, plan_of(recipe, image), [0])


def test_a_score_that_is_not_finite_is_an_error(classifier, image):
    recipe = recipe_of("gradient")
    attributor = Attributor(classifier, recipe)

    def broken(network, inputs, classes, options):
        return Attribution(torch.full((1, 1, 4, 4), torch.nan), torch.ones(1, 1))

    attributor.method = broken
    pending = DeviceAttributor(attributor).begin(image, plan_of(recipe, image), [0], {"0": [0]})
    with pytest.raises(Ws3Error, match="the attribution is not a finite number"):
        pending.chunks()


@pytest.mark.parametrize("preset", ["contrast_input", "cam_multiscale"])
def test_a_network_of_chosen_classes_is_the_network_itself(classifier, preset):
    attributor = Attributor(classifier, recipe_of(preset))
    inputs, chosen = torch.randn(3, 3, SIZE, SIZE), torch.tensor([2, 0])
    network = ChosenClasses(attributor.network, chosen)
    expected = attributor.method(attributor.network, inputs, [2, 0], attributor.options)
    found = attributor.method(network, inputs, range(2), attributor.options)
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.probabilities, expected.probabilities)
    chosen.copy_(torch.tensor([1, 1]))
    again = attributor.method(network, inputs, range(2), attributor.options)
    ones = attributor.method(attributor.network, inputs, [1], attributor.options)
    torch.testing.assert_close(again.scores[1], ones.scores[0])


def test_what_a_result_depends_on_is_named(classifier):
    facts = DeviceAttributor(Attributor(classifier, recipe_of("gradient"))).facts
    assert facts == {"device": "cpu", "precision": "fp32", "torch": torch.__version__, "cuda": ""}
