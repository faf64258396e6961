import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws3.config.masks import ConstantBackground, PowerBackground
from ws3.labels import label_argmax
from ws3.masks.background import add_background, hard_labels


def test_constant_background_comes_first_and_leaves_the_maps():
    maps = np.array([[[0.1, 0.9]], [[0.5, 0.2]]], np.float16)
    scores = add_background(maps, ConstantBackground(kind="constant", score=0.25))
    assert scores.dtype == np.float32
    assert scores.tolist() == [[[0.25, 0.25]], maps[0].tolist(), maps[1].tolist()]
    assert np.array_equal(scores, add_background(maps, 0.25))


def test_power_background_by_hand():
    maps = np.array([[[0.5, 1.0, 0.0]], [[0.25, 0.0, 0.0]]], np.float32)
    scores = add_background(maps, PowerBackground(kind="power", alpha=2))
    assert scores[0].tolist() == [[0.25, 0.0, 1.0]]


def test_an_image_without_classes_is_background():
    none = np.zeros((0, 2, 3), np.float32)
    assert add_background(none, PowerBackground(kind="power")).tolist() == [[[1.0] * 3] * 2]
    assert hard_labels(add_background(none, 0.3)).tolist() == [[0] * 3] * 2


def test_the_foreground_wins_when_it_reaches_the_background():
    maps = np.array([[[0.25, 0.5, 0.0, 0.5]], [[0.0, 0.5, 0.75, 0.49]]], np.float32)
    labels = hard_labels(add_background(maps, 0.5))
    assert labels.tolist() == [[0, 1, 2, 1]]
    assert hard_labels(add_background(maps, 0.0)).min() == 1


@given(
    arrays(np.float32, (3, 4, 5), elements=st.integers(0, 8).map(lambda k: k / 8)),
    st.integers(0, 8),
)
def test_labels_are_those_of_the_definition(maps, step):
    labels = hard_labels(add_background(maps, step / 8))
    expected = np.where(maps.max(axis=0) >= step / 8, maps.argmax(axis=0) + 1, 0)
    assert np.array_equal(labels, expected)


@pytest.mark.parametrize(
    ("maps", "background", "words"),
    [
        (np.full((1, 2, 2), np.nan, np.float32), 0.3, "NaN"),
        (np.full((1, 2, 2), 1.5, np.float32), 0.3, "outside"),
        (np.full((1, 2, 2), -0.1, np.float32), 0.3, "outside"),
        (np.zeros((2, 2), np.float32), 0.3, "height"),
        (np.zeros((1, 0, 2), np.float32), 0.3, "height"),
        (np.zeros((1, 2, 2), np.uint8), 0.3, "floating"),
        (np.zeros((1, 2, 2), np.float32), 1.5, "background score"),
    ],
)
def test_bad_maps_are_refused(maps, background, words):
    with pytest.raises(ValueError, match=words):
        add_background(maps, background)


def test_winner_gives_the_class_value_and_its_score():
    maps = np.array([[[0.5, 0.1]], [[0.5, 0.7]], [[0.2, 0.7]]], np.float16)
    values, score = label_argmax(maps, [9, 4, 254])
    assert values.dtype == np.uint8
    assert values.tolist() == [[9, 4]]
    assert score.dtype == np.float32
    assert score.tolist() == [[0.5, float(np.float16(0.7))]]


def test_whole_numbers_are_no_scores():
    with pytest.raises(ValueError, match="floating"):
        label_argmax(np.zeros((1, 3, 3), np.uint8), [1])


@pytest.mark.parametrize("class_values", [[1], [1, 1], [0, 1], [1, 255]])
def test_bad_class_values_are_refused(class_values):
    with pytest.raises(ValueError, match="class values"):
        label_argmax(np.zeros((2, 3, 3), np.float32), class_values)
