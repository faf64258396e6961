"""Pairs of classes: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix

from ws3.metrics.confusion import Confusion
from ws3.metrics.pairs import Kind, Pair, images_together, largest_confusions, shares_of_truth

# Background, cat, dog: of 100 pixels of a dog 12 are called cat and 30 background.
MATRIX = [[900, 80, 20], [10, 40, 0], [30, 12, 58]]


def test_confusions_by_hand():
    assert largest_confusions(MATRIX, "classes", 5) == [Pair(2, 1, 0.12, 12)]
    assert largest_confusions(MATRIX, "missed", 5) == [Pair(2, 0, 0.3, 30), Pair(1, 0, 0.2, 10)]
    invented = largest_confusions(MATRIX, "invented", 5)
    assert invented == [Pair(0, 1, 0.08, 80), Pair(0, 2, 0.02, 20)]
    assert largest_confusions(MATRIX, "missed", 1) == [Pair(2, 0, 0.3, 30)]
    assert shares_of_truth(MATRIX)[2].tolist() == [0.3, 0.12, 0.58]


def test_equal_shares_come_in_the_order_of_the_classes():
    matrix = [[5, 0, 0, 0], [0, 2, 1, 1], [0, 1, 3, 0], [0, 0, 1, 3]]
    found = [(pair.truth, pair.called) for pair in largest_confusions(matrix, "classes", 9)]
    assert found == [(1, 2), (1, 3), (2, 1), (3, 2)]


def test_a_class_without_pixels_is_confused_with_nothing():
    matrix = np.zeros((3, 3), int)
    assert np.isnan(shares_of_truth(matrix)).all()
    for kind in ("classes", "missed", "invented"):
        assert largest_confusions(matrix, kind, 9) == []


def test_the_matrix_given_is_left_as_it_is():
    matrix = np.array(MATRIX)
    largest_confusions(matrix, "classes", 5)
    assert matrix.tolist() == MATRIX


masks = arrays(np.uint8, (6, 6), elements=st.integers(0, 3))


@given(masks, masks)
def test_shares_equal_those_of_scikit_learn(truth, prediction):
    confusion = Confusion(3)
    confusion.update(truth, prediction)
    expected = confusion_matrix(
        truth.ravel(), prediction.ravel(), labels=range(4), normalize="true"
    )
    shares = shares_of_truth(confusion.matrix)
    assert np.nan_to_num(shares) == pytest.approx(expected)
    kinds: tuple[Kind, ...] = ("classes", "missed", "invented")
    pairs = [pair for kind in kinds for pair in largest_confusions(confusion.matrix, kind, 99)]
    assert sum(pair.pixels for pair in pairs) == (truth != prediction).sum()
    for pair in pairs:
        assert pair.share == shares[pair.truth, pair.called]


def test_images_together_by_hand():
    together = images_together([[1, 3], [1], [], [3, 1, 2]], classes=3)
    assert together.tolist() == [[3, 1, 2], [1, 1, 1], [2, 1, 2]]
    assert images_together([], 2).tolist() == [[0, 0], [0, 0]]


@given(st.lists(st.lists(st.integers(1, 4), unique=True), max_size=6).flatmap(
    lambda labels: st.tuples(st.just(labels), st.permutations(labels))
))  # fmt: skip
def test_the_order_of_images_and_labels_changes_nothing(both):
    labels, others = both
    together = images_together(labels, 4)
    assert (together == images_together([one[::-1] for one in others], 4)).all()
    held = np.array([[value in one for value in range(1, 5)] for one in labels], int).reshape(-1, 4)
    assert (together == held.T @ held).all()


def test_labels_that_are_none_are_refused():
    for labels in ([0], [3], [1, 1]):
        with pytest.raises(ValueError, match="class values must"):
            images_together([labels], 2)
