"""The device's cutting, resizing and pasting against the CPU's, on torch's CPU device."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ws3.aggregation.accumulate import Accumulator
from ws3.attribution import device_geometry
from ws3.attribution.device_geometry import (
    DeviceSums,
    ImageOnDevice,
    as_chunk,
    axis_taps,
    frames,
)
from ws3.config.recipes import Aggregation, Masking, Samples
from ws3.pixels import IMAGENET_MEAN, IMAGENET_STD, resize
from ws3.sampling.plan import Sample, SamplePlan
from ws3.sampling.views import render_sample
from ws3.sampling.windows import Window

CPU = torch.device("cpu")
sides = st.integers(1, 90)


def plan_of(height, width, samples):
    return SamplePlan(
        samples, image="i", height=height, width=width, seed=1, recipe="r", input_size=64
    )


@st.composite
def placed(draw, count=3):
    """Return an image's height and width, and samples of one size anywhere in it."""
    height, width = draw(st.integers(1, 375)), draw(st.integers(1, 500))
    size = draw(st.integers(1, 120)), draw(st.integers(1, 120))
    samples = []
    for number in range(draw(st.integers(1, count))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        window = Window(
            top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
        )
        samples.append(Sample(number, window, *size, flip=draw(st.booleans())))
    return height, width, samples


def rendered(image, samples, plan):
    found = ImageOnDevice(image, plan, IMAGENET_MEAN, IMAGENET_STD, CPU).render(samples)
    assert found.is_contiguous(memory_format=torch.channels_last)
    one_by_one = [render_sample(image, one, plan, IMAGENET_MEAN, IMAGENET_STD) for one in samples]
    return found.numpy(), np.stack(one_by_one)


def named(samples):
    return [("0", sample) for sample in samples]


def chunk_of(sums):
    return as_chunk(sums.samples["0"], sums.sums[0], sums.weights[0])


def in_bytes(difference):
    return np.abs(difference) * np.array(IMAGENET_STD)[:, None, None] * 255


@given(sides, sides, sides, sides)
def test_taps_are_opencvs_own_weights(height, width, new_height, new_width):
    pixels = np.random.default_rng(0).random((height, width)).astype(np.float32)
    sizes = frames([Sample(0, Window(0, 0, height, width), new_height, new_width)], CPU)
    at = torch.arange(max(new_height, new_width), dtype=torch.float64)[None, None, :, None]
    places, weights = axis_taps(sizes, at)
    matrices = []
    for axis, (new, old) in enumerate([(new_height, height), (new_width, width)]):
        one = places[axis, 0, :new], weights[axis, 0, :new]
        matrices.append(torch.zeros(new, old).scatter_add_(1, *one).numpy())
    expected = resize(pixels, new_height, new_width)
    np.testing.assert_allclose(matrices[0] @ pixels @ matrices[1].T, expected, atol=1e-5)


@settings(max_examples=60)
@given(placed(), st.integers(0, 2**32 - 1))
def test_samples_look_as_on_the_cpu_but_for_the_rounding_of_bytes(place, seed):
    height, width, samples = place
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found, expected = rendered(image, samples, plan_of(height, width, Samples()))
    assert in_bytes(found - expected).max() < 1.001


@pytest.mark.parametrize(("height", "width"), [(375, 500), (1, 3), (3, 1), (500, 40)])
@pytest.mark.parametrize(
    "samples",
    [
        Samples(kind="crops", count=12, flip=True),
        Samples(kind="crops", count=4, noise=0.2, masking=Masking()),
        Samples(kind="full", flip=True),
        Samples(kind="noise", count=3),
        Samples(kind="masking", count=3),
    ],
)
def test_samples_of_every_kind_differ_in_few_pixels(height, width, samples):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2).reshape(noise.shape)
    plan = plan_of(height, width, samples)
    some = [plan.sample(number) for number in range(plan.total)]
    found, expected = rendered(image, some, plan)
    difference = in_bytes(found - expected)
    assert difference.max() < 1.001
    assert np.mean(difference > 0.01) < 0.12
    assert abs(np.mean(found - expected)) < 0.05 / 255 / 0.225


def test_a_shrunk_sample_has_the_very_bytes_of_the_cpus():
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    plan = plan_of(300, 200, Samples())
    windows = [Window(3, 5, 190, 170), Window(0, 0, 128, 128), Window(9, 8, 64, 64)]
    found, expected = rendered(image, [Sample(0, one, 64, 64) for one in windows], plan)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=60)
@given(
    placed(),
    st.sampled_from(["mean", "max"]),
    st.sampled_from(["uniform", "probability"]),
    st.sampled_from(["none", "max", "mean"]),
    st.booleans(),
)
def test_sums_are_the_cpus(place, combine_samples, weight, normalise_samples, coarse):
    height, width, samples = place
    aggregation = Aggregation(
        combine_samples=combine_samples, weight=weight, normalise_samples=normalise_samples
    )
    rng = np.random.default_rng(0)
    shape = (5, 7) if coarse else (samples[0].height, samples[0].width)
    scores = rng.random((2, len(samples), *shape)).astype(np.float32)
    scores[1, 0] = 0  # nothing to divide by
    probabilities = rng.uniform(1e-6, 1, (len(samples), 2)).astype(np.float32)
    expected = Accumulator(aggregation, 2, height, width)
    for index, sample in enumerate(samples):
        expected.add(sample, scores[:, index], probabilities[index])
    sums = DeviceSums(aggregation, 2, height, width, CPU, {"0": None})
    sums.add(named(samples), torch.from_numpy(scores), torch.from_numpy(probabilities))
    found, want = chunk_of(sums), expected.chunk()
    assert found.samples == want.samples
    assert found.weights.dtype == want.weights.dtype
    np.testing.assert_allclose(found.weights, want.weights, rtol=1e-5)
    np.testing.assert_allclose(found.sums, want.sums, rtol=1e-5, atol=1e-5)


def test_a_sum_goes_on_from_a_stored_chunk_beside_another():
    plan = plan_of(40, 50, Samples(kind="crops", count=8))
    samples = [plan.sample(number) for number in range(8)]
    scores, certain = torch.rand(1, 8, 8, 8), torch.ones(8, 1)
    names = [*"000000", *"11"]

    def sums(numbers, stored):
        made = DeviceSums(Aggregation(), 1, 40, 50, CPU, stored)
        some = [(names[number], samples[number]) for number in numbers]
        made.add(some, scores[:, list(numbers)], certain[list(numbers)])
        return made

    stored = chunk_of(sums(range(4), {"0": None}))
    before = stored.sums.copy()
    going_on = sums(range(4, 8), {"0": stored, "1": None})
    whole = sums(range(8), {"0": None, "1": None})
    assert going_on.samples == whole.samples == {"0": (0, 1, 2, 3, 4, 5), "1": (6, 7)}
    torch.testing.assert_close(going_on.weights, whole.weights, rtol=0, atol=0)
    torch.testing.assert_close(going_on.sums, whole.sums)
    np.testing.assert_array_equal(stored.sums, before)


def test_large_batches_are_worked_on_in_parts(monkeypatch):
    plan = plan_of(60, 80, Samples(kind="crops", count=7))
    samples = [plan.sample(number) for number in range(7)]
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    scores, certain = torch.rand(2, 7, 9, 9), torch.rand(7, 2)

    def both():
        seen = ImageOnDevice(image, plan, IMAGENET_MEAN, IMAGENET_STD, CPU).render(samples)
        weighted = Aggregation(weight="probability")
        sums = DeviceSums(weighted, 2, 60, 80, CPU, {"0": None})
        sums.add(named(samples), scores, certain)
        return seen, sums.sums, sums.weights

    at_once = both()
    monkeypatch.setattr(device_geometry, "_LARGEST_TABLE", 250_000)
    for found, expected in zip(both(), at_once, strict=True):
        torch.testing.assert_close(found, expected)
