import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ws3.metrics.confusion import Confusion
from ws3.metrics.regions import PARTS, REGIONS, PartRecall, RegionProfile

CLASSES = 3
masks = arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 3, 255]))
image = st.tuples(masks, masks, masks, st.lists(st.integers(1, CLASSES), unique=True))


def one_row(*values):
    return np.array([values], np.uint8)


def profile_of(*images):
    metric = RegionProfile(CLASSES)
    for each in images:
        metric.update(*each)
    return metric


def by_definition(images, value):
    """The four shares, pixel by pixel."""
    marked: dict[str, list[bool]] = {name: [] for name in REGIONS}
    for truth, reference, prediction, values in images:
        if value not in values:
            continue
        for t, r, p in zip(truth.flat, reference.flat, prediction.flat, strict=True):
            if 255 in (t, r, p):
                continue
            object_part = {True: "dr_recall", False: "ndr_recall"}
            other_part = {True: "fpr_region_rate", False: "tn_region_rate"}
            name = (object_part if t == value else other_part)[bool(r == value)]
            marked[name].append(p == value)
    return {name: np.mean(flags) if flags else float("nan") for name, flags in marked.items()}


def test_by_hand():
    truth = one_row(1, 1, 1, 1, 0, 0, 0, 2, 255, 1)
    reference = one_row(1, 1, 0, 2, 1, 1, 0, 0, 1, 1)
    prediction = one_row(1, 0, 1, 0, 1, 0, 1, 0, 1, 255)
    profile = profile_of((truth, reference, prediction, [1])).profile()
    assert {name: values[0] for name, values in profile.items()} == {
        "dr_recall": 1 / 2,
        "ndr_recall": 1 / 2,
        "fpr_region_rate": 1 / 2,
        "tn_region_rate": 1 / 2,
    }
    assert all(np.isnan(values[1:]).all() for values in profile.values())


@given(st.lists(image, max_size=3))
def test_equals_the_definition(images):
    metric = profile_of(*images)
    profile = metric.profile()
    assert tuple(profile) == REGIONS
    for value in range(1, CLASSES + 1):
        expected = by_definition(images, value)
        result = {name: values[value - 1] for name, values in profile.items()}
        assert result == pytest.approx(expected, nan_ok=True)
    for name, mean in metric.mean_profile().items():
        defined = profile[name][~np.isnan(profile[name])]
        assert mean == pytest.approx(defined.mean() if len(defined) else np.nan, nan_ok=True)


@given(image)
def test_the_reference_marks_its_own_regions(one):
    truth, reference, _, values = one
    expected = {"dr_recall": 1, "ndr_recall": 0, "fpr_region_rate": 1, "tn_region_rate": 0}
    for name, shares in profile_of((truth, reference, reference, values)).profile().items():
        assert (shares[~np.isnan(shares)] == expected[name]).all()


def test_an_empty_reference_leaves_two_regions():
    truth, empty = one_row(1, 0), one_row(0, 0)
    profile = profile_of((truth, empty, truth, [1])).mean_profile()
    assert profile["ndr_recall"] == 1
    assert profile["tn_region_rate"] == 0
    assert np.isnan(profile["dr_recall"])
    assert np.isnan(profile["fpr_region_rate"])


def test_bad_images_are_refused():
    mask = one_row(0, 1)
    for arguments, words in [
        ((mask, mask, mask, [4]), "1 to 3"),
        ((mask, mask, one_row(0, 9), [1]), "prediction holds the value 9"),
        ((mask, one_row(0), mask, [1]), "reference has shape"),
        ((mask.astype(int), mask, mask, [1]), "truth must be uint8"),
    ]:
        with pytest.raises(ValueError, match=words):
            profile_of(arguments)


def test_recall_of_known_parts_by_hand():
    truth = one_row(1, 1, 1, 1, 2, 2, 0, 255, 1)
    parts = one_row(1, 1, 2, 2, 1, 2, 1, 1, 1)
    prediction = one_row(1, 1, 1, 0, 1, 2, 1, 1, 255)
    metric = PartRecall(CLASSES)
    metric.update(truth, parts, prediction)
    recall = metric.recall()
    assert recall["discriminative"] == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert recall["shared"] == pytest.approx([0.5, 1, np.nan], nan_ok=True)
    assert metric.mean_recall() == {"discriminative": 0.5, "shared": 0.75}


@given(masks, masks)
def test_one_part_everywhere_is_plain_recall(truth, prediction):
    confusion, metric = Confusion(CLASSES), PartRecall(CLASSES)
    confusion.update(truth, prediction)
    metric.update(truth, np.full_like(truth, PARTS["shared"]), prediction)
    assert metric.recall()["shared"] == pytest.approx(confusion.recall()[1:], nan_ok=True)
    assert np.isnan(metric.recall()["discriminative"]).all()
