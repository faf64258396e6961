"""Coverage and precision by confidence: by hand, by brute force, and what always holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ws3.metrics import confidence as confidence_module
from ws3.metrics.confidence import ConfidenceCounts
from ws3.metrics.confusion import Confusion, Precision

CLASSES = 3
LABELS = st.sampled_from([0, 1, 2, 3, 255])


@st.composite
def images(draw):
    """Return truth, mask and confidence of an image."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
    truth, mask = (draw(hnp.arrays(np.uint8, shape, elements=LABELS)) for _ in range(2))
    few = st.sampled_from([0, 1, 127, 128, 254, 255])
    return truth, mask, draw(hnp.arrays(np.uint8, shape, elements=few))


def counted(some):
    counts = ConfidenceCounts(CLASSES)
    for image in some:
        counts.update(*image)
    return counts


def test_six_pixels_by_hand():
    # Called a cat: 3 pixels with 0.9, 0.6, 0.3, of which the last is wrong; called background: 2,
    # with 0.8 (wrong) and 0.5; one pixel is ignored.
    truth = np.array([[1, 1, 0, 1, 0, 255]], np.uint8)
    mask = np.array([[1, 1, 1, 0, 0, 1]], np.uint8)
    confidence = (np.array([[0.9, 0.6, 0.3, 0.8, 0.5, 1.0]]) * 255).astype(np.uint8)
    counts = ConfidenceCounts(classes=1)
    counts.update(truth, mask, confidence)
    cuts = [0, 128, 160, 230]  # 0, 0.5, 0.625, 0.898; 0.9 is stored as 229, 0.5 as 127
    assert counts.class_coverage()[1, cuts] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert counts.class_precision()[1, cuts] == pytest.approx([2 / 3, 1, 1, np.nan], nan_ok=True)
    assert counts.class_coverage()[0, cuts] == pytest.approx([1, 1 / 2, 1 / 2, 0])
    assert counts.class_precision()[0, cuts] == pytest.approx([1 / 2, 0, 0, np.nan], nan_ok=True)
    assert counts.coverage()[cuts] == pytest.approx([1, 3 / 5, 2 / 5, 0])
    assert counts.precision()[cuts] == pytest.approx([3 / 5, 2 / 3, 1 / 2, np.nan], nan_ok=True)
    assert counts.mean_coverage()[cuts] == pytest.approx([1, 7 / 12, 5 / 12, 0])
    assert counts.mean_precision()[cuts] == pytest.approx([7 / 12, 0.5, 0.5, np.nan], nan_ok=True)


@given(some=st.lists(images(), min_size=1, max_size=3), step=st.integers(0, 255))
def test_a_cut_is_the_mask_whose_other_pixels_are_ignored(some, step):
    """Against a confusion matrix of masks that are cut before they are counted."""
    counts, cut, whole = counted(some), Confusion(CLASSES), Confusion(CLASSES)
    for truth, mask, confidence in some:
        whole.update(truth, mask)
        cut.update(truth, np.where(confidence >= step, mask, 255).astype(np.uint8))
    np.testing.assert_array_equal(counts.class_precision()[:, step], cut.precision())
    total, kept = whole.matrix.sum(), cut.matrix.sum()
    assert (
        np.isnan(counts.coverage()[step]) if total == 0 else counts.coverage()[step] == kept / total
    )
    with np.errstate(invalid="ignore"):
        shares = cut.matrix.sum(axis=0) / whole.matrix.sum(axis=0)
    np.testing.assert_array_equal(counts.class_coverage()[:, step], shares)


@given(some=st.lists(images(), min_size=1, max_size=3))
def test_coverage_falls_and_cut_0_is_the_precision_of_the_summary(some):
    counts, confusion = counted(some), Confusion(CLASSES)
    for truth, mask, _ in some:
        confusion.update(truth, mask)
    for curve in (counts.coverage(), *counts.class_coverage()):
        assert np.isnan(curve).all() or (curve[0] == 1 and (np.diff(curve) <= 0).all())
    of_summary = Precision().mean(confusion)
    at_0 = counts.mean_precision()[0]
    assert at_0 == of_summary or (np.isnan(at_0) and np.isnan(of_summary))
    np.testing.assert_array_equal(counts.class_precision()[1:, 0], Precision().per_class(confusion))


@given(some=st.lists(images(), min_size=2, max_size=4), first=st.integers(0, 4))
def test_counts_of_images_add_up_whoever_counted_them(some, first):
    together, parts = counted(some), counted(some[:first])
    parts.add(counted(some[first:]))
    again = ConfidenceCounts.of(parts.pixels.tolist(), parts.objects)
    for found in (parts, again):
        np.testing.assert_array_equal(found.pixels, together.pixels)
        assert found.objects == together.objects


def test_pixels_are_counted_some_rows_at_a_time(monkeypatch):
    stream = np.random.default_rng(0)
    truth, mask = stream.integers(0, 4, (2, 7, 5)).astype(np.uint8)
    sure = stream.integers(0, 256, (7, 5)).astype(np.uint8)
    whole = counted([(truth, mask, sure)])
    monkeypatch.setattr(confidence_module, "_AT_ONCE", 11)
    np.testing.assert_array_equal(counted([(truth, mask, sure)]).pixels, whole.pixels)
    assert whole.pixels.sum() == 35


def test_without_an_object_in_the_ground_truth_there_is_no_mean():
    nothing = np.zeros((2, 2), np.uint8)
    counts = ConfidenceCounts(CLASSES)
    counts.update(nothing, nothing, np.full((2, 2), 255, np.uint8))
    assert np.isnan(counts.mean_precision()).all()
    assert counts.precision()[0] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m, c: (t + 4, m, c), "truth holds the value 4"),
        (lambda t, m, c: (t, m + 4, c), "mask holds the value 4"),
        (lambda t, m, c: (t, m, c[:1]), "confidence has shape"),
        (lambda t, m, c: (t, m, c.astype(np.float32)), "confidence must be uint8"),
    ],
)
def test_bad_input_is_refused(change, words):
    nothing = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match=words):
        ConfidenceCounts(CLASSES).update(*change(nothing, nothing, nothing))


def test_counts_of_other_classes_are_not_added():
    with pytest.raises(ValueError, match="2 classes"):
        ConfidenceCounts(3).add(ConfidenceCounts(2))


def test_a_cut_must_leave_pixels_of_all_labels():
    # Background: right, with 10 and 200; a cat: wrong with 20, right with 100.
    counts = ConfidenceCounts(classes=1)
    truth, mask = np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8)
    counts.update(truth, mask, np.array([[10, 200, 20, 100]], np.uint8))
    assert counts.lowest_cut(0.75) == 0
    assert counts.lowest_cut(0.76) == 21
    assert counts.lowest_cut(1) == 21
    assert np.isnan(counts.precision_of_all()[101:]).all()
    assert counts.mean_precision()[150] == 1  # of the background alone
    counts.update(truth, mask, np.array([[10, 200, 20, 10]], np.uint8))
    counts.update(truth, 1 - truth, np.array([[255, 255, 255, 255]], np.uint8))
    assert counts.lowest_cut(1) is None
