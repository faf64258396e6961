import numpy as np
import pytest

from ws3.config.masks import CrfParameters, PowerBackground
from ws3.errors import Ws3Error
from ws3.masks.background import add_background
from ws3.masks.crf import PRESETS, DenseCrf
from ws3.masks.pseudo import pseudo_mask
from ws3.metrics.confusion import Confusion
from ws3.metrics.sweep import ThresholdSweep

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
MAPS = np.random.default_rng(1).random((2, 12, 16)).astype(np.float32)


def test_without_crf_by_hand():
    maps = np.array([[[0.6, 0.0, 0.3]], [[0.0, 0.1, 0.5]]], np.float32)
    image = np.zeros((1, 3, 3), np.uint8)
    assert pseudo_mask(image, maps, [20, 3], 0.2, None).tolist() == [[20, 0, 3]]
    # The winners' shares of the scores are 0.75, 0.67 and 0.5.
    assert pseudo_mask(image, maps, [20, 3], 0.2, None, 0.6).tolist() == [[20, 0, 255]]


def test_with_crf_the_most_probable_label_becomes_its_class_value():
    mask = pseudo_mask(IMAGE, MAPS, [7, 254], PowerBackground(kind="power"), PRESETS["psa"])
    scores = add_background(MAPS, PowerBackground(kind="power"))
    expected = DenseCrf(IMAGE, 3, PRESETS["psa"]).refine(scores).argmax(axis=0)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, np.array([0, 7, 254])[expected])


def test_low_confidence_after_the_crf_is_ignored():
    crf = CrfParameters(iterations=1, gaussian_compat=0.1, bilateral_compat=0.1)
    probabilities = DenseCrf(IMAGE, 3, crf).refine(add_background(MAPS, 0.6))
    limit = float(np.median(probabilities.max(axis=0)))
    mask = pseudo_mask(IMAGE, MAPS, [1, 2], 0.6, crf, limit)
    assert np.array_equal(mask == 255, probabilities.max(axis=0) < np.float32(limit))
    assert 0 < (mask == 255).sum() < mask.size


@pytest.mark.parametrize("crf", [None, PRESETS["irn"]])
def test_an_image_without_classes_is_background(crf):
    none = np.zeros((0, 12, 16), np.float32)
    assert not pseudo_mask(IMAGE, none, [], 0.3, crf, 1.0).any()


@pytest.mark.parametrize("step", [0, 1, 77, 128, 255, 256])
def test_masks_without_crf_score_what_the_sweep_says(step):
    rng = np.random.default_rng(step)
    truth = rng.choice([0, 1, 2, 3, 255], (12, 16)).astype(np.uint8)
    maps = (rng.integers(0, 257, (2, 12, 16)) / 256).astype(np.float16)
    sweep = ThresholdSweep(3)
    sweep.update(truth, maps, [3, 1])
    direct = Confusion(3)
    direct.update(truth, pseudo_mask(IMAGE, maps, [3, 1], step / 256, None))
    assert np.array_equal(sweep.confusion(step / 256).matrix, direct.matrix)


def test_nan_is_refused():
    maps = MAPS.copy()
    maps[1, 3, 3] = np.nan
    with pytest.raises(Ws3Error, match="NaN"):
        pseudo_mask(IMAGE, maps, [1, 2], 0.3, None)


def test_another_size_is_refused():
    with pytest.raises(Ws3Error, match=r"\(12, 15\).*\(12, 16\)"):
        pseudo_mask(IMAGE, MAPS[:, :, :15], [1, 2], 0.3, None)
