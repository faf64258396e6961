"""Windows and samples: inside the image, covering it, and the same however many there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws3.config.recipes import AdaptiveCount, Masking, Samples
from ws3.sampling.plan import WHOLE_IMAGE, SamplePlan
from ws3.sampling.seeds import stream
from ws3.sampling.views import paste_back, render_sample
from ws3.sampling.windows import WindowSequence, windows_to_cover

sizes = st.integers(1, 400)
sides = st.tuples(st.floats(0.1, 1.0), st.floats(0.1, 1.0)).map(lambda pair: tuple(sorted(pair)))
seeds = st.integers(0, 2**32 - 1)


@given(height=sizes, width=sizes, side=sides, seed=seeds, number=st.integers(0, 5000))
def test_a_window_lies_inside_the_image(height, width, side, seed, number):
    window = WindowSequence(height, width, side, seed, "r", "i")[number]
    assert 0 <= window.top <= window.top + window.height <= height
    assert 0 <= window.left <= window.left + window.width <= width
    assert window.height == window.width >= 1


@given(height=sizes, width=sizes, side=sides, seed=seeds, first=st.integers(0, 300))
def test_the_documented_count_covers_every_pixel(height, width, side, seed, first):
    count = windows_to_cover(height, width, side)
    windows = WindowSequence(height, width, side, seed, "r", "i")
    seen = np.zeros((height, width), bool)
    for number in range(first, first + min(count, 3000)):
        seen[windows[number].slices] = True
    assert seen.all() or count > 3000


@pytest.mark.parametrize(
    ("height", "width", "count"), [(100, 100, 9), (375, 500, 12), (90, 300, 27)]
)
def test_the_documented_examples_of_a_covering_count(height, width, count):
    assert windows_to_cover(height, width, (0.4, 0.95)) == count


@given(seed=seeds, image=st.text(min_size=1, max_size=8), number=st.integers(0, 500))
def test_a_sample_does_not_depend_on_how_many_there_are(seed, image, number):
    few, many = (
        SamplePlan(
            Samples(kind="crops", count=count),
            image=image,
            height=75,
            width=100,
            seed=seed,
            recipe="r",
            input_size=64,
        )
        for count in (1, 1000)
    )
    assert few.sample(number) == many.sample(number)


@given(
    height=st.integers(8, 120),
    width=st.integers(8, 120),
    side=st.tuples(st.floats(0.3, 1.0), st.floats(0.3, 1.0)).map(lambda pair: tuple(sorted(pair))),
    seed=seeds,
    most=st.integers(1, 200),
    tolerance=st.floats(0, 2),
    share=st.floats(0, 1),
)
def test_wherever_an_adaptive_count_stops_its_plan_is_that_of_the_smaller_number(
    height, width, side, seed, most, tolerance, share
):
    place = {"image": "i", "height": height, "width": width, "seed": seed, "recipe": "r"}
    count = AdaptiveCount(max=most, tolerance=tolerance)
    plan = SamplePlan(Samples(kind="crops", count=count, side=side), **place, input_size=64)
    stop = max(1, round(share * most))
    fewer = SamplePlan(Samples(kind="crops", count=stop, side=side), **place, input_size=64)
    assert plan.total == most
    assert [plan.sample(k) for k in range(stop)] == [fewer.sample(k) for k in range(stop)]
    assert [plan.place(k) for k in range(stop)] == [fewer.place(k) for k in range(stop)]
    if not fewer.needs_cover:
        seen = np.zeros((height, width), bool)
        for number in range(stop):
            seen[plan.sample(number).window.slices] = True
        assert seen.all()
    assert plan.needs_cover == (most < plan.covering)


def test_another_seed_recipe_or_image_gives_other_windows():
    def windows(seed=0, recipe="r", image="i"):
        sequence = WindowSequence(300, 400, (0.4, 0.9), seed, recipe, image)
        return [sequence[number] for number in range(20)]

    assert windows() == windows()
    assert windows() != windows(seed=1)
    assert windows() != windows(recipe="q")
    assert windows() != windows(image="j")


def test_window_sides_fill_their_range_evenly():
    sequence = WindowSequence(1000, 1000, (0.4, 0.9), 0, "r", "i")
    drawn = np.array([sequence[number].height for number in range(400)])
    counts, _ = np.histogram(drawn, bins=5, range=(400, 900))
    assert counts.min() > 70
    assert counts.max() < 90


def test_a_stream_is_named_by_all_its_arguments():
    draws = {
        stream(*arguments).integers(2**62)
        for arguments in (
            (0, "r", "i", 0, "noise"),
            (1, "r", "i", 0, "noise"),
            (0, "s", "i", 0, "noise"),
            (0, "r", "j", 0, "noise"),
            (0, "r", "i", 1, "noise"),
            (0, "r", "i", 0, "masking"),
            (0, "ri", "", 0, "noise"),
        )
    }
    assert len(draws) == 7


def test_too_few_crops_ask_for_a_whole_image_sample():
    def plan(count):
        return SamplePlan(
            Samples(kind="crops", count=count),
            image="i",
            height=100,
            width=100,
            seed=0,
            recipe="r",
            input_size=64,
        )

    assert plan(8).needs_cover
    assert not plan(9).needs_cover
    cover = plan(8).sample(WHOLE_IMAGE)
    assert (cover.window.height, cover.window.width) == (100, 100)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _plan(height, width, **samples):
    return SamplePlan(
        Samples(**samples),
        image="i",
        height=height,
        width=width,
        seed=3,
        recipe="r",
        input_size=64,
    )


def test_whole_images_beside_crops_have_their_sizes_and_mirror_images():
    plan = _plan(300, 400, kind="crops", count=1, whole_image=[0.5, 1.0])
    assert not plan.needs_cover
    samples = [plan.sample(number) for number in plan.cover]
    assert [sample.number for sample in samples] == [-1, -2, -3, -4]
    assert all(sample.window == plan.whole for sample in samples)
    # The area of 32 x 32 and of 64 x 64 in the proportion 3 : 4, in steps of 32.
    assert [(s.height, s.width) for s in samples] == [(32, 32)] * 2 + [(64, 64)] * 2
    assert [sample.flip for sample in samples] == [False, True] * 2
    large = _plan(300, 400, kind="crops", count=1, whole_image=[4.0]).sample(-1)
    assert (large.height, large.width) == (224, 288)  # 221.7 x 295.6


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        ({"kind": "scales", "whole_image": [1.0]}, "whole_image is for kind crops"),
        ({"kind": "crops", "keep_samples": True, "whole_image": [1.0]}, "leave out whole_image"),
    ],
)
def test_whole_images_where_they_have_no_meaning_are_refused(samples, sentence):
    with pytest.raises(ValueError, match=sentence):
        Samples(**samples)


def test_scales_keep_the_aspect_and_mirror_every_second_sample():
    plan = _plan(100, 200, kind="scales", scales=[1.0, 2.0], flip=True)
    shapes = [(plan.sample(k).height, plan.sample(k).width, plan.sample(k).flip) for k in range(4)]
    assert plan.total == 4
    assert shapes == [(32, 96, False), (32, 96, True), (96, 192, False), (96, 192, True)]


@given(
    height=st.integers(2, 60),
    width=st.integers(2, 60),
    # Below the normal numbers a product with a weight loses digits, which no score would miss.
    value=st.floats(0, 10, width=32, allow_subnormal=False),
    number=st.integers(0, 40),
    kind=st.sampled_from(["full", "crops"]),
)
def test_a_constant_map_pastes_back_as_that_constant(height, width, value, number, kind):
    plan = _plan(height, width, kind=kind, flip=True)
    sample = plan.sample(number if kind == "crops" else number % 2)
    pasted = paste_back(np.full((16, 16), value, np.float32), sample)
    assert pasted.shape == (sample.window.height, sample.window.width)
    np.testing.assert_allclose(pasted, value, rtol=1e-6, atol=1e-37)


def test_mirroring_inverts_exactly():
    plan = _plan(64, 64, kind="full", flip=True)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    upright, mirrored = (render_sample(image, plan.sample(k), plan, MEAN, STD) for k in (0, 1))
    np.testing.assert_array_equal(mirrored, upright[:, :, ::-1])
    np.testing.assert_array_equal(paste_back(mirrored[0], plan.sample(1)), upright[0])


def test_a_view_is_the_normalised_window():
    plan = _plan(64, 64, kind="full")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = ((image / 255.0 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(
        render_sample(image, plan.sample(0), plan, MEAN, STD), expected, atol=1e-6
    )


def test_noise_has_the_asked_for_deviation_and_differs_between_samples():
    plan = _plan(64, 64, kind="noise", count=2, noise=0.2)
    grey = np.full((64, 64, 3), 128, np.uint8)
    first, second = (
        render_sample(grey, plan.sample(k), plan, (0, 0, 0), (1, 1, 1)) for k in (0, 1)
    )
    assert abs(first.std() - 0.2) < 0.005
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    again = render_sample(grey, plan.sample(0), plan, (0, 0, 0), (1, 1, 1))
    np.testing.assert_array_equal(first, again)


def test_noise_composes_with_crops():
    plan = _plan(80, 60, kind="crops", count=4, noise=0.1)
    sample = plan.sample(2)
    assert sample.noise == 0.1
    assert sample.window.height < 60


def test_masking_hides_patches_with_the_mean_colour():
    masking = Masking(patch=0.25, share=0.5)
    plan = _plan(64, 64, kind="masking", count=8, masking=masking)
    white = np.full((64, 64, 3), 255, np.uint8)
    seen = np.stack([render_sample(white, plan.sample(k), plan, MEAN, STD) for k in range(8)])
    hidden = (seen == 0).all(axis=1)
    patches = hidden.reshape(8, 4, 16, 4, 16)
    assert (patches.all(axis=(2, 4)) | ~patches.any(axis=(2, 4))).all()
    assert 0.3 < hidden.mean() < 0.7
