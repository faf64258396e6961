import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from torchmetrics.classification import MulticlassJaccardIndex

from ws3.metrics.confusion import Confusion

CLASSES = 4
masks = arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 1, 2, 3, 4, 255]))


def count(*pairs, classes=CLASSES):
    confusion = Confusion(classes)
    for truth, prediction in pairs:
        confusion.update(truth, prediction)
    return confusion


def one_row(*values):
    return np.array([values], np.uint8)


def test_by_hand():
    truth = one_row(0, 0, 0, 1, 1, 1, 2, 255, 1)
    prediction = one_row(0, 0, 1, 1, 1, 0, 1, 2, 255)
    confusion = count((truth, prediction), classes=3)
    assert confusion.matrix.dtype == np.int64
    assert confusion.matrix.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert confusion.ignored == 2
    assert confusion.ignored_share() == 2 / 9
    assert confusion.iou() == pytest.approx([2 / 4, 2 / 5, 0, np.nan], nan_ok=True)
    assert confusion.miou() == pytest.approx((2 / 4 + 2 / 5 + 0) / 3)
    assert confusion.precision() == pytest.approx([2 / 3, 2 / 4, np.nan, np.nan], nan_ok=True)
    assert confusion.mean_precision() == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert confusion.recall() == pytest.approx([2 / 3, 2 / 3, 0, np.nan], nan_ok=True)
    assert confusion.mean_recall() == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert confusion.fp_share() == pytest.approx([1 / 4, 2 / 5, 0, np.nan], nan_ok=True)
    assert confusion.fn_share() == pytest.approx([1 / 4, 1 / 5, 1, np.nan], nan_ok=True)
    assert confusion.mean_fp_share() == pytest.approx((1 / 4 + 2 / 5) / 3)
    assert confusion.mean_fn_share() == pytest.approx((1 / 4 + 1 / 5 + 1) / 3)


def test_against_scikit_learn_and_torchmetrics():
    rng = np.random.default_rng(0)
    pairs = [
        (
            rng.integers(0, 21, (40, 50)).astype(np.uint8),
            rng.choice([*range(21), 255], (40, 50)).astype(np.uint8),
        )
        for _ in range(3)
    ]
    for truth, prediction in pairs:
        agreed = rng.random(truth.shape) < 0.5
        prediction[agreed] = truth[agreed]
    truth, prediction = (np.concatenate(side).ravel() for side in zip(*pairs, strict=True))
    known = prediction != 255
    truth, prediction = truth[known], prediction[known]
    confusion = count(*pairs, classes=20)
    assert np.array_equal(confusion.matrix, confusion_matrix(truth, prediction))
    assert confusion.precision() == pytest.approx(precision_score(truth, prediction, average=None))
    assert confusion.recall() == pytest.approx(recall_score(truth, prediction, average=None))
    jaccard = MulticlassJaccardIndex(21)
    jaccard.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    assert confusion.miou() == pytest.approx(float(jaccard.compute()), rel=1e-6)


def test_all_254_classes():
    values = np.arange(255, dtype=np.uint8)[None]
    assert np.array_equal(count((values, values), classes=254).matrix, np.eye(255))


def test_perfect():
    mask = one_row(0, 1, 2, 255)
    confusion = count((mask, mask))
    assert confusion.miou() == confusion.mean_precision() == confusion.mean_recall() == 1
    assert confusion.mean_fp_share() == confusion.mean_fn_share() == 0


@pytest.mark.parametrize("mask", [one_row(255, 255), np.zeros((0, 0), np.uint8)])
def test_nothing_known_is_undefined(mask):
    confusion = count((mask, mask))
    assert np.isnan(confusion.miou())
    assert np.isnan(confusion.mean_precision())
    assert np.isnan(confusion.iou()).all()
    assert confusion.ignored == mask.size


def test_an_empty_prediction_and_an_empty_truth():
    empty, full = one_row(0, 0, 0), one_row(2, 2, 0)
    assert count((full, empty)).miou() == pytest.approx((1 / 3 + 0) / 2)
    assert count((empty, full)).miou() == pytest.approx((1 / 3 + 0) / 2)
    assert count((empty, empty)).miou() == 1


@given(masks, masks)
def test_iou_and_both_shares_add_up_to_one(truth, prediction):
    confusion = count((truth, prediction))
    total = confusion.iou() + confusion.fp_share() + confusion.fn_share()
    occurs = confusion.matrix.sum(axis=0) + confusion.matrix.sum(axis=1) > 0
    assert np.allclose(total[occurs], 1)
    assert np.isnan(total[~occurs]).all()
    if occurs.any():
        means = confusion.miou() + confusion.mean_fp_share() + confusion.mean_fn_share()
        assert means == pytest.approx(1)


def test_counts_do_not_overflow_32_bits():
    truth = one_row(1)
    confusion = count((truth, truth))
    confusion.matrix += 2**40 - 1
    confusion.update(truth, truth)
    assert confusion.matrix[1, 1] == 2**40 + 1


@pytest.mark.parametrize(
    ("truth", "prediction", "words"),
    [
        (one_row(0, 5), one_row(0, 1), "truth holds the value 5"),
        (one_row(0, 1), one_row(0, 254), "prediction holds the value 254"),
        (one_row(255, 1), one_row(9, 1), "prediction holds the value 9"),
        (one_row(0, 1), one_row(0, 1).astype(np.int64), "prediction must be uint8"),
        (one_row(0, 1), one_row(0, 1, 1), "shape"),
        (one_row(0)[0], one_row(0)[0], "truth must be uint8"),
    ],
)
def test_bad_masks_are_refused_and_not_counted(truth, prediction, words):
    confusion = Confusion(CLASSES)
    with pytest.raises(ValueError, match=words):
        confusion.update(truth, prediction)
    assert confusion.ignored == confusion.matrix.sum() == 0


def test_other_classes_are_refused():
    for classes in (0, 255):
        with pytest.raises(ValueError, match="classes"):
            Confusion(classes)
