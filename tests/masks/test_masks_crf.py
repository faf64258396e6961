import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydensecrf.densecrf import DenseCRF2D
from pydensecrf.utils import unary_from_labels, unary_from_softmax

from ws3.config.masks import CrfParameters
from ws3.errors import Ws3Error
from ws3.masks.background import add_background, hard_labels
from ws3.masks.crf import PRESETS, DenseCrf, normalise, parameters, reduced_size


def picture(seed=0, height=30, width=44):
    """A red ellipse on green, with noise; and rough, offset score maps of two classes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = ((y - height / 2) / (height / 3)) ** 2 + ((x - width / 2) / (width / 4)) ** 2 < 1
    image = np.where(inside[..., None], (200, 40, 40), (40, 160, 60))
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    distance = ((y - height / 2 + 3) / (height / 2)) ** 2 + ((x - width / 2 - 4) / (width / 3)) ** 2
    maps = np.stack([np.exp(-2 * distance), 0.3 * rng.random((height, width))])
    return image, inside, maps.astype(np.float32)


def plainly(image, scores, numbers):
    """Pydensecrf as its README calls it, without ws3."""
    labels, height, width = scores.shape
    crf = DenseCRF2D(width, height, labels)
    if numbers.unary == "softmax":
        crf.setUnaryEnergy(unary_from_softmax(scores / scores.sum(axis=0)))
    else:
        hard = np.where(scores[1:].max(axis=0) >= scores[0], scores[1:].argmax(axis=0) + 1, 0)
        crf.setUnaryEnergy(unary_from_labels(hard, labels, numbers.gt_prob, zero_unsure=False))
    crf.addPairwiseGaussian(sxy=numbers.gaussian_sxy, compat=numbers.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=numbers.bilateral_sxy,
        srgb=numbers.bilateral_srgb,
        rgbim=image,
        compat=numbers.bilateral_compat,
    )
    return np.array(crf.inference(numbers.iterations)).reshape(scores.shape)


@pytest.mark.parametrize("preset", ["deeplab", "psa", "irn"])
def test_equals_pydensecrf_called_plainly(preset):
    image, _, maps = picture()
    scores = add_background(maps, 0.3)
    result = DenseCrf(image, 3, PRESETS[preset]).refine(scores)
    assert result.dtype == np.float32
    assert np.array_equal(result, plainly(image, scores, PRESETS[preset]))
    assert np.allclose(result.sum(axis=0), 1, atol=1e-5)


def test_a_new_unary_on_the_same_lattice_equals_a_fresh_crf():
    image, _, maps = picture()
    crf = DenseCrf(image, 3, PRESETS["irn"])
    for threshold in (0.1, 0.3, 0.6, 0.1):
        scores = add_background(maps, threshold)
        fresh = DenseCrf(image, 3, PRESETS["irn"]).refine(scores)
        assert np.array_equal(crf.refine(scores), fresh)


def test_a_result_survives_the_next_call():
    image, _, maps = picture()
    crf = DenseCrf(image, 3, PRESETS["irn"])
    first = crf.refine(add_background(maps, 0.1))
    kept = first.copy()
    crf.refine(add_background(maps, 0.9))
    assert np.array_equal(first, kept)


def test_the_crf_moves_labels_to_the_colour_edge():
    image, inside, maps = picture()
    scores = add_background(maps[:1], 0.4)
    before = np.mean((hard_labels(scores) == 1) == inside)
    refined = DenseCrf(image, 2, PRESETS["irn"]).refine(scores).argmax(axis=0)
    assert before < 0.9
    assert np.mean((refined == 1) == inside) > 0.99


def test_the_image_is_neither_changed_nor_required_to_be_contiguous():
    image, _, maps = picture()
    scores = add_background(maps, 0.3)
    view = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    kept = view.copy()
    result = DenseCrf(view, 3, PRESETS["irn"]).refine(scores)
    assert np.array_equal(view, kept)
    assert np.array_equal(result, DenseCrf(image, 3, PRESETS["irn"]).refine(scores))


def test_background_alone_needs_no_crf():
    image, _, _ = picture()
    scores = add_background(np.zeros((0, *image.shape[:2]), np.float32), 0.3)
    assert (DenseCrf(image, 1, PRESETS["irn"]).refine(scores) == 1).all()


def test_one_pixel():
    scores = np.array([[[0.2]], [[0.8]]], np.float32)
    result = DenseCrf(np.zeros((1, 1, 3), np.uint8), 2, PRESETS["psa"]).refine(scores)
    assert result.shape == (2, 1, 1)
    assert result.argmax(axis=0) == 1


def test_zero_scores_are_undecided():
    scores = np.array([[[0, 0.2]], [[0, 0.6]]], np.float32)
    assert normalise(scores)[:, 0, 0].tolist() == [0.5, 0.5]
    assert normalise(scores)[:, 0, 1] == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image, scores: (image.astype(np.float32), 2, scores), "uint8"),
        (lambda image, scores: (image[..., 0], 2, scores), "uint8"),
        (lambda image, scores: (image, 0, scores), "label"),
        (lambda image, scores: (image, 3, scores), "shape"),
        (lambda image, scores: (image, 2, scores[:, 1:]), "shape"),
        (lambda image, scores: (image, 2, scores * np.float32(np.nan)), "NaN"),
    ],
)
def test_bad_input_is_refused(change, words):
    image, _, maps = picture()
    image, labels, scores = change(image, add_background(maps[:1], 0.3))
    with pytest.raises(ValueError, match=words):
        DenseCrf(image, labels, PRESETS["irn"]).refine(scores)


def test_presets_are_the_published_numbers():
    def numbers(name):
        preset = PRESETS[name]
        return (
            (preset.gaussian_sxy, preset.gaussian_compat),
            (preset.bilateral_sxy, preset.bilateral_srgb, preset.bilateral_compat),
            (preset.iterations, preset.unary),
        )

    assert numbers("deeplab") == ((1, 3), (67, 3, 4), (10, "softmax"))
    assert numbers("psa") == ((3, 3), (80, 13, 10), (10, "softmax"))
    assert numbers("irn") == ((3, 3), (50, 5, 10), (10, "labels"))
    assert PRESETS["irn"].gt_prob == 0.7


def test_parameters_by_name_or_number():
    own = CrfParameters(iterations=3)
    assert parameters(own) is own
    assert parameters("none") is None
    assert parameters("psa") is PRESETS["psa"]
    with pytest.raises(Ws3Error, match="deeplab, psa, irn, none"):
        parameters("dense")


@pytest.mark.parametrize("name", ["gaussian_sxy", "bilateral_sxy"])
def test_an_image_too_large_for_the_widths_never_reaches_the_library(monkeypatch, name):
    def fail(*arguments):
        raise AssertionError("pydensecrf was called")

    monkeypatch.setattr("pydensecrf.densecrf.DenseCRF2D", fail)
    numbers = CrfParameters(**{name: 0.5})
    with pytest.raises(
        Ws3Error, match=rf"crf\.{name}: 0\.5 is too small .* 5000 x 1 pixels"
    ) as error:
        DenseCrf(np.zeros((1, 5000, 3), np.uint8), 2, numbers)
    assert "\n" not in str(error.value)


# Large images ------------------------------------------------------------------------------------


def test_up_to_the_bound_the_bytes_are_those_of_no_bound():
    image, _, maps = picture()
    scores = add_background(maps, 0.3)
    numbers = [PRESETS["irn"].model_copy(update={"max_pixels": bound}) for bound in (1320, None)]
    bounded, unbounded = (DenseCrf(image, 3, one).refine(scores) for one in numbers)
    assert image.shape[0] * image.shape[1] == 1320
    assert np.array_equal(bounded, unbounded)
    assert np.array_equal(bounded, plainly(image, scores, PRESETS["irn"]))


def test_beyond_the_bound_it_is_the_crf_of_the_averaged_image_by_hand():
    """Exactly half the sides: each pixel that the CRF sees is the mean of four."""
    image, _, maps = picture(height=60, width=88)
    scores = add_background(maps, 0.3)
    numbers = PRESETS["psa"].model_copy(update={"max_pixels": 30 * 44})

    def halved(values):
        return values.reshape(*values.shape[:-2], 30, 2, 44, 2).mean(axis=(-3, -1))

    small = np.rint(halved(image.transpose(2, 0, 1).astype(float))).astype(np.uint8)
    reduced = plainly(
        np.ascontiguousarray(small.transpose(1, 2, 0)),
        halved(scores.astype(float)).astype(np.float32),
        numbers,
    )
    expected = np.stack([cv2.resize(one, (88, 60)) for one in reduced])
    found = DenseCrf(image, 3, numbers).refine(scores)
    assert found.shape == scores.shape
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)
    # A mean of exactly half may be rounded up or down.
    assert np.abs(found - expected).max() < 0.05
    assert np.mean(found.argmax(axis=0) == expected.argmax(axis=0)) > 0.999


@pytest.mark.parametrize("preset", ["irn", "deeplab"])
@pytest.mark.parametrize("factor", [0.9, 0.5, 0.3])
def test_the_mask_of_a_reduced_image_agrees_with_that_of_the_whole_one(preset, factor):
    image, inside, maps = picture(height=240, width=360)
    image = cv2.GaussianBlur(image, (0, 0), 1)
    scores = add_background(maps[:1], 0.4)
    bound = int(factor**2 * inside.size)
    numbers = PRESETS[preset].model_copy(update={"max_pixels": bound})
    whole = DenseCrf(image, 2, PRESETS[preset]).refine(scores).argmax(axis=0) == 1
    reduced = DenseCrf(image, 2, numbers).refine(scores).argmax(axis=0) == 1
    assert np.sum(whole & reduced) / np.sum(whole | reduced) > 0.95


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 10**7))
@example(1, 10_000, 100)
@example(10_000, 1, 1)
@example(1253, 1253, 1)  # 1253 x sqrt(1 / 1253 ** 2) is less than 1
def test_a_reduced_size_keeps_the_bound_and_the_aspect(height, width, bound):
    found = reduced_size(height, width, bound)
    if height * width <= bound:
        assert found == (height, width)
        return
    assert 1 <= found[0] <= height and 1 <= found[1] <= width
    assert found[0] * found[1] <= bound
    factor = (bound / (height * width)) ** 0.5
    if min(height, width) * factor >= 1:
        assert found[0] > height * factor - 1.001 and found[1] > width * factor - 1.001


def test_without_a_bound_no_image_is_reduced():
    assert reduced_size(20_000, 30_000, None) == (20_000, 30_000)


@pytest.mark.parametrize("max_pixels", [None, 400])
def test_steps_are_inferences_of_as_many_iterations(max_pixels):
    image, _, maps = picture()
    scores = add_background(maps, 0.3)
    numbers = PRESETS["irn"].model_copy(update={"max_pixels": max_pixels})
    psa = PRESETS["psa"]
    crf = DenseCrf(image, 3, numbers)
    for unary in (numbers, psa):
        found = list(crf.steps(scores, [1, 2, 5], unary))
        for count, probabilities in zip([1, 2, 5], found, strict=True):
            of_unary = {"unary": unary.unary, "gt_prob": unary.gt_prob, "iterations": count}
            alone = DenseCrf(image, 3, numbers.model_copy(update=of_unary)).refine(scores)
            assert np.array_equal(probabilities, alone)
    assert not np.array_equal(found[0], found[2])


def test_a_read_only_photograph_is_taken():
    image, _, maps = picture()
    scores = add_background(maps, 0.3)
    expected = DenseCrf(image, 3, PRESETS["irn"]).refine(scores)
    image.flags.writeable = False
    assert np.array_equal(DenseCrf(image, 3, PRESETS["irn"]).refine(scores), expected)
