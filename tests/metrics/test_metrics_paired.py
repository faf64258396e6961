"""Paired comparisons: every swap by hand, p values under the null hypothesis, Holm's table."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from drawn_counts import draw_tables, image_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ws3.metrics.bootstrap import resampled
from ws3.metrics.image_counts import POOLED_FIGURES, figure_of
from ws3.metrics.paired import difference, holm, swap_test


def by_hand(one, other, name):
    """The exact p value, swap by swap."""

    def gap(swapped):
        picked = np.array(swapped, bool)[:, None, None]
        sums = [np.where(picked, b, a).sum(axis=0) for a, b in ((one, other), (other, one))]
        return abs(figure_of(name, sums[0]).item() - figure_of(name, sums[1]).item())

    found = gap([0] * len(one))
    swaps = list(product([0, 1], repeat=len(one)))
    return sum(gap(swapped) >= found - 1e-12 for swapped in swaps) / len(swaps)


def drawn_of(pair, name):
    one, other = (resampled([table], seed=0)[name] for table in pair)
    return one, other


@pytest.mark.parametrize("name", POOLED_FIGURES)
def test_few_images_are_swapped_in_every_way(name):
    stream = np.random.default_rng(2)
    for skill in (0.0, 0.4, 2.0):
        one, other = draw_tables(8, stream), draw_tables(8, stream, skill)
        pair = image_counts(one), image_counts(other)
        expected = by_hand(one, other, name)
        assert swap_test([pair], name, seed=0) == pytest.approx(expected, abs=1e-15)
        # As many drawn swaps come near to it.
        assert swap_test([pair], name, seed=0, permutations=255) == pytest.approx(expected, abs=0.1)


def test_recipes_that_are_the_same_do_not_differ():
    tables = draw_tables(40, np.random.default_rng(3))
    pair = image_counts(tables), image_counts(tables)
    drawn = resampled([pair[0]], seed=1)["miou"]
    found = difference([pair], "miou", (drawn, drawn), seed=1, permutations=199)
    assert found is not None
    assert (found.mean, found.ends, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_a_clear_difference_has_the_smallest_p_value():
    worse = draw_tables(100, np.random.default_rng(4))
    better = worse.copy()
    gained = worse[:, 2, 1:] // 2
    better[:, 0, 1:] += gained
    better[:, 2, 1:] -= gained
    better[:, 1, 0] -= gained.sum(axis=1)
    pair = image_counts(better), image_counts(worse)
    drawn = drawn_of(pair, "miou")
    found = difference([pair], "miou", drawn, seed=0, permutations=999)
    assert found is not None
    assert found.ends is not None
    assert found.p == 1 / 1000
    assert 0 < found.ends[0] < found.mean < found.ends[1]
    back = difference([pair[::-1]], "miou", drawn[::-1], seed=0, permutations=999)
    assert back is not None
    assert (back.mean, back.p) == (-found.mean, found.p)
    assert back.ends == pytest.approx((-found.ends[1], -found.ends[0]), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 25), st.sampled_from(sorted(POOLED_FIGURES)))
def test_p_does_not_depend_on_who_is_first_nor_on_runs_that_say_the_same(seed, images, name):
    stream = np.random.default_rng(seed)
    pair = image_counts(draw_tables(images, stream)), image_counts(draw_tables(images, stream))
    p = swap_test([pair], name, seed, permutations=99)
    assert 0 < p <= 1
    assert swap_test([pair[::-1]], name, seed, permutations=99) == p
    assert swap_test([pair, pair], name, seed, permutations=99) == p


def test_what_is_undefined_is_not_tested():
    tables = draw_tables(5, np.random.default_rng(5))
    without = tables.copy()
    without[:, 3:] = 0
    pair = image_counts(tables), image_counts(without)
    assert np.isnan(swap_test([pair], "dr_recall", seed=0))
    drawn = drawn_of(pair, "dr_recall")
    assert difference([pair], "dr_recall", drawn, seed=0) is None
    one, other = (table.only(table.images[:1]) for table in pair)
    assert difference([(one, other)], "miou", drawn, seed=0) is None


@pytest.mark.slow
def test_p_values_are_uniform_if_there_is_no_difference():
    """Two recipes of equal skill on the same kind of images, 1,000 times."""
    stream = np.random.default_rng(8)
    p_values = [
        swap_test(
            [(image_counts(draw_tables(50, stream)), image_counts(draw_tables(50, stream)))],
            "miou",
            seed=seed,
            permutations=199,
        )
        for seed in range(1000)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    for level in (0.05, 0.2):
        rejected = sum(p <= level for p in p_values)
        assert stats.binomtest(rejected, 1000, level).pvalue > 0.01


def test_holm_by_hand():
    """Four p values times 4, 3, 2, 1 in ascending order, never falling, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9, 0.7]) == [1.0, 1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferronis(p_values):
    adjusted = holm(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        assert p <= found <= min(1.0, len(p_values) * p) + 1e-12
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[n] for n in order] == sorted(adjusted)
    # Rejected at 0.05 exactly as the step-down procedure says.
    rejected = 0
    while rejected < len(order) and p_values[order[rejected]] * (len(order) - rejected) <= 0.05:
        rejected += 1
    assert sum(found <= 0.05 for found in adjusted) == rejected
