from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws3.metrics.confusion import Confusion
from ws3.metrics.sweep import ThresholdSweep

CLASSES = 4
SHAPE = (4, 5)
truths = arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, 3, 4, 255]))


@st.composite
def images(draw):
    values = draw(st.lists(st.integers(1, CLASSES), unique=True, max_size=3))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    width: Any = {np.float16: 16, np.float32: 32, np.float64: 64}[dtype]
    score = st.one_of(st.floats(0, 1, width=width), st.integers(0, 16).map(lambda k: k / 16))
    maps = draw(arrays(dtype, (len(values), *SHAPE), elements=score))
    return draw(truths), maps, values


def thresholded(maps, values, threshold):
    """The rule by its words: the strongest class if it reaches the threshold, else background."""
    mask = np.zeros(SHAPE, np.uint8)
    for y, x in np.ndindex(SHAPE):
        scores = maps[:, y, x].astype(np.float32).tolist()
        if scores and max(scores) >= threshold:
            mask[y, x] = values[scores.index(max(scores))]
    return mask


def sweep_of(*images, bins=16):
    sweep = ThresholdSweep(CLASSES, bins)
    for image in images:
        sweep.update(*image)
    return sweep


@settings(max_examples=40)
@given(st.lists(images(), min_size=1, max_size=2))
def test_every_threshold_equals_direct_thresholding(images):
    sweep = sweep_of(*images)
    curve = sweep.curve()
    assert [threshold for threshold, _ in curve] == [k / 16 for k in range(17)]
    for threshold, miou in curve:
        direct = Confusion(CLASSES)
        for truth, maps, values in images:
            direct.update(truth, thresholded(maps, values, threshold))
        swept = sweep.confusion(threshold)
        assert np.array_equal(swept.matrix, direct.matrix)
        assert swept.ignored == direct.ignored
        assert miou == pytest.approx(direct.miou(), nan_ok=True)


def test_the_best_threshold_is_the_lowest_of_equals():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    maps = np.array([[[0.1, 0.24, 0.51, 1.0]]], np.float32)
    sweep = ThresholdSweep(1, 4)
    sweep.update(truth, maps, [1])
    assert sweep.curve() == [
        (0, 0.25),
        (0.25, 1),
        (0.5, 1),
        (0.75, pytest.approx(7 / 12)),
        (1, pytest.approx(7 / 12)),
    ]
    assert sweep.best() == (0.25, 1)


def test_an_image_without_classes_is_background_at_every_threshold():
    truth = np.array([[0, 2]], np.uint8)
    sweep = ThresholdSweep(3)
    sweep.update(truth, np.zeros((0, 1, 2), np.float16), [])
    for threshold in (0, 0.5, 1):
        assert sweep.confusion(threshold).matrix[:, 0].tolist() == [1, 0, 1, 0]
        assert sweep.confusion(threshold).matrix.sum() == 2


def test_nothing_known_has_no_best_threshold():
    sweep = ThresholdSweep(3)
    sweep.update(np.full((2, 2), 255, np.uint8), np.ones((1, 2, 2), np.float32), [1])
    assert sweep.confusion(0.5).ignored == 4
    assert np.isnan(sweep.curve()[0][1])
    with pytest.raises(ValueError, match="no pixel"):
        sweep.best()


@pytest.mark.parametrize("threshold", [-0.25, 1.25, 0.3, float("nan")])
def test_thresholds_between_the_bins_are_refused(threshold):
    with pytest.raises(ValueError, match="k / 256"):
        ThresholdSweep(3).confusion(threshold)


@pytest.mark.parametrize(
    ("truth", "maps", "values", "words"),
    [
        (np.full((2, 2), 4, np.uint8), np.zeros((1, 2, 2)), [1], "truth holds the value 4"),
        (np.zeros((2, 2), np.int32), np.zeros((1, 2, 2)), [1], "uint8"),
        (np.zeros((2, 2), np.uint8), np.full((1, 2, 2), np.nan), [1], "NaN"),
        (np.zeros((2, 2), np.uint8), np.full((1, 2, 2), 2.0), [1], "outside"),
        (np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2)), [4], "1 to 3"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 2)), [1, 1], "distinct"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 2)), [1], "class values"),
        (np.zeros((2, 2), np.uint8), np.zeros((1, 2, 3)), [1], "pixels"),
    ],
)
def test_bad_images_are_refused(truth, maps, values, words):
    with pytest.raises(ValueError, match=words):
        ThresholdSweep(3).update(truth, maps, values)


def test_bad_bins_are_refused():
    for bins in (0, 100, 65536):
        with pytest.raises(ValueError, match="power of two"):
            ThresholdSweep(3, bins)
