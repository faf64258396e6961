"""When samples are enough: the error that is told against the error that there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ws3.aggregation.chunks import COVER_CHUNK, SampleChunk
from ws3.aggregation.settling import Settling
from ws3.config.recipes import AdaptiveCount, Aggregation, Recipe, Samples
from ws3.sampling.plan import SamplePlan

HEIGHT, WIDTH = 60, 80


def settling_of(tolerance=0.1, *, height=HEIGHT, width=WIDTH, **aggregation):
    count = AdaptiveCount(max=1000, tolerance=tolerance)
    samples = Samples(kind="noise", count=count)
    recipe = Recipe(method="gradient", samples=samples, aggregation=Aggregation(**aggregation))
    plan = SamplePlan(
        samples, image="i", height=height, width=width, seed=0, recipe="r", input_size=32
    )
    return Settling(recipe, plan)


def chunk_of(samples, numbers, weights=None):
    """Return the sum of samples (n, classes, H, W), uniform or with weights (n, classes)."""
    if weights is None:
        counts = np.full(samples.shape[2:], len(samples), np.uint16)
        return SampleChunk(tuple(numbers), samples.sum(axis=0), counts)
    each = weights[:, :, None, None].astype(np.float32)
    total = np.broadcast_to(each, samples.shape).sum(axis=0)
    return SampleChunk(tuple(numbers), (samples * each).sum(axis=0), total)


def fed(settling, samples, per_chunk, whole=None, weights=None):
    if whole is not None:
        settling.add(COVER_CHUNK, chunk_of(whole, [-1 - k for k in range(len(whole))]))
    for number, begin in enumerate(range(0, len(samples), per_chunk)):
        some = slice(begin, begin + per_chunk)
        part = None if weights is None else weights[some]
        numbers = range(begin, begin + len(samples[some]))
        settling.add(str(number), chunk_of(samples[some], numbers, part))
    return settling


def noisy(rng, count, mean, deviation, classes=1):
    drawn = mean + deviation * rng.standard_normal((count, classes, HEIGHT, WIDTH))
    return drawn.astype(np.float32)


@pytest.mark.parametrize(("count", "per_chunk"), [(8, 4), (12, 4), (20, 4), (18, 4)])
def test_the_error_is_that_of_a_mean_of_independent_samples(count, per_chunk):
    # Of values with mean 2 and deviation 0.5, the mean of n is off by 0.5 / sqrt(n).
    samples = noisy(np.random.default_rng(0), count, 2.0, 0.5)
    told = fed(settling_of(), samples, per_chunk).error
    assert told == pytest.approx(0.5 / math.sqrt(count) / 2, rel=0.05)


def test_whole_images_beside_crops_take_their_share_of_the_mean_without_an_error():
    # The mean of 12 random and 6 fixed ones is off by 12 / 18 of what the 12 alone are.
    rng = np.random.default_rng(1)
    samples = noisy(rng, 12, 2.0, 0.5)
    whole = np.full((6, 1, HEIGHT, WIDTH), 2.0, np.float32)
    told = fed(settling_of(), samples, 6, whole).error
    assert told == pytest.approx(12 / 18 * 0.5 / math.sqrt(12) / 2, rel=0.05)


@pytest.mark.parametrize("smoothing", [0.0, 0.03])
def test_on_average_the_smoothed_mean_is_as_far_off_as_is_told(smoothing):
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    truth = 1 + np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / 300)
    sigma = smoothing * math.sqrt(HEIGHT * WIDTH)
    told, real = [], []
    for _ in range(25):
        # Errors that reach over several pixels, as those of real maps do.
        noise = gaussian_filter(rng.standard_normal((16, HEIGHT, WIDTH)), (0, 2, 2)) * 4
        samples = (truth + noise)[:, None].astype(np.float32)
        told.append(fed(settling_of(smoothing=smoothing), samples, 4).error)
        smoothed = [
            gaussian_filter(one, sigma, mode="mirror") if sigma else one
            for one in (samples[:, 0].mean(axis=0), truth)
        ]
        real.append(np.linalg.norm(smoothed[0] - smoothed[1]) / np.linalg.norm(smoothed[1]))
    assert np.mean(told) == pytest.approx(np.mean(real), rel=0.1)


def test_weights_count_as_samples_do():
    rng = np.random.default_rng(3)
    samples = noisy(rng, 16, 2.0, 0.5)
    uniform = fed(settling_of(), samples, 4).error
    weights = np.full((16, 1), 0.3)
    weighted = fed(settling_of(weight="probability"), samples, 4, weights=weights).error
    assert weighted == pytest.approx(uniform, rel=1e-4)


def test_the_worst_class_decides():
    rng = np.random.default_rng(4)
    calm, wild = noisy(rng, 8, 2.0, 0.1), noisy(rng, 8, 2.0, 1.0)
    both = np.concatenate([calm, wild], axis=1)
    assert fed(settling_of(), both, 4).error == fed(settling_of(), wild, 4).error


def test_samples_without_noise_settle_at_once():
    same = np.broadcast_to(noisy(np.random.default_rng(5), 1, 2.0, 0.5), (8, 1, HEIGHT, WIDTH))
    settling = settling_of(1e-6)
    settling.add("0", chunk_of(same[:4], range(4)))
    assert not settling.settled
    settling.add("1", chunk_of(same[4:], range(4, 8)))
    assert (settling.error, settling.settled, settling.samples) == (0.0, True, 8)


def test_a_map_of_zeros_has_settled():
    assert fed(settling_of(), np.zeros((8, 1, HEIGHT, WIDTH), np.float32), 4).settled


def test_what_only_one_half_has_seen_is_as_uncertain_as_it_is_large():
    # Half of the pixels, equally bright, lie in one half of the samples alone.
    counts = [np.full((2, 2), 3, np.uint16), np.array([[3, 3], [0, 0]], np.uint16)]
    settling = settling_of(2.0, height=2, width=2)
    for name, count in zip("01", counts, strict=True):
        settling.add(name, SampleChunk((0, 1, 2), 5.0 * count[None].astype(np.float32), count))
    assert settling.error == pytest.approx(math.sqrt(0.5))
    assert settling.settled


def test_no_image_stops_before_every_pixel_lies_in_a_sample():
    count = np.array([[3, 3], [3, 0]], np.uint16)
    settling = settling_of(2.0, height=2, width=2)
    for name in "01":
        settling.add(name, SampleChunk((0, 1, 2), count[None].astype(np.float32), count))
    assert not settling.settled
    settling.add("2", SampleChunk((3,), np.ones((1, 2, 2), np.float32), np.ones_like(count)))
    assert settling.settled


def stop_at(tolerance, samples, per_chunk):
    """Return after how many samples a tolerance stops; all of them if it doesn't."""
    settling = settling_of(tolerance, height=3, width=4)
    for number, begin in enumerate(range(0, len(samples), per_chunk)):
        some = samples[begin : begin + per_chunk]
        settling.add(str(number), chunk_of(some, range(begin, begin + len(some))))
        if settling.settled:
            break
    return settling.samples


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(3, 30),
    per_chunk=st.integers(1, 6),
    tolerances=st.tuples(st.floats(0, 1.5), st.floats(0, 1.5)).map(sorted),
)
def test_a_larger_tolerance_never_takes_more_samples(seed, count, per_chunk, tolerances):
    rng = np.random.default_rng(seed)
    samples = rng.gamma(rng.uniform(0.1, 3), size=(count, 2, 3, 4)).astype(np.float32)
    strict, lenient = (stop_at(tolerance, samples, per_chunk) for tolerance in tolerances)
    assert lenient <= strict


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 30), per_chunk=st.integers(1, 6))
def test_the_ends_of_the_scale(seed, count, per_chunk):
    samples = np.random.default_rng(seed).gamma(0.3, size=(count, 1, 3, 4)).astype(np.float32)
    assert stop_at(0.0, samples, per_chunk) == count
    assert stop_at(1.01, samples, per_chunk) == min(count, 2 * per_chunk)


def test_a_number_does_not_settle():
    recipe = Recipe(method="gradient", samples=Samples(kind="noise", count=12))
    plan = SamplePlan(
        recipe.samples, image="i", height=4, width=4, seed=0, recipe="r", input_size=32
    )
    with pytest.raises(ValueError, match="count is a number"):
        Settling(recipe, plan)
