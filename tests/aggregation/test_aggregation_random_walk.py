"""The random walk against a dense matrix written out pixel by pixel, and its degenerate cases."""

from __future__ import annotations

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from ws3.aggregation.chunks import SampleChunk
from ws3.aggregation.combine import combine
from ws3.aggregation.random_walk import principal_axes, random_walk, transition
from ws3.config.recipes import Aggregation, RandomWalk, Samples
from ws3.sampling.plan import SamplePlan


def dense(colours, radius, sigma):
    """The transition matrix as its definition has it, in float64."""
    height, width = colours.shape[:2]
    matrix = np.zeros((height * width, height * width))
    for y in range(height):
        for x in range(width):
            for v in range(height):
                for u in range(width):
                    far = (y - v) ** 2 + (x - u) ** 2
                    if far <= radius**2:
                        unlike = ((colours[y, x].astype(float) - colours[v, u]) ** 2).sum()
                        matrix[y * width + x, v * width + u] = math.exp(
                            -unlike / (2 * sigma**2) - far / (2 * (radius / 2) ** 2)
                        )
    return matrix / matrix.sum(axis=1, keepdims=True)


@settings(deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 7), st.floats(0.05, 2), st.integers(0, 9)
)
def test_transition_equals_the_dense_matrix(height, width, radius, sigma, seed):
    colours = np.random.default_rng(seed).random((height, width, 3), np.float32)
    sparse = transition((colours / sigma).astype(np.float32), radius)
    np.testing.assert_allclose(sparse.toarray(), dense(colours, radius, sigma), atol=1e-5)
    np.testing.assert_allclose(sparse.sum(axis=1), 1, atol=1e-5)


def test_two_pixels_by_hand():
    colours = np.array([[[0.0, 0.0, 0.0], [0.3, 0.0, 0.4]]], np.float32)  # 0.5 apart
    affinity = math.exp(-0.25 / (2 * 0.5**2) - 1 / (2 * 0.5**2))
    stay, go = 1 / (1 + affinity), affinity / (1 + affinity)
    matrix = transition(colours / np.float32(0.5), 1)
    np.testing.assert_allclose(matrix.toarray(), [[stay, go], [go, stay]], rtol=1e-6)
    image = np.array([[[0, 0, 0], [51, 0, 0]]], np.uint8)  # 0.2 apart
    affinity = math.exp(-0.04 / (2 * 0.1**2) - 2)
    stay, go = 1 / (1 + affinity), affinity / (1 + affinity)
    walked = random_walk(
        image,
        np.array([[[1.0, 0.0]]], np.float32),
        RandomWalk(steps=2, radius=1, stride=1, colour=0.1),
    )
    np.testing.assert_allclose(walked[0, 0], [stay**2 + go**2, 2 * stay * go], rtol=1e-5)


def test_the_walk_is_the_matrix_power_applied_to_the_maps():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (7, 9, 3)).astype(np.uint8)
    maps = rng.random((3, 7, 9), np.float32)
    walk = RandomWalk(steps=16, radius=3, stride=1, colour=0.3)
    power = np.linalg.matrix_power(dense(image / 255, 3, 0.3), 16)
    expected = np.stack([(power @ one.ravel()).reshape(7, 9) for one in maps])
    np.testing.assert_allclose(random_walk(image, maps, walk), expected, atol=1e-5)


def test_a_coarser_grid_walks_over_the_means_of_blocks():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (8, 12, 3)).astype(np.uint8)
    maps = rng.random((1, 8, 12), np.float32)
    blocks = image.reshape(2, 4, 3, 4, 3).mean(axis=(1, 3)) / 255
    scores = maps[0].reshape(2, 4, 3, 4).mean(axis=(1, 3)).ravel()
    power = np.linalg.matrix_power(dense(blocks, 2, 0.2), 5)
    coarse = (power @ scores).reshape(2, 3).astype(np.float32)
    expected = cv2.resize(coarse, (12, 8), interpolation=cv2.INTER_LINEAR)
    walk = RandomWalk(steps=5, radius=2, stride=4, colour=0.2)
    np.testing.assert_allclose(random_walk(image, maps, walk)[0], expected, atol=1e-5)


@settings(deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), st.floats(0, 1), st.integers(0, 3)
)
def test_a_constant_map_stays_constant(height, width, stride, value, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    maps = np.full((2, height, width), value, np.float32)
    walked = random_walk(image, maps, RandomWalk(stride=stride))
    # A score below what float32 can hold in full has no part in anything.
    np.testing.assert_allclose(walked, maps, rtol=1e-4, atol=1e-30)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.integers(0, 9))
def test_scores_stay_within_the_maps_range(height, width, stride, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    maps = rng.random((1, height, width), np.float32)
    walked = random_walk(image, maps, RandomWalk(stride=stride, steps=7))
    assert walked.min() >= maps.min() - 1e-5
    assert walked.max() <= maps.max() + 1e-5


def test_one_pixel_and_no_class():
    image = np.zeros((1, 1, 3), np.uint8)
    maps = np.array([[[0.7]]], np.float32)
    assert random_walk(image, maps, RandomWalk()) == pytest.approx(0.7)
    none = np.zeros((0, 1, 1), np.float32)
    assert random_walk(image, none, RandomWalk()).shape == (0, 1, 1)


def test_scores_spread_over_the_object_and_not_beyond_its_edge():
    image = np.full((40, 60, 3), (30, 90, 40), np.uint8)
    image[10:30, 10:50] = (200, 60, 60)
    maps = np.zeros((1, 40, 60), np.float32)
    maps[0, 15:25, 12:20] = 1  # a part of the object
    walked = random_walk(image, maps, RandomWalk(stride=2, steps=400))
    inside = np.zeros((40, 60), bool)
    inside[10:30, 10:50] = True
    # A pixel at the edge is interpolated between the two sides.
    assert walked[0, inside].min() > 2 * walked[0, ~inside].max()


def test_features_and_colours_add_up_by_hand():
    image = np.array([[[0, 0, 0], [51, 0, 0]]], np.uint8)  # 0.2 apart
    features = np.array([[[2.0, 0.0]], [[0.0, 7.0]]], np.float32)  # of length 1: sqrt 2 apart
    unlike = 0.04 / (2 * 0.1**2) + 2 / (2 * 0.9**2)
    affinity = math.exp(-unlike - 2)
    stay, go = 1 / (1 + affinity), affinity / (1 + affinity)
    walk = RandomWalk(steps=1, radius=1, stride=1, colour=0.1, features=0.9)
    walked = random_walk(image, np.array([[[1.0, 0.0]]], np.float32), walk, features)
    np.testing.assert_allclose(walked[0, 0], [stay, go], rtol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 16), st.integers(1, 6), st.integers(1, 6), st.integers(0, 9))
def test_principal_axes_keep_the_distances_of_unit_features(channels, height, width, seed):
    features = np.random.default_rng(seed).random((channels, height, width), np.float32)
    features[:, 0, 0] = 0  # has no direction
    flat = features.reshape(channels, -1)
    lengths = np.linalg.norm(flat, axis=0)
    unit = flat / np.where(lengths > 0, lengths, 1)
    found = principal_axes(features).reshape(-1, height * width)
    for vectors, other in zip(unit.T, found.T, strict=True):
        np.testing.assert_allclose(
            np.linalg.norm(other[:, None] - found, axis=0),
            np.linalg.norm(vectors[:, None] - unit, axis=0),
            atol=1e-5,
        )


def test_of_many_axes_the_most_telling_are_kept():
    features = np.random.default_rng(3).random((64, 9, 11), np.float32)
    unit = features.reshape(64, -1).T / np.linalg.norm(features.reshape(64, -1).T, axis=1)[:, None]
    expected = PCA(16, svd_solver="full").fit(unit.astype(np.float64)).explained_variance_
    found = principal_axes(features).reshape(16, -1).var(axis=1, ddof=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_walk_stays_where_features_are_alike_though_colours_are_too():
    image = np.full((32, 48, 3), 90, np.uint8)
    maps = np.zeros((1, 32, 48), np.float32)
    maps[0, 10:20, 2:12] = 1
    features = np.zeros((2, 4, 6), np.float32)
    features[0, :, :3] = features[1, :, 3:] = 1
    walk = RandomWalk(stride=2, steps=200, features=0.1)
    walked = random_walk(image, maps, walk, features)[0]
    assert walked[:, :20].min() > 10 * walked[:, 28:].max()
    alone = random_walk(image, maps, RandomWalk(stride=2, steps=200))[0]
    assert alone[:, :20].min() < 10 * alone[:, 28:].max()
    with pytest.raises(ValueError, match="looks at features needs them"):
        random_walk(image, maps, walk)


def test_other_sizes_are_refused():
    image = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match=r"the maps are \(4, 6\) pixels, the image \(4, 5\)"):
        random_walk(image, np.zeros((1, 4, 6), np.float32), RandomWalk())


def test_maps_are_walked_before_they_are_scaled():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (16, 20, 3)).astype(np.uint8)
    sums = rng.random((2, 16, 20), np.float32)
    chunk = SampleChunk((0,), sums, np.ones((16, 20), np.uint16))
    plan = SamplePlan(
        Samples(kind="full"), image="i", height=16, width=20, seed=0, recipe="r", input_size=16
    )
    walk = RandomWalk(steps=3)
    aggregation = Aggregation(random_walk=walk)
    walked = random_walk(image, sums, walk)
    expected = walked / walked.max(axis=(1, 2), keepdims=True)
    maps = combine([chunk], aggregation, plan, image)
    np.testing.assert_allclose(maps.astype(np.float32), expected, atol=1e-3)
    with pytest.raises(ValueError, match="needs the image"):
        combine([chunk], aggregation, plan)


_FULL_SIZE = """
import resource, sys
import numpy as np
from ws3.aggregation.random_walk import random_walk
from ws3.config.recipes import RandomWalk

rng = np.random.default_rng(0)
image = rng.integers(0, 256, (375, 500, 3)).astype(np.uint8)
maps = rng.random((int(sys.argv[1]), 375, 500), np.float32)
features = rng.random((2048, 14, 19), np.float32)
random_walk(image, maps, RandomWalk(stride=1, steps=2, features=0.2), features)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
@pytest.mark.parametrize("classes", [1, 3])
def test_memory_even_without_a_coarser_grid(classes):
    done = subprocess.run(
        [sys.executable, "-c", _FULL_SIZE, str(classes)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 2 * 10**9
