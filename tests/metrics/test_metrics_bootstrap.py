"""Intervals: hand-computed ones, those of SciPy, and how often they hold a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_counts import CLASSES, draw_tables, image_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ws3.metrics.bootstrap import (
    RESAMPLES,
    interval,
    intervals,
    on_same_images,
    over_runs,
    resampled,
)
from ws3.metrics.image_counts import COUNTS, POOLED_FIGURES, ImageCounts, figure_of


@pytest.fixture(scope="module")
def drawn():
    return draw_tables(60, np.random.default_rng(1))


def test_the_interval_is_that_of_scipy(drawn):
    """SciPy draws other random numbers, so up to what 2,000 draws leave open."""
    found = intervals([image_counts(drawn)], seed=0)
    for name in POOLED_FIGURES:
        other = stats.bootstrap(
            (np.arange(len(drawn)),),
            lambda places, name=name: figure_of(name, drawn[places].sum(axis=0)).item(),
            vectorized=False,
            n_resamples=4000,
            method="percentile",
            rng=np.random.default_rng(5),
        )
        low, high = found[name]
        width = other.confidence_interval.high - other.confidence_interval.low
        assert low == pytest.approx(other.confidence_interval.low, abs=0.06 * width)
        assert high == pytest.approx(other.confidence_interval.high, abs=0.06 * width)


def test_two_images_by_hand():
    """Drawn twice each way: (a, a) in a quarter of the sets, (b, b) in another, else both."""
    right, wrong = np.zeros((2, len(COUNTS), 2), np.int64)
    right[:3], wrong[:3] = [[9, 9], [0, 0], [0, 0]], [[0, 0], [5, 5], [5, 5]]
    counts = ImageCounts.of({"a": right, "b": wrong}, 1)
    values = resampled([counts], seed=0)["miou"][0]
    shares = {round(value, 6): share for value, share in zip(*_shares(values), strict=True)}
    assert shares.keys() == {0.0, round(9 / 19, 6), 1.0}
    assert shares[0.0] == pytest.approx(0.25, abs=0.04)
    assert shares[1.0] == pytest.approx(0.25, abs=0.04)
    assert intervals([counts], seed=0)["miou"] == (0.0, 1.0)


def _shares(values):
    found, numbers = np.unique(values, return_counts=True)
    return found.tolist(), (numbers / len(values)).tolist()


def test_one_image_has_no_interval(drawn):
    assert intervals([image_counts(drawn[:1])], seed=0) == {}


def test_a_figure_that_is_undefined_has_no_interval(drawn):
    tables = drawn.copy()
    tables[:, 5:] = 0
    assert intervals([image_counts(tables)], seed=0).keys() == {"miou", "dr_recall"}
    assert interval(np.full(9, np.nan)) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.randoms(use_true_random=False))
def test_whatever_the_images_and_their_order(seed, number, random):
    tables = draw_tables(number, np.random.default_rng(seed))
    named = [(f"i{n}", table) for n, table in enumerate(tables)]
    one = ImageCounts.of(dict(named), CLASSES)
    random.shuffle(named)
    found = intervals([one], seed)
    assert found == intervals([ImageCounts.of(dict(named), CLASSES)], seed)
    for low, high in found.values():
        assert 0 <= low <= high <= 1


def test_images_that_are_all_alike_leave_no_doubt(drawn):
    counts = image_counts(np.repeat(drawn[:1], 20, axis=0))
    for name, (low, high) in intervals([counts], seed=0).items():
        assert low == pytest.approx(counts.figure(name).item(), abs=1e-12)
        assert high == pytest.approx(low, abs=1e-12)


def test_recipes_are_measured_on_the_same_drawn_images(drawn):
    """So a difference that is the same in every image has no interval to speak of."""
    worse = drawn.copy()
    worse[:, 4, 1:] = 0
    worse[:, 3, 1:] = drawn[:, 4, 1:] = drawn[:, 3, 1:]
    one, other = (resampled([image_counts(t)], seed=3)["dr_recall"] for t in (drawn, worse))
    assert interval(over_runs(one - other, seed=3)) == (1.0, 1.0)


def test_more_images_narrow_the_interval_by_the_square_root(drawn):
    stream = np.random.default_rng(7)
    widths = []
    for number in (200, 3200):
        low, high = intervals([image_counts(draw_tables(number, stream))], seed=0)["miou"]
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


def test_runs_are_drawn_too():
    """Images that all agree, and two runs that do not: a quarter of the draws is of each alone."""
    values = np.array([np.full(RESAMPLES, 0.2), np.full(RESAMPLES, 0.6)])
    found, shares = _shares(over_runs(values, seed=0).round(9))
    assert found == [0.2, 0.4, 0.6]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.04)
    np.testing.assert_array_equal(over_runs(values[:1], seed=0), values[0])


def test_runs_that_differ_widen_the_interval(drawn):
    alike = [image_counts(drawn)] * 3
    better = draw_tables(60, np.random.default_rng(1), skill=0.5)
    differing = [image_counts(drawn), image_counts(better), image_counts(drawn)]
    low, high = intervals(alike, seed=0)["miou"]
    assert intervals(alike[:1], seed=0)["miou"] == pytest.approx((low, high), abs=1e-12)
    other_low, other_high = intervals(differing, seed=0)["miou"]
    assert other_high - other_low > 1.2 * (high - low)


def test_only_images_that_all_runs_have_are_compared(drawn):
    one = image_counts(drawn)
    other = one.only(one.images[5:50])
    common = on_same_images([one, other])
    assert {table.images for table in common} == {one.images[5:50]}


@pytest.mark.slow
def test_95_of_100_intervals_hold_the_truth():
    """500 evaluations of 1,000 images each, drawn from a population whose figures are known."""
    stream = np.random.default_rng(11)
    population = sum(draw_tables(100_000, stream).sum(axis=0, dtype=np.int64) for _ in range(4))
    truth = {name: figure_of(name, np.asarray(population)).item() for name in POOLED_FIGURES}
    held = dict.fromkeys(POOLED_FIGURES, 0)
    for seed in range(500):
        found = intervals([image_counts(draw_tables(1000, stream))], seed=seed)
        for name, (low, high) in found.items():
            held[name] += low <= truth[name] <= high
    assert all(0.93 <= number / 500 <= 0.97 for number in held.values()), held
