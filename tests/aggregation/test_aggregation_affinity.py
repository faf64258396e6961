"""Walks over a network's own grid, against dense computations written out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage
from scipy.sparse import csr_array

from ws3.aggregation.random_walk import Steps, attention_transition, boxed, random_walk
from ws3.config.recipes import RandomWalk


def attention(places, seed=0, share_of_zeros=0.0):
    rng = np.random.default_rng(seed)
    drawn = rng.random((places, places)) ** 4
    return np.where(rng.random(drawn.shape) < share_of_zeros, 0, drawn)


def by_hand(affinity, rounds):
    """CLIP-ES's affinity, entry by entry in float64."""
    matrix = [list(map(float, row)) for row in affinity]
    size = range(len(matrix))
    for _ in range(rounds):
        sums = [sum(matrix[i][j] for i in size) for j in size]
        matrix = [[matrix[i][j] / sums[j] for j in size] for i in size]
        sums = [sum(matrix[i]) for i in size]
        matrix = [[matrix[i][j] / sums[i] for j in size] for i in size]
    if rounds:
        matrix = [[(matrix[i][j] + matrix[j][i]) / 2 for j in size] for i in size]
    return np.array([[value / sum(row) for value in row] for row in matrix])


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_the_transition_is_the_computation_by_hand(rounds):
    drawn = attention(12)
    found = attention_transition(drawn, rounds).toarray()
    np.testing.assert_allclose(found, by_hand(drawn, rounds), atol=1e-6)


def test_many_rounds_make_rows_and_columns_add_up_and_the_matrix_symmetric():
    found = attention_transition(attention(9), 500).toarray()
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(found, found.T, atol=1e-6)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 4), st.integers(0, 99), st.floats(0, 1))
def test_rows_add_up_to_one_whatever_the_attention(places, rounds, seed, zeros):
    found = attention_transition(attention(places, seed, zeros), rounds)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found.min() >= 0


def test_the_walk_is_the_power_of_the_matrix_on_the_networks_grid():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (8, 12, 3)).astype(np.uint8)
    maps = rng.random((2, 8, 12), np.float32)
    steps = Steps(attention_transition(attention(6), 3), (2, 3))
    walked = random_walk(image, maps, RandomWalk(affinity="attention", steps=4), steps)
    power = np.linalg.matrix_power(by_hand(attention(6), 3), 4)
    for one, found in zip(maps, walked, strict=True):
        scores = one.reshape(2, 4, 3, 4).mean(axis=(1, 3)).ravel()
        coarse = (power @ scores).reshape(2, 3).astype(np.float32)
        expected = cv2.resize(coarse, (12, 8), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_walk_in_boxes_is_clip_es_by_hand():
    """B * A^t m: in the authors' program columns outside the box are 0, and their scores lost."""
    scores = np.zeros((4, 5), np.float32)
    scores[0, 0], scores[1, 1], scores[3, 3], scores[2, 0], scores[0, 4] = 1, 0.5, 0.4, 0.3, 0.2
    mask = np.zeros((4, 5))
    mask[0:2, 0:2] = mask[3, 3] = 1  # the boxes of the two regions at 0.4 of the maximum
    power = np.linalg.matrix_power(by_hand(attention(20), 2), 2)
    expected = (power * mask.ravel()) @ scores.ravel()
    walk = RandomWalk(affinity="attention", steps=2, sinkhorn=2, box=0.4)
    steps = Steps(attention_transition(attention(20), 2), (4, 5))
    image = np.zeros((4, 5, 3), np.uint8)
    found = random_walk(image, scores[None], walk, steps)[0]
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.05, 1), st.integers(0, 99))
def test_boxes_are_those_around_connected_regions(height, width, share, seed):
    scores = np.random.default_rng(seed).random((height, width), np.float32)
    labels, _ = ndimage.label(scores >= np.float32(share) * scores.max(), np.ones((3, 3)))
    expected = np.zeros_like(scores)
    for box in ndimage.find_objects(labels):
        expected[box] = scores[box]
    np.testing.assert_array_equal(boxed(scores, share), expected)


def test_boxes_go_with_colours_too():
    image = np.full((6, 6, 3), 90, np.uint8)
    maps = np.zeros((1, 6, 6), np.float32)
    maps[0, 0, 0], maps[0, 5, 5] = 1, 0.3
    walk = {"stride": 1, "radius": 1, "steps": 1}
    assert random_walk(image, maps, RandomWalk(**walk))[0, 5, 5] > 0
    assert random_walk(image, maps, RandomWalk(box=0.5, **walk))[0, 5, 5] == 0


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_a_constant_map_stays_constant_on_any_grid(height, width, seed):
    image = np.zeros((height, width, 3), np.uint8)
    steps = Steps(attention_transition(attention(12, seed), 1), (3, 4))
    walk = RandomWalk(affinity="attention", steps=3)
    walked = random_walk(image, np.full((1, height, width), 0.7, np.float32), walk, steps)
    np.testing.assert_allclose(walked, 0.7, rtol=1e-4)


def test_without_steps_a_walk_over_a_networks_grid_is_refused():
    image, maps = np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), np.float32)
    walk = RandomWalk(affinity="attention")
    for wrong in (None, np.ones((2, 2, 2), np.float32)):
        with pytest.raises(ValueError, match="grid needs its steps"):
            random_walk(image, maps, walk, wrong)
    steps = Steps(csr_array(np.eye(4, dtype=np.float32)), (2, 2))
    with pytest.raises(ValueError, match="looks at features needs them"):
        random_walk(image, maps, RandomWalk(features=0.2), steps)


def test_what_was_fingerprinted_before_there_were_affinities_keeps_its_fingerprint():
    old = {"steps": 64, "radius": 5, "stride": 4, "colour": 0.03, "features": None}
    assert RandomWalk().model_dump(mode="json") == old
    for given_ in ({"affinity": "attention"}, {"affinity": {"network": "n", "weights": "w"}}):
        walk = RandomWalk.model_validate(given_)
        assert RandomWalk.model_validate(walk.model_dump(mode="json")) == walk
    assert RandomWalk(affinity="attention").steps == 1


@pytest.mark.parametrize(
    ("walk", "message"),
    [
        ({"affinity": "attention", "radius": 3}, "radius is for affinity: colour; leave it out"),
        ({"affinity": "attention", "features": 0.2}, "features is for affinity: colour"),
        ({"sinkhorn": 3}, "sinkhorn is for affinity: attention; leave it out"),
        ({"affinity": {"network": "n", "weights": "w"}, "blocks": 2}, "blocks is for affinity"),
        ({"affinity": {"network": "resnet18"}}, "Field required"),
    ],
)
def test_keys_of_another_affinity_are_refused(walk, message):
    with pytest.raises(ValidationError, match=message):
        RandomWalk.model_validate(walk)
