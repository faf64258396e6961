import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws3.metrics.boundary import BoundaryIou

masks = arrays(np.uint8, (9, 12), elements=st.sampled_from([0, 1, 2, 255]))


def band(mask, width):
    """Pixels of the mask with a pixel outside it, or the frame, within a square of `width`."""
    framed = np.pad(mask, width)
    result = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        result[y, x] = not framed[y : y + 2 * width + 1, x : x + 2 * width + 1].all()
    return result


def by_definition(pairs, value, width):
    intersection = union = 0
    for truth, prediction in pairs:
        known = (truth != 255) & (prediction != 255)
        expected = band((truth == value) & known, width)
        found = band((prediction == value) & known, width)
        intersection += (expected & found).sum()
        union += (expected | found).sum()
    return intersection / union if union else float("nan")


def boundary(*pairs, dilation=0.02, classes=3):
    metric = BoundaryIou(classes, dilation)
    for pair in pairs:
        metric.update(*pair)
    return metric


@settings(max_examples=30)
@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=2), st.sampled_from([1, 2, 3]))
def test_equals_the_definition(pairs, width):
    # The diagonal of 9 x 12 is 15.
    result = boundary(*pairs, dilation=width / 15).per_class()
    expected = [by_definition(pairs, value, width) for value in (1, 2, 3)]
    assert result == pytest.approx(expected, nan_ok=True)


def test_a_shifted_square_by_hand():
    truth, prediction = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    truth[10:30, 10:30] = 1
    prediction[10:30, 11:31] = 1
    # The diagonal is 100, so bands are 2 wide: 400 - 256 = 144 pixels each. They share
    # 2 x 2 rows of 19 columns, and in the 16 rows between, one column on either side.
    shared = 2 * 2 * 19 + 16 * 2
    result = boundary((truth, prediction)).per_class()
    assert result[0] == pytest.approx(shared / (288 - shared))
    assert np.isnan(result[1:]).all()


def test_the_image_border_is_a_boundary():
    truth, inner = np.full((60, 80), 1, np.uint8), np.full((60, 80), 1, np.uint8)
    inner[2:-2, 2:-2] = 0
    assert boundary((truth, inner)).per_class()[0] == 1


def test_agreement_on_all_known_pixels_is_one():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.repeat(rng.integers(0, 3, (6, 8)), 10, axis=0), 10, axis=1)
    truth = truth.astype(np.uint8)
    prediction = truth.copy()
    truth[:, 33:36] = 255
    prediction[20:22] = 255
    assert boundary((truth, prediction)).mean() == 1


def test_disjoint_missing_and_absent_classes():
    empty, one, other = (np.zeros((10, 10), np.uint8) for _ in range(3))
    one[:5], other[5:] = 1, 1
    assert boundary((one, other)).mean() == 0
    assert boundary((one, empty)).mean() == boundary((empty, one)).mean() == 0
    assert np.isnan(boundary((empty, empty)).mean())
    ignored = np.full((10, 10), 255, np.uint8)
    assert np.isnan(boundary((ignored, one)).mean())


def test_bad_input_is_refused():
    mask = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="prediction holds the value 9"):
        boundary((mask, mask + np.uint8(9)))
    with pytest.raises(ValueError, match="shape"):
        boundary((mask, mask[1:]))
    with pytest.raises(ValueError, match="dilation"):
        BoundaryIou(3, 0)
