"""The counts of each image add up to the pooled figures, and to those of other draws of images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws3.metrics.base import EvaluatedImage
from ws3.metrics.image_counts import COUNTS, POOLED_FIGURES, ImageCounts
from ws3.metrics.measurement import Measurement
from ws3.metrics.registry import all_metrics

CLASSES = 3
VALUES = st.sampled_from([0, 1, 2, 3, 255])


@st.composite
def images(draw):
    """An image with truth, mask and reference, and labels that need not fit the truth."""
    truth, mask, reference = (draw(arrays(np.uint8, (3, 4), elements=VALUES)) for _ in range(3))
    labels = draw(st.sets(st.integers(1, CLASSES)))
    return EvaluatedImage(truth, mask, reference, tuple(sorted(labels)))


@given(st.lists(images(), min_size=1, max_size=5))
def test_they_add_up_to_the_metrics_own_figures(given_images):
    measurement = Measurement(CLASSES, all_metrics())
    tables = {str(n): measurement.add_counting(one) for n, one in enumerate(given_images)}
    counts = ImageCounts.of(tables, CLASSES)
    means = measurement.means()
    for name in POOLED_FIGURES:
        found = counts.figure(name).item()
        assert (None if np.isnan(found) else found) == means[name]


@given(images())
def test_an_images_counts_are_those_of_its_pixels(image):
    table = Measurement(CLASSES, all_metrics()).add_counting(image)
    known = (image.truth != 255) & (image.mask != 255)
    for value in range(CLASSES + 1):
        truth, mask = image.truth == value, image.mask == value
        expected = [(known & ~(truth ^ mask) & truth).sum(), (known & mask & ~truth).sum()]
        expected.append((known & truth & ~mask).sum())
        assert table[:3, value].tolist() == expected
        regions = [0, 0, 0, 0]
        if value in image.class_values:
            inside = known & (image.reference != 255) & truth
            dr, ndr = inside & (image.reference == value), inside & (image.reference != value)
            regions = [dr.sum(), (dr & mask).sum(), ndr.sum(), (ndr & mask).sum()]
        assert table[3:, value].tolist() == regions


TABLES = st.lists(
    arrays(np.int64, (len(COUNTS), CLASSES + 1), elements=st.integers(0, 9)), min_size=1, max_size=6
)


@given(TABLES, st.randoms(use_true_random=False))
def test_nothing_depends_on_the_order_of_the_images(tables, random):
    named = [(f"image{n}", table) for n, table in enumerate(tables)]
    counts = ImageCounts.of(dict(named), CLASSES)
    random.shuffle(named)
    other = ImageCounts.of(dict(named), CLASSES)
    assert other.images == counts.images
    assert (other.table != counts.table).nnz == 0


@given(TABLES, st.data())
def test_a_weight_is_how_often_an_image_counts(tables, data):
    counts = ImageCounts.of({f"image{n}": table for n, table in enumerate(tables)}, CLASSES)
    weights = data.draw(arrays(np.int64, (4, len(tables)), elements=st.integers(0, 3)))
    sums = counts.weighted(weights)
    for row, found in zip(weights, sums, strict=True):
        expected = sum(number * table for number, table in zip(row, tables, strict=True))
        np.testing.assert_array_equal(found, expected)
    # A figure of many draws at once is that of each alone.
    for figure in POOLED_FIGURES.values():
        of_figure = sums[:, [COUNTS.index(count) for count in figure.counts]]
        alone = [figure.of(one).item() for one in of_figure]
        np.testing.assert_allclose(figure.of(of_figure), alone, rtol=1e-12, equal_nan=True)


def test_some_of_the_images_are_counted_alone():
    tables = {name: np.full((len(COUNTS), 2), n) for n, name in enumerate("cab", 1)}
    counts = ImageCounts.of(tables, 1)
    assert counts.images == ("a", "b", "c")
    assert counts.only(["a", "c"]).sums.tolist() == [[3, 3]] * len(COUNTS)
    assert counts.only(["a", "b", "c"]) is counts


def test_without_an_object_in_the_ground_truth_there_is_no_miou():
    table = np.zeros((len(COUNTS), 2), np.int64)
    table[0, 0] = 5
    counts = ImageCounts.of({"a": table}, 1)
    assert all(np.isnan(counts.figure(name)) for name in POOLED_FIGURES)


@pytest.mark.parametrize("name", POOLED_FIGURES)
def test_each_figure_is_a_metric_with_the_same_name(name):
    assert name in [metric.name for metric in all_metrics()]
