"""The threshold at which maps mark a given share of the images, against counting pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws3.masks.background import add_background, hard_labels
from ws3.masks.object_share import ObjectShares

SCORES = st.integers(0, 512).map(lambda step: step / 512)
MAPS = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=SCORES)
)


def shares_of(images):
    shares = ObjectShares()
    for maps in images:
        shares.update(maps)
    return shares


@given(st.lists(MAPS, min_size=1, max_size=4))
def test_the_share_is_that_of_the_masks_pixels(images):
    """A mean over the images, whatever their size."""
    for threshold, share in shares_of(images).curve()[::17]:
        marked = [(hard_labels(add_background(maps, threshold)) > 0).mean() for maps in images]
        assert share == pytest.approx(np.mean(marked), abs=1e-12)


@given(st.lists(MAPS, min_size=1, max_size=4), st.floats(0.01, 0.99))
def test_no_other_threshold_comes_nearer(images, wanted):
    shares = shares_of(images)
    threshold, share = shares.nearest(wanted)
    curve = shares.curve()
    assert [point[0] for point in curve] == [step / 256 for step in range(1, 257)]
    assert [point[1] for point in curve] == sorted((point[1] for point in curve), reverse=True)
    apart = {at: abs(found - wanted) for at, found in curve}
    assert apart[threshold] == min(apart.values()) == abs(share - wanted)
    assert all(apart[at] > apart[threshold] for at in apart if at < threshold)


def test_by_hand():
    """Two images of other sizes: a quarter and all of their pixels reach 0.5, a mean of 0.625."""
    small = np.array([[[0.1, 0.2], [0.3, 0.5]]], np.float32)
    large = np.full((2, 4, 4), 0.5, np.float32)
    large[1] = 0.75
    shares = shares_of([small, large])
    curve = dict(shares.curve())
    assert (curve[0.5], curve[129 / 256], curve[0.75], curve[193 / 256]) == (0.625, 0.5, 0.5, 0)
    # 0.3 is reached up to step 76; then three thresholds in four give 0.625.
    assert shares.nearest(0.6) == (77 / 256, 0.625)
    assert shares.images == 2


def test_maps_that_are_nearly_empty_are_cut_at_the_lowest_score():
    maps = np.zeros((1, 10, 10), np.float32)
    maps[0, 0, 0] = 1
    assert shares_of([maps]).nearest(0.25) == (1 / 256, 0.01)


def test_an_image_without_maps_is_refused():
    with pytest.raises(ValueError, match="an image without maps marks nothing"):
        ObjectShares().update(np.zeros((0, 4, 4), np.float32))
    with pytest.raises(ValueError, match="no image was counted"):
        ObjectShares().nearest(0.5)
