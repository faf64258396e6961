"""Recall by distance from the reference map's peak: by hand, by brute force, and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from ws3.metrics.base import EvaluatedImage
from ws3.metrics.distance import (
    TENTHS,
    DistanceRecall,
    FarRecall,
    NearRecall,
    tenths_of_objects,
)
from ws3.metrics.measurement import Measurement
from ws3.run.records import DistanceProfile

CLASSES = 2
SHAPE = (7, 9)
truths = arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 1, 1, 2, 2, 255]))
masks = arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, 255]))
# Few levels, so that peaks are often shared by several pixels.
maps = arrays(np.float32, (2, *SHAPE), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
image = st.tuples(truths, maps, masks)


def row(*values):
    return np.array([values], np.uint8)


def scored(*scores):
    return np.array([[scores]], np.float32)


def recall_of(*images):
    recall = DistanceRecall(CLASSES)
    for truth, scores, mask in images:
        recall.update(truth, tenths_of_objects(truth, scores, [1, 2]), mask)
    return recall


def by_brute_force(truth, scores, values):
    """The tenths by their definition: all pixels of an object against all of its peaks."""
    result = np.full(truth.shape, 255)
    for value, of_class in zip(values, scores, strict=True):
        parts, count = label(truth == value, np.ones((3, 3)))
        for number in range(1, count + 1):
            pixels = np.argwhere(parts == number)
            best = max(of_class[tuple(pixel)] for pixel in pixels)
            peaks = [pixel for pixel in pixels if of_class[tuple(pixel)] == best]
            squares = [min(int(((p - q) ** 2).sum()) for q in peaks) for p in pixels]
            far = max(squares)
            for pixel, square in zip(pixels, squares, strict=True):
                # sqrt(square / far) in [t / 10, (t + 1) / 10), in whole numbers.
                inside = [t for t in range(TENTHS) if t * t * far <= 100 * square]
                result[tuple(pixel)] = inside[-1] if far else 255
    return result


def test_an_object_of_eleven_pixels_by_hand():
    truth = row(*[1] * 11, 0, 0)
    peak_at_the_left = scored(1.0, *[0.5] * 10, 1.0, 0.0)
    tenths = tenths_of_objects(truth, peak_at_the_left, [1])
    # Distances 0, 1, ..., 10 of at most 10: the farthest pixel counts with the last tenth.
    assert tenths.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 255, 255]]
    peak_in_the_middle = scored(*[0.5] * 5, 0.75, *[0.5] * 5, 1.0, 0.0)
    tenths = tenths_of_objects(truth, peak_in_the_middle, [1])
    assert tenths.tolist() == [[9, 8, 6, 4, 2, 0, 2, 4, 6, 8, 9, 255, 255]]


def test_shares_of_two_classes_and_their_mean_by_hand():
    truth = row(*[1] * 11, 0, *[2] * 11)
    scores = np.zeros((2, 1, 23), np.float32)
    scores[0, 0, 0] = scores[1, 0, 22] = 1
    mask = row(*[1] * 4, *[0] * 6, 255, 1, *[2] * 11)
    recall = recall_of((truth, scores, mask))
    assert recall.pixels.tolist() == [[1] * 10, [1] * 9 + [2]]  # the ignored pixel is none
    assert recall.shares().tolist() == [[1] * 4 + [0] * 6, [1] * 10]
    assert recall.mean_shares().tolist() == [1.0] * 4 + [0.5] * 6
    assert NearRecall().per_class(recall).tolist() == [4 / 5, 1]
    assert FarRecall().per_class(recall).tolist() == [0, 1]
    assert (NearRecall().mean(recall), FarRecall().mean(recall)) == (0.9, 0.5)


def test_two_objects_of_a_class_have_a_peak_each():
    truth = row(1, 1, 1, 0, 1, 1, 1)
    scores = scored(1.0, 0.5, 0.5, 0.0, 0.1, 0.1, 0.2)
    assert tenths_of_objects(truth, scores, [1]).tolist() == [[0, 5, 9, 255, 9, 5, 0]]
    touching_at_a_corner = np.array([[1, 0], [0, 1]], np.uint8)
    corner = np.array([[[1.0, 0.0], [0.0, 0.5]]])
    assert tenths_of_objects(touching_at_a_corner, corner, [1]).tolist() == [[0, 255], [255, 9]]


def test_the_nearest_of_several_peaks_counts():
    truth = row(1, 1, 1, 1, 1)
    assert tenths_of_objects(truth, scored(1, 0, 0, 0, 1), [1]).tolist() == [[0, 5, 9, 5, 0]]


def test_an_object_without_a_peak_counts_nowhere():
    truth, flat = row(1, 1, 1, 0, 1), scored(0.5, 0.5, 0.5, 1.0, 1.0)
    tenths = tenths_of_objects(truth, flat, [1])
    assert tenths.tolist() == [[255] * 5]
    recall = DistanceRecall(CLASSES)
    recall.update(truth, tenths, truth)
    assert np.isnan(recall.shares()).all()
    assert np.isnan(recall.mean_shares()).all()
    assert np.isnan(NearRecall().mean(recall))


def test_a_peak_outside_the_object_is_no_peak_of_it():
    truth, scores = row(0, 1, 1, 1), scored(1.0, 0.1, 0.2, 0.1)
    assert tenths_of_objects(truth, scores, [1]).tolist() == [[255, 9, 0, 9]]


def test_classes_without_a_map_have_no_distances():
    truth, scores = row(1, 1, 2, 2), scored(0.1, 0.2, 0.3, 0.4)
    assert tenths_of_objects(truth, scores, [2]).tolist() == [[255, 255, 9, 0]]
    assert tenths_of_objects(truth, np.zeros((0, 1, 4)), []).tolist() == [[255] * 4]


@given(truths, maps)
def test_tenths_equal_their_definition(truth, scores):
    found = tenths_of_objects(truth, scores, [1, 2])
    assert found.tolist() == by_brute_force(truth, scores, [1, 2]).tolist()


@given(st.lists(image, min_size=1, max_size=3))
def test_mirroring_and_turning_the_images_changes_nothing(images):
    expected = recall_of(*images)
    for turned in (
        [[array[..., ::-1] for array in one] for one in images],
        [[array[..., ::-1, :] for array in one] for one in images],
        [[np.rot90(array, axes=(-2, -1)) for array in one] for one in images],
    ):
        found = recall_of(*[[np.ascontiguousarray(array) for array in one] for one in turned])
        assert (found.pixels == expected.pixels).all()
        assert (found.found == expected.found).all()


@given(st.lists(image, min_size=2, max_size=4).flatmap(
    lambda images: st.tuples(st.just(images), st.permutations(images))
))  # fmt: skip
def test_the_order_of_the_images_changes_nothing(both):
    images, others = both
    found, expected = recall_of(*others), recall_of(*images)
    assert (found.pixels == expected.pixels).all()
    assert (found.found == expected.found).all()


@given(truths, maps)
def test_the_ground_truth_finds_all_and_an_empty_mask_nothing(truth, scores):
    whole = recall_of((truth, scores, truth)).shares()
    nothing = recall_of((truth, scores, np.zeros_like(truth))).shares()
    assert (np.isnan(whole) == np.isnan(nothing)).all()
    assert (whole[~np.isnan(whole)] == 1).all()
    assert (nothing[~np.isnan(nothing)] == 0).all()


def test_a_large_object_has_exact_edges():
    """A pixel that lies at k tenths exactly counts with tenth k, also where roots are rounded."""
    truth = np.ones((1, 3001), np.uint8)
    scores = np.zeros((1, 1, 3001), np.float32)
    scores[0, 0, 0] = 1
    tenths = tenths_of_objects(truth, scores, [1])[0]
    assert (tenths == np.minimum(np.arange(3001) // 300, 9)).all()


def test_a_larger_picture_of_the_same_object_has_the_same_tenths():
    truth = np.zeros((40, 40), np.uint8)
    truth[5:30, 10:31] = 1
    scores = np.zeros((1, 40, 40), np.float32)
    scores[0, 12, 20] = 1
    small = tenths_of_objects(truth, scores, [1])
    large = tenths_of_objects(np.pad(truth, 50), np.pad(scores, ((0, 0), (50, 50), (50, 50))), [1])
    assert (large[50:-50, 50:-50] == small).all()


def test_bad_images_are_refused():
    mask, scores = row(0, 1), scored(0.0, 1.0)
    for arguments, words in [
        ((mask, scores[:, :, 1:], [1]), "the maps are"),
        ((mask, scores * 2, [1]), "outside"),
        ((mask.astype(int), scores, [1]), "truth must be uint8"),
        ((mask, scores, [1, 2]), "1 score maps came with 2 class values"),
    ]:
        with pytest.raises(ValueError, match=words):
            tenths_of_objects(*arguments)
    recall = DistanceRecall(CLASSES)
    for arrays_, words in [
        ((mask, row(10, 0), mask), "tenths holds the value 10"),
        ((mask, row(0), mask), "tenths has shape"),
        ((mask, mask, row(0, 9)), "prediction holds the value 9"),
        ((row(0, 7), mask, mask), "truth holds the value 7"),
    ]:
        with pytest.raises(ValueError, match=words):
            recall.update(*arrays_)
    with pytest.raises(ValueError, match="without the distances"):
        recall.add(EvaluatedImage(mask, mask, reference=mask, class_values=(1,)))


def test_it_is_measured_where_images_have_tenths():
    truth = row(*[1] * 11)
    tenths = tenths_of_objects(truth, scored(1.0, *[0.5] * 10), [1])
    bare = EvaluatedImage(truth, truth, reference=truth, class_values=(1,))
    known = EvaluatedImage(truth, truth, reference=truth, class_values=(1,), tenths=tenths)
    measurement = Measurement(CLASSES, [NearRecall(), FarRecall()])
    measurement.add(bare)
    assert measurement.counts(DistanceRecall) is None
    assert measurement.means() == {}
    measurement.add(known)
    assert measurement.means() == {"near_recall": 1.0, "far_recall": 1.0}
    counts = measurement.counts(DistanceRecall)
    assert counts is not None
    assert counts.pixels.sum() == 11


def test_a_record_holds_as_many_tenths_as_are_counted():
    tenths = DistanceRecall(1).mean_shares()
    found = tuple(None for _ in tenths)
    assert DistanceProfile(found=found, per_class={}, pixels={}).found == found
    with pytest.raises(ValueError, match="at least 10 items"):
        DistanceProfile(found=found[1:], per_class={}, pixels={})
