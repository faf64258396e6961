"""Aggregation against the formula, written out in float64, and against cases by hand."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ws3.aggregation.accumulate import Accumulator, normalised, raw_chunk
from ws3.aggregation.chunks import SampleChunk
from ws3.aggregation.combine import combine, scale, smooth, subtract_others
from ws3.config.recipes import Aggregation, Samples
from ws3.errors import Ws3Error
from ws3.sampling.plan import WHOLE_IMAGE, SamplePlan

HEIGHT, WIDTH, CLASSES = 24, 36, 2


def plan_of(count=14, **samples):
    return SamplePlan(
        Samples(kind="crops", count=count, flip=True, **samples),
        image="i",
        height=HEIGHT,
        width=WIDTH,
        seed=3,
        recipe="r",
        input_size=32,
    )


def drawn(sample, classes=CLASSES):
    """Return a sample's scores, already of its window's size, and its probabilities."""
    rng = np.random.default_rng(1000 + sample.number)
    shape = (classes, sample.window.height, sample.window.width)
    return rng.random(shape, np.float32), rng.uniform(0.05, 1, classes).astype(np.float32)


def accumulated(plan, numbers, aggregation, classes=CLASSES):
    accumulator = Accumulator(aggregation, classes, HEIGHT, WIDTH)
    for number in numbers:
        accumulator.add(plan.sample(number), *drawn(plan.sample(number), classes))
    return accumulator.chunk()


def by_the_formula(plan, numbers, aggregation):
    """Return max or sum_k w s / sum_k w in float64, each class divided by its maximum."""
    total = np.zeros((CLASSES, HEIGHT, WIDTH))
    weight = np.zeros((CLASSES, HEIGHT, WIDTH))
    for number in numbers:
        sample = plan.sample(number)
        scores, probabilities = drawn(sample)
        top, left = sample.window.top, sample.window.left
        for c in range(CLASSES):
            one = scores[c].astype(np.float64)
            if aggregation.normalise_samples != "none":
                one = one / getattr(one, aggregation.normalise_samples)()
            w = float(probabilities[c]) if aggregation.weight == "probability" else 1.0
            for y in range(sample.window.height):
                for x in range(sample.window.width):
                    value = w * one[y, sample.window.width - 1 - x if sample.flip else x]
                    at = (c, top + y, left + x)
                    if aggregation.combine_samples == "max":
                        total[at] = max(total[at], value)
                    else:
                        total[at] += value
                        weight[at] += w
    maps = total if aggregation.combine_samples == "max" else total / weight
    return maps / maps.max(axis=(1, 2), keepdims=True)


settings = pytest.mark.parametrize(
    "aggregation",
    [
        Aggregation(combine_samples=combine_samples, weight=weight, normalise_samples=by)
        for combine_samples, weight, by in [
            ("mean", "uniform", "none"),
            ("mean", "probability", "none"),
            ("mean", "probability", "max"),
            ("mean", "uniform", "mean"),
            ("max", "uniform", "none"),
            ("max", "probability", "mean"),
        ]
    ],
    ids=lambda one: f"{one.combine_samples}-{one.weight}-{one.normalise_samples}",
)


@settings
@pytest.mark.parametrize("per_chunk", [1, 5, 14])
def test_the_formula_whatever_the_chunks(aggregation, per_chunk):
    plan = plan_of()
    chunks = [
        accumulated(plan, range(start, min(start + per_chunk, 14)), aggregation)
        for start in range(0, 14, per_chunk)
    ]
    maps = combine(chunks, aggregation, plan)
    assert maps.dtype == np.float16
    assert maps.max(axis=(1, 2)).tolist() == [1, 1]
    np.testing.assert_allclose(maps, by_the_formula(plan, range(14), aggregation), atol=1e-3)


@settings
def test_single_samples_give_the_maps_of_the_sums(aggregation):
    plan = plan_of(side=[1.0, 1.0])  # windows of one size, as a stack of raw samples needs
    samples = [plan.sample(number) for number in range(14)]
    scores, probabilities = zip(*map(drawn, samples), strict=True)
    scores = tuple(one * np.float32(1e-4) for one in scores)  # float16 alone would lose these
    raw = [
        raw_chunk(samples[part], scores[part], probabilities[part])
        for part in (slice(0, 6), slice(6, 14))
    ]
    accumulator = Accumulator(aggregation, CLASSES, HEIGHT, WIDTH)
    for sample, one, certain in zip(samples, scores, probabilities, strict=True):
        accumulator.add(sample, one, certain)
    summed = combine([accumulator.chunk()], aggregation, plan)
    assert raw[0].maps.dtype == np.float16
    np.testing.assert_allclose(combine(raw, aggregation, plan), summed, atol=2e-3)


@given(
    splits=st.lists(st.integers(0, 14), max_size=4).map(sorted),
    combine_samples=st.sampled_from(["mean", "max"]),
    weight=st.sampled_from(["uniform", "probability"]),
)
def test_a_chunk_continued_any_number_of_times_ends_with_the_same_bytes(
    splits, combine_samples, weight
):
    aggregation, plan = Aggregation(combine_samples=combine_samples, weight=weight), plan_of()
    once = accumulated(plan, range(14), aggregation)
    accumulator, done = Accumulator(aggregation, CLASSES, HEIGHT, WIDTH), 0
    for stop in [*splits, 14]:
        for number in range(done, stop):
            accumulator.add(plan.sample(number), *drawn(plan.sample(number)))
        accumulator, done = Accumulator.resume(aggregation, accumulator.chunk()), stop
    again = accumulator.chunk()
    assert again.samples == once.samples == tuple(range(14))
    assert again.sums.tobytes() == once.sums.tobytes()
    assert again.weights.tobytes() == once.weights.tobytes()
    assert again.weights.dtype == (np.uint16 if weight == "uniform" else np.float32)


def test_continuing_leaves_the_stored_chunk_as_it_was():
    aggregation, plan = Aggregation(), plan_of()
    stored = accumulated(plan, range(3), aggregation)
    before = stored.sums.copy()
    accumulator = Accumulator.resume(aggregation, stored)
    accumulator.add(plan.sample(3), *drawn(plan.sample(3)))
    np.testing.assert_array_equal(stored.sums, before)


@pytest.mark.parametrize("shape", [(40, 60), (61, 33)])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.4])
def test_smoothing_is_a_gaussian_filter(shape, share):
    maps = np.random.default_rng(0).random((2, *shape), np.float32)
    sigma = share * math.sqrt(shape[0] * shape[1])
    expected = [gaussian_filter(one.astype(np.float64), sigma, mode="mirror") for one in maps]
    np.testing.assert_allclose(smooth(maps, share), expected, atol=2e-4)


def test_no_smoothing_changes_nothing():
    maps = np.random.default_rng(0).random((2, 5, 7), np.float32)
    assert smooth(maps, 0.0) is maps


def test_subtraction_by_hand():
    maps = np.array([[[4, 2, 0]], [[0, 5, 10]], [[0, 0, 1]]], np.float32)
    # Relative to their maxima: 1, .5, 0 / 0, .5, 1 / 0, 0, 1. Half of the strongest other goes.
    expected = [[[1, 0.25, 0]], [[0, 0.25, 0.5]], [[0, 0, 0.5]]]
    np.testing.assert_allclose(subtract_others(maps, 0.5), expected)


@pytest.mark.parametrize("share", [0.5, 1.0, 3.0])
def test_subtraction_leaves_a_single_class_alone(share):
    plan = plan_of()
    plain, subtracted = (
        combine([accumulated(plan, range(14), one, classes=1)], one, plan)
        for one in (Aggregation(), Aggregation(subtract_others=share))
    )
    np.testing.assert_array_equal(subtracted, plain)


def test_subtracting_more_than_there_is_gives_zero():
    maps = np.array([[[1, 1]], [[1, 1]]], np.float32)
    assert not subtract_others(maps, 2.0).any()


def test_scaling_by_hand():
    maps = np.arange(11, dtype=np.float32).reshape(1, 1, 11)
    np.testing.assert_allclose(scale(maps, 100.0)[0, 0], np.arange(11) / 10)
    np.testing.assert_allclose(scale(maps, 80.0)[0, 0], np.minimum(np.arange(11) / 8, 1))


def test_each_class_is_scaled_by_its_own_percentile():
    maps = np.stack([np.linspace(0, 5, 101), np.linspace(0, 700, 101)]).astype(np.float32)
    scaled = scale(maps[:, None], 50.0)
    np.testing.assert_allclose(scaled[0], scaled[1], rtol=1e-5)
    assert (scaled[:, 0] == 1).sum(axis=1).tolist() == [51, 51]


def test_a_map_whose_percentile_is_zero_is_divided_by_its_maximum():
    maps = np.zeros((1, 10, 10), np.float32)
    maps[0, 0, :2] = 2, 4
    assert scale(maps, 90.0)[0, 0, :3].tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    "aggregation",
    [
        Aggregation(),
        Aggregation(percentile=50.0, smoothing=0.1, subtract_others=1.0),
        Aggregation(combine_samples="max", normalise_samples="max"),
        Aggregation(normalise_samples="mean", weight="probability"),
    ],
)
def test_a_map_that_is_zero_stays_zero(aggregation):
    plan = plan_of()
    accumulator = Accumulator(aggregation, CLASSES, HEIGHT, WIDTH)
    for number in range(14):
        scores, probabilities = drawn(plan.sample(number))
        scores[1] = 0
        accumulator.add(plan.sample(number), scores, probabilities)
    maps = combine([accumulator.chunk()], aggregation, plan)
    assert not maps[1].any()
    assert maps[0].max() == 1


@given(
    share=st.floats(0, 1),
    subtract=st.floats(0, 2),
    percentile=st.floats(1, 100),
    combine_samples=st.sampled_from(["mean", "max"]),
)
def test_final_maps_lie_between_zero_and_one(share, subtract, percentile, combine_samples):
    aggregation = Aggregation(
        combine_samples=combine_samples,
        smoothing=share,
        subtract_others=subtract,
        percentile=percentile,
    )
    plan = plan_of()
    maps = combine([accumulated(plan, range(12), aggregation)], aggregation, plan)
    assert maps.shape == (CLASSES, HEIGHT, WIDTH)
    assert ((maps >= 0) & (maps <= 1)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused(bad):
    plan = plan_of(side=[1.0, 1.0])
    sample = plan.sample(0)
    scores, probabilities = drawn(sample)
    scores[1, 3, 4] = bad
    accumulator = Accumulator(Aggregation(), CLASSES, HEIGHT, WIDTH)
    with pytest.raises(Ws3Error, match="not a finite number"):
        accumulator.add(sample, scores, probabilities)
    assert not accumulator.chunk().sums.any()
    with pytest.raises(Ws3Error, match="not a finite number"):
        raw_chunk([sample], [scores], [probabilities])
    poisoned = SampleChunk(
        (0,), np.full((1, HEIGHT, WIDTH), bad, np.float32), np.ones((HEIGHT, WIDTH), np.uint16)
    )
    with pytest.raises(Ws3Error, match="not finite numbers"):
        combine([poisoned], Aggregation(), plan)


@pytest.mark.parametrize("combine_samples", ["mean", "max"])
def test_a_pixel_in_no_sample_is_refused(combine_samples):
    aggregation, plan = Aggregation(combine_samples=combine_samples), plan_of(count=2)
    assert plan.needs_cover
    chunk = accumulated(plan, [0, 1], aggregation)
    with pytest.raises(Ws3Error, match="some pixels lie in no sample"):
        combine([chunk], aggregation, plan)
    with pytest.raises(Ws3Error, match="some pixels lie in no sample"):
        combine([], aggregation, plan)
    cover = accumulated(plan, [WHOLE_IMAGE], aggregation)
    assert combine([chunk, cover], aggregation, plan).shape == (CLASSES, HEIGHT, WIDTH)


def test_a_sample_is_normalised_class_by_class():
    scores = np.array([[[1, 3]], [[0, 0]], [[8, 2]]], np.float32)
    by_max = normalised(scores, Aggregation(normalise_samples="max"))
    np.testing.assert_allclose(by_max, np.array([[[1 / 3, 1]], [[0, 0]], [[1, 0.25]]]))
    by_mean = normalised(scores, Aggregation(normalise_samples="mean"))
    np.testing.assert_allclose(by_mean, np.array([[[0.5, 1.5]], [[0, 0]], [[1.6, 0.4]]]))


@pytest.mark.parametrize("weight", ["uniform", "probability"])
def test_chunks_are_taken_one_by_one_and_not_kept(weight):
    """A large image's chunks don't fit into memory together."""
    plan, aggregation = plan_of(count=12), Aggregation(weight=weight)
    layout = [range(start, start + 3) for start in (0, 3, 6, 9)]
    kept: list[weakref.ref[SampleChunk]] = []

    def one_by_one():
        for numbers in layout:
            assert [chunk for chunk in kept if chunk() is not None] == []
            chunk = accumulated(plan, numbers, aggregation)
            kept.append(weakref.ref(chunk))
            yield chunk
            del chunk

    expected = combine([accumulated(plan, some, aggregation) for some in layout], aggregation, plan)
    assert np.array_equal(combine(one_by_one(), aggregation, plan), expected)
    assert len(kept) == 4
