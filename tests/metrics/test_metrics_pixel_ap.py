import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from ws3.metrics.pixel_ap import PixelAveragePrecision

BINS = 64
score = st.integers(0, BINS).map(lambda k: k / BINS)
image = st.tuples(
    arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255])),
    arrays(np.float16, (2, 4, 5), elements=score),
)


def average_precision(*images, bins=BINS):
    metric = PixelAveragePrecision(3, bins)
    for truth, maps in images:
        metric.update(truth, maps, [2, 1])
    return metric


def by_scikit_learn(images, index, value):
    truth = np.concatenate([truth.ravel() for truth, _ in images])
    scores = np.concatenate([maps[index].ravel() for _, maps in images])
    known = truth != 255
    if not (truth[known] == value).any():
        return float("nan")
    return average_precision_score(truth[known] == value, scores[known])


@given(st.lists(image, min_size=1, max_size=3))
def test_equals_scikit_learn_on_quantised_scores(images):
    result = average_precision(*images).per_class()
    expected = [by_scikit_learn(images, 1, 1), by_scikit_learn(images, 0, 2), float("nan")]
    assert result == pytest.approx(expected, nan_ok=True)


def test_is_near_scikit_learn_on_any_scores():
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], (60, 80)).astype(np.uint8)
    maps = np.stack([(truth == 2), (truth == 1)]) * 0.3 + rng.random((2, 60, 80)) * 0.7
    images = [(truth, maps.astype(np.float32))]
    result = average_precision(*images, bins=1024)
    expected = [by_scikit_learn(images, 1, 1), by_scikit_learn(images, 0, 2)]
    assert result.per_class()[:2] == pytest.approx(expected, abs=2e-3)
    assert result.mean() == pytest.approx(np.mean(expected), abs=2e-3)


def test_by_hand():
    truth = np.array([[1, 0, 1, 0, 255]], np.uint8)
    maps = np.array([[[1.0, 0.75, 0.5, 0.25, 1.0]]], np.float32)
    metric = PixelAveragePrecision(1, 4)
    metric.update(truth, maps, [1])
    assert metric.mean() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_only_images_labelled_with_the_class_count():
    metric = PixelAveragePrecision(2)
    metric.update(np.array([[1, 0]], np.uint8), np.array([[[1.0, 0.0]]]), [1])
    metric.update(np.array([[2, 1]], np.uint8), np.array([[[0.5, 1.0]]]), [2])
    metric.update(np.array([[0, 1]], np.uint8), np.zeros((0, 1, 2)), [])
    assert metric.per_class().tolist() == [1.0, 0.5]


def test_without_pixels_of_the_class_it_is_undefined():
    metric = PixelAveragePrecision(1)
    assert np.isnan(metric.mean())
    metric.update(np.array([[0, 255]], np.uint8), np.ones((1, 1, 2)), [1])
    assert np.isnan(metric.mean())


@pytest.mark.parametrize(
    ("truth", "maps", "words"),
    [
        (np.zeros((2, 2), np.uint8), np.full((1, 2, 2), np.nan), "NaN"),
        (np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8), "floating"),
        (np.zeros((2, 2), np.uint8), np.zeros((1, 2, 3)), "pixels"),
        (np.full((2, 2), 9, np.uint8), np.zeros((1, 2, 2)), "truth"),
    ],
)
def test_bad_images_are_refused(truth, maps, words):
    with pytest.raises(ValueError, match=words):
        PixelAveragePrecision(1).update(truth, maps, [1])
