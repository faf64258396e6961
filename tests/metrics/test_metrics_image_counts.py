"""The counts of each image add up to the pooled figures, and to those of other draws of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws3.metrics.base import EvaluatedImage
from ws3.metrics.bootstrap import interval, resampled
from ws3.metrics.image_counts import (
    COUNTS,
    PIXEL_COUNTS,
    POOLED_FIGURES,
    SCORE_COUNTS,
    SCORE_STEPS,
    ImageCounts,
    pixel_ap_of_bins,
)
from ws3.metrics.measurement import Measurement
from ws3.metrics.pixel_ap import PixelAveragePrecision
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
        assert (None if np.isnan(found) else found) == means.get(name)


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
        assert table[3:7, value].tolist() == regions
        assert not table[7:, value].any()  # without maps there are no scores


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


# Scores ------------------------------------------------------------------------------------------


@st.composite
def mapped_images(draw):
    """An image with a map of each of its labels, which need not be in the ground truth."""
    image = draw(images())
    steps = arrays(np.int64, (len(image.class_values), 3, 4), elements=st.integers(0, 1024))
    return replace(image, maps=(draw(steps) / 1024).astype(np.float32))


@given(st.lists(mapped_images(), min_size=1, max_size=5))
def test_the_average_precision_of_all_images_is_the_metrics_own(given_images):
    measurement = Measurement(CLASSES, all_metrics())
    tables = {str(n): measurement.add_counting(one) for n, one in enumerate(given_images)}
    exact = measurement.counts(PixelAveragePrecision)
    assert exact is not None
    counts = ImageCounts.of(tables, CLASSES).with_pixel_ap(exact.per_class().tolist())
    assert counts.figure("pxap") == pytest.approx(exact.mean(), abs=1e-12, nan_ok=True)


@given(mapped_images())
def test_an_images_scores_are_counted_in_bins(image):
    table = Measurement(CLASSES, all_metrics()).add_counting(image)
    scores = table[len(PIXEL_COUNTS) :]
    assert not scores[:, 0].any()
    for value in range(1, CLASSES + 1):
        expected = np.zeros(len(SCORE_COUNTS), np.int64)
        if value in image.class_values:
            score = 1024 * image.maps[image.class_values.index(value)]
            for number, step in enumerate(SCORE_STEPS):
                end = [*SCORE_STEPS, 2000][number + 1]
                here = (score >= step) & (score < end) & (image.truth != 255)
                expected[number] = (here & (image.truth == value)).sum()
                expected[len(SCORE_STEPS) + number] = (here & (image.truth != value)).sum()
        assert scores[:, value].tolist() == expected.tolist()


def test_pixels_of_a_bin_are_evenly_mixed():
    """As scikit-learn has it of many pixels, each bin's spread over it evenly."""
    metrics = pytest.importorskip("sklearn.metrics")
    stream = np.random.default_rng(0)
    own, other = stream.integers(0, 40, (2, len(SCORE_STEPS)))
    sums = np.concatenate([own, other])[:, None]
    often = 200
    score, truth = [], []
    for number, pixels in enumerate(zip(own, other, strict=True)):
        for is_own, count in zip((1, 0), pixels, strict=True):
            spread = (np.arange(count * often) + 0.5) / max(count * often, 1)
            score += (number + spread).tolist()
            truth += [is_own] * (count * often)
    expected = metrics.average_precision_score(truth, score)
    assert pixel_ap_of_bins(sums).item() == pytest.approx(expected, abs=2e-4)


def test_average_precision_without_pixels_of_the_class_is_undefined():
    sums = np.zeros((len(SCORE_COUNTS), 2), np.int64)
    sums[-1] = 3
    assert np.isnan(pixel_ap_of_bins(sums)).all()
    sums[3, 1] = 2
    assert pixel_ap_of_bins(sums)[1] == pytest.approx(
        2 / 5 + (0 - 2 / 2 * 3) / 2 * np.log1p(2 / 3) + 0.6
    )


@pytest.mark.parametrize("contrast", [1, 4])
def test_few_bins_give_the_interval_of_a_thousand(contrast):
    """Smooth maps of 40 drawn images, scaled by a percentile as ours are; 200 drawn sets."""
    stream = np.random.default_rng(contrast)
    fine, tables = [], {}
    pooled = PixelAveragePrecision(1)
    for number in range(40):
        rows, columns = np.mgrid[:60, :80]
        place = stream.uniform(15, 45, 2)
        distance = np.hypot(rows - place[0], columns - place[1])
        truth = (distance < stream.uniform(8, 25)).astype(np.uint8)
        blob = np.exp(-((distance / stream.uniform(10, 30)) ** 2))
        wave = np.sin(rows / stream.uniform(5, 15)) * np.cos(columns / stream.uniform(5, 15))
        score = np.clip(blob + stream.uniform(0, 0.5) * wave, 0, None)
        score = np.clip(score / np.percentile(score, 98), 0, 1) ** contrast
        one = PixelAveragePrecision(1)
        for counted in (one, pooled):
            counted.update(truth, score[None].astype(np.float32), [1])
        fine.append(one.binned(range(1025)))
        table = np.zeros((len(COUNTS), 2), np.int64)
        table[len(PIXEL_COUNTS) :, 1] = one.binned(SCORE_STEPS).ravel()
        tables[f"{number:02}"] = table
    counts = ImageCounts.of(tables, 1).with_pixel_ap(pooled.per_class().tolist())
    found = interval(resampled([counts], seed=5, resamples=200)["pxap"][0])

    stream = np.random.default_rng([5, 0])  # as the bootstrap draws
    values = []
    for _ in range(4):
        for drawn in stream.integers(0, 40, (50, 40)):
            own, other = sum(fine[image][0] for image in drawn)
            hits = own[::-1].cumsum()
            marked = hits + other[::-1].cumsum()
            values.append((own[::-1] * hits / np.maximum(marked, 1)).sum() / hits[-1])
    expected = interval(np.array(values))
    assert expected is not None
    assert found == pytest.approx(expected, abs=0.03 * (expected[1] - expected[0]))
