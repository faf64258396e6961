"""Regions: segments of an image, and how they vote on its mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ws3.config.dataset import Synthetic
from ws3.config.regions import FelzenszwalbRegions, SlicRegions
from ws3.datasets.synthetic.drawing import draw
from ws3.datasets.synthetic.scene import describe
from ws3.errors import Ws3Error
from ws3.masks.crf import PRESETS
from ws3.masks.pseudo import Voters, mask_and_confidence, pseudo_mask
from ws3.masks.regions import agreement, image_segments, merged, numbered, vote
from ws3.metrics.boundary import BoundaryIou
from ws3.pixels import resize


@given(st.integers(0, 2**32 - 1), st.sampled_from(["mean", "share"]))
def test_a_vote_is_that_of_a_loop_over_segments(seed, kind):
    rng = np.random.default_rng(seed)
    labels, height, width = rng.integers(1, 4), *rng.integers(1, 9, 2)
    scores = rng.integers(0, 5, (labels, height, width)).astype(np.float32) / np.float32(4)
    segments = rng.integers(0, 4, (height, width)).astype(np.uint16)
    wanted = scores.astype(np.float64)
    for segment in set(segments[segments > 0].tolist()):
        inside = segments == segment
        for label in range(labels):
            own = scores[label] if kind == "mean" else scores.argmax(axis=0) == label
            wanted[label, inside] = own[inside].mean()
    voted = vote(scores, segments, kind)
    assert voted.dtype == np.float32
    assert np.allclose(voted, wanted, atol=1e-6)
    assert voted.min() >= 0
    assert voted.max() <= 1


@given(st.integers(0, 2**32 - 1))
def test_segments_are_numbered_without_gaps_and_none_stays_none(seed):
    labels = np.random.default_rng(seed).integers(-3, 4, (5, 6))
    found = numbered(labels, outside=0)
    assert set(np.unique(found)) - {0} == set(range(1, len(set(labels[labels != 0])) + 1))
    assert np.array_equal(found == 0, labels == 0)
    for value in np.unique(labels):
        assert len(np.unique(found[labels == value])) == 1


def test_too_many_segments_are_refused():
    with pytest.raises(Ws3Error, match="it has 65536 segments, and at most 65534 are taken"):
        numbered(np.arange(2**16).reshape(256, 256))


def test_where_regions_vote():
    image = np.zeros((1, 4, 3), np.uint8)
    maps = np.array([[[0.9, 0.9, 0.1, 0.3]]], np.float32)
    segments = np.array([[1, 1, 1, 0]], np.uint16)

    def mask(background, crf=None, **how):
        return pseudo_mask(
            image, maps, [7], background, crf, regions=Voters(segments, **how)
        ).tolist()

    # The mean of 0.9, 0.9 and 0.1 is 0.63, and two of three pixels are of the class at 0.7.
    assert mask(0.7, place="instead") == [[0, 0, 0, 0]]
    assert mask(0.6, place="instead") == [[7, 7, 7, 0]]
    assert mask(0.7, place="instead", vote="share") == [[7, 7, 7, 0]]
    assert mask(0.3, place="instead") == [[7, 7, 7, 7]]
    assert mask(0.6, place="after_crf") == mask(0.6, place="before_crf") == [[7, 7, 7, 0]]
    assert mask(0.6, crf=PRESETS["irn"], place="instead") == [[7, 7, 7, 0]]


@pytest.mark.parametrize("place", ["after_crf", "before_crf", "instead"])
def test_pixels_of_a_segment_have_one_label(place):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 32, 3), np.uint8)
    maps = rng.random((2, 24, 32), np.float32)
    segments = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((8, 8), int)).astype(np.uint16)
    mask = pseudo_mask(
        image, maps, [1, 2], 0.5, PRESETS["irn"], regions=Voters(segments, place=place)
    )
    whole = all(len(np.unique(mask[segments == one])) == 1 for one in range(1, 13))
    assert whole or place == "before_crf"


@given(st.integers(0, 2**32 - 1))
def test_a_merge_is_that_of_a_loop_over_labels_and_segments(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 12, 2)
    labels = rng.integers(0, 4, (height, width)).astype(np.uint8)
    segments = rng.integers(0, 5, (height, width)).astype(np.uint16)
    wanted = np.where(segments == 0, labels, 0)
    taken = set()
    for label in (1, 2, 3):
        for segment in (1, 2, 3, 4):
            inside = segments == segment
            both = int((inside & (labels == label)).sum())
            if segment in taken or not both:
                continue
            if 2 * both > inside.sum() or both >= 0.85 * (labels == label).sum():
                wanted[inside] = label
                taken.add(segment)
    found = merged(labels, segments)
    assert found.dtype == np.uint8
    assert np.array_equal(found, wanted)


def test_masks_are_merged_after_the_crf_or_without_it():
    image = np.zeros((1, 6, 3), np.uint8)
    maps = np.array([[[0.9, 0.9, 0.1, 0.9, 0.1, 0.1]]], np.float32)
    segments = np.array([[1, 1, 1, 2, 2, 2]], np.uint16)
    for place, crf in (("instead", PRESETS["irn"]), ("after_crf", None)):
        regions = Voters(segments, "merge", place)
        mask, confidence = mask_and_confidence(image, maps, [7], 0.3, crf, regions=regions)
        assert mask.tolist() == [[7, 7, 7, 0, 0, 0]]
        # Of what was cut, not of what the segment says.
        assert confidence[0, :3] == pytest.approx([0.75, 0.75, 0.25])
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 32, 3), np.uint8)
    maps = rng.random((2, 24, 32), np.float32)
    cells = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((8, 8), int)).astype(np.uint16)
    crf = PRESETS["irn"]
    plain = pseudo_mask(image, maps, [1, 2], 0.5, crf)
    mask = pseudo_mask(image, maps, [1, 2], 0.5, crf, regions=Voters(cells, "merge", "after_crf"))
    assert np.array_equal(mask, merged(plain, cells))


def test_a_merge_is_never_before_the_crf():
    assert SlicRegions(kind="slic", vote="merge").place == "after_crf"
    with pytest.raises(ValueError, match="a merge is of masks, so never before_crf"):
        SlicRegions(kind="slic", vote="merge", place="before_crf")


def test_true_segments_give_true_outlines_to_rough_maps():
    boundary, rough = BoundaryIou(8), BoundaryIou(8)
    config = Synthetic(kind="synthetic", classes=8)
    for number in range(12):
        image, truth, _ = draw(describe(config, "train", number), 128)
        values = [int(value) for value in np.unique(truth) if 0 < value < 255]
        # As coarse as a network's last features, and noisy.
        rng = np.random.default_rng(number)
        objects = [(truth == value).astype(np.float32) for value in values]
        coarse = [resize(one, 16, 16) * rng.uniform(0.5, 1, (16, 16)) for one in objects]
        maps = np.stack([resize(one.astype(np.float32), 128, 128) for one in coarse])
        segments = numbered(truth.astype(int))
        crf = PRESETS["irn"]
        regions = Voters(segments, place="instead")
        boundary.update(truth, pseudo_mask(image, maps, values, 0.3, crf, regions=regions))
        rough.update(truth, pseudo_mask(image, maps, values, 0.3, crf))
    assert boundary.mean() > 0.95
    assert rough.mean() < 0.9


@pytest.mark.parametrize(
    "settings",
    [
        SlicRegions(kind="slic", number=60),
        FelzenszwalbRegions(kind="felzenszwalb", scale=50, min_size=20),
    ],
)
def test_superpixels_divide_an_image_along_its_edges(settings):
    pytest.importorskip("skimage", reason="scikit-image isn't installed")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 20, (60, 80, 3), np.uint8)
    image[20:40, 30:60] += 200
    segments = image_segments(image, settings)
    assert segments.dtype == np.uint16
    assert set(np.unique(segments)) == set(range(1, segments.max() + 1))
    inside = np.zeros((60, 80), bool)
    inside[20:40, 30:60] = True
    assert not set(np.unique(segments[inside])) & set(np.unique(segments[~inside]))
    assert np.array_equal(segments, image_segments(image, settings))


def test_without_scikit_image_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(Ws3Error, match=r"pip install 'ws3-seg\[regions\]'"):
        image_segments(np.zeros((4, 4, 3), np.uint8), SlicRegions(kind="slic"))


@given(
    labels=hnp.arrays(np.uint8, (6, 8), elements=st.integers(0, 3)),
    segments=hnp.arrays(np.uint16, (6, 8), elements=st.integers(1, 5)),
)
def test_agreement_equals_its_words_and_names_of_labels_and_segments_do_not_matter(
    labels, segments
):
    def shared(mask):
        inside = [mask[segments == number] for number in np.unique(segments)]
        return sum(np.unique(own, return_counts=True)[1].max() for own in inside) / mask.size

    shifted = np.concatenate([labels[3:], labels[:3]])
    shifted = np.concatenate([shifted[:, 4:], shifted[:, :4]], axis=1)
    found = agreement(labels, segments)
    assert found == pytest.approx(shared(labels) - shared(shifted))
    assert agreement(3 - labels, 6 - segments) == pytest.approx(found)
    assert agreement(np.full_like(labels, 2), segments) == 0


def test_a_mask_that_follows_the_segments_agrees_more_than_one_beside_them():
    widths = [7, 5, 11, 6, 11]
    segments = np.repeat(np.arange(1, 6, dtype=np.uint16), widths)[None].repeat(10, axis=0)
    follows = np.isin(segments, [2, 3]).astype(np.uint8)
    beside = np.roll(follows, 3, axis=1)
    of_chance = (np.arange(400).reshape(10, 40) * 7919 % 11 > 6).astype(np.uint8)
    assert agreement(follows, segments) > 0.1
    assert agreement(beside, segments) < agreement(follows, segments) - 0.1
    assert abs(agreement(of_chance, segments)) < 0.05
