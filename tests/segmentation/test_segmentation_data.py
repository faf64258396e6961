from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ws3.classifier.model import IMAGENET_MEAN, IMAGENET_STD
from ws3.errors import Ws3Error
from ws3.masks.png import write_mask
from ws3.segmentation import data
from ws3.segmentation.data import EpochSampler, PseudoMaskDataset, augment, normalise


def _colours(crop: np.ndarray) -> np.ndarray:
    """Undo the normalisation: (3, H, W) to RGB in [0, 1], (H, W, 3)."""
    return crop.transpose(1, 2, 0) * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)


def _blob(height: int, width: int) -> np.ndarray:
    """An asymmetric two-class mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, : width // 3] = 1
    mask[height // 4 :, 2 * width // 3 :] = 1
    return mask


def test_normalise_by_hand() -> None:
    image = np.zeros((2, 3, 3), np.float32)
    image[1, 2] = (1.0, 0.5, 0.25)
    normal = normalise(image)
    assert normal.shape == (3, 2, 3)
    np.testing.assert_allclose(
        normal[:, 1, 2],
        [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225],
        rtol=1e-5,
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.integers(4, 60),
    width=st.integers(4, 60),
    crop_size=st.integers(8, 64),
    factor=st.floats(0.4, 2.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_mask_stays_aligned_with_its_image(
    monkeypatch: pytest.MonkeyPatch,
    height: int,
    width: int,
    crop_size: int,
    factor: float,
    seed: int,
) -> None:
    monkeypatch.setattr(data, "_JITTER", 0.0)
    mask = _blob(height, width)
    image = (mask[..., None] * 255).repeat(3, axis=2)
    rng = np.random.default_rng(seed)
    crop, labels = augment(image, mask, crop_size, (factor, factor), rng)
    assert crop.shape == (3, crop_size, crop_size) and labels.shape == (crop_size, crop_size)
    inside = labels != 255
    scaled = [max(1, round(side * factor)) for side in mask.shape]
    assert inside.sum() == min(scaled[0], crop_size) * min(scaled[1], crop_size)
    assert (crop[:, ~inside] == 0).all()
    brightness = _colours(crop)[..., 0]
    # Bilinear interpolation rounds corners off: between a quarter and three quarters either class
    # can be the nearest pixel's.
    certain = inside & (np.abs(brightness - 0.5) > 0.26)
    assert ((brightness > 0.5) == labels)[certain].all()


def test_full_crop_is_the_image_or_its_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_JITTER", 0.0)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    mask = image[..., 0] % 3
    outcomes = set()
    for seed in range(20):
        crop, labels = augment(image, mask, 32, (1.0, 1.0), np.random.default_rng(seed))
        mirrored = not np.array_equal(labels, mask)
        outcomes.add(mirrored)
        expected, expected_labels = (image, mask)
        if mirrored:
            expected, expected_labels = image[:, ::-1], mask[:, ::-1]
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_allclose(_colours(crop) * 255, expected, atol=1e-2)
    assert outcomes == {False, True}


@pytest.mark.parametrize("side", [6, 10])
def test_every_place_of_the_crop_is_drawn(side: int) -> None:
    image = np.zeros((side, side, 3), np.uint8)
    mask = np.arange(side, dtype=np.uint8)[:, None].repeat(side, axis=1)
    firsts = {
        augment(image, mask, 8, (1.0, 1.0), np.random.default_rng(seed))[1][:, 4].tobytes()
        for seed in range(40)
    }
    assert len(firsts) == 3  # 10 - 8 + 1 windows, or 8 - 6 + 1 places of the image


def test_jitter_is_light_and_within_range() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    changes = []
    for seed in range(20):
        crop, _ = augment(image, mask, 16, (1.0, 1.0), np.random.default_rng(seed))
        colours = _colours(crop)
        assert colours.min() > -1e-6 and colours.max() < 1 + 1e-6
        changes.append(colours.mean() / (image.mean() / 255))
    assert 0.75 < min(changes) < 0.95 and 1.05 < max(changes) < 1.25


def test_what_is_drawn_depends_on_seed_epoch_and_index_alone(
    draw_discs: Callable[..., list[tuple[Path, Path]]],
) -> None:
    pairs = draw_discs(3)
    first = PseudoMaskDataset(pairs, 2, 32, (0.5, 1.5), seed=1)
    second = PseudoMaskDataset(pairs, 2, 32, (0.5, 1.5), seed=1)
    keys = [(epoch, index) for epoch in range(2) for index in range(3)]
    forward = {key: first[key] for key in keys}
    backward = {key: second[key] for key in reversed(keys)}
    for key in keys:
        assert torch.equal(forward[key][0], backward[key][0])
        assert torch.equal(forward[key][1], backward[key][1])
    assert not torch.equal(forward[0, 0][0], forward[1, 0][0])
    other = PseudoMaskDataset(pairs, 2, 32, (0.5, 1.5), seed=2)
    assert not torch.equal(forward[0, 0][0], other[0, 0][0])


def test_a_repeated_image_is_cropped_otherwise(
    draw_discs: Callable[..., list[tuple[Path, Path]]],
) -> None:
    dataset = PseudoMaskDataset(draw_discs(1), 2, 32, (0.5, 1.5), seed=0)
    assert not torch.equal(dataset[0, 0][0], dataset[0, 1][0])


def test_loader_processes_change_nothing(
    draw_discs: Callable[..., list[tuple[Path, Path]]],
) -> None:
    dataset = PseudoMaskDataset(draw_discs(4), 2, 32, (0.5, 1.5), seed=0)
    batches = [
        list(DataLoader(dataset, 2, sampler=EpochSampler(4, 2, seed=0), num_workers=workers))
        for workers in (0, 2)
    ]
    assert len(batches[0]) == 2
    for (images, labels), (images_too, labels_too) in zip(*batches, strict=True):
        assert torch.equal(images, images_too) and torch.equal(labels, labels_too)


def test_mask_of_another_size_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    write_mask(tmp_path / "a_mask.png", np.zeros((20, 29), np.uint8), {})
    dataset = PseudoMaskDataset([(tmp_path / "a.png", tmp_path / "a_mask.png")], 2, 32, (1, 1), 0)
    with pytest.raises(Ws3Error, match=r"a_mask.png is 29 x 20 pixels.*a.png is 30 x 20"):
        dataset[0, 0]


def test_mask_of_an_unknown_class_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    mask = np.full((20, 30), 255, np.uint8)
    mask[3, 4] = 3
    write_mask(tmp_path / "a_mask.png", mask, {})
    pairs = [(tmp_path / "a.png", tmp_path / "a_mask.png")]
    with pytest.raises(Ws3Error, match=r"a_mask.png holds the value 3, but there are 2 classes"):
        PseudoMaskDataset(pairs, 2, 32, (1, 1), 0)[0, 0]
    assert PseudoMaskDataset(pairs, 3, 32, (1, 1), 0)[0, 0][1].max() == 255


@given(images=st.integers(1, 40), batch_size=st.integers(2, 9), epoch=st.integers(0, 5))
def test_sampler_fills_whole_batches_without_repeats(
    images: int, batch_size: int, epoch: int
) -> None:
    sampler = EpochSampler(images, batch_size, seed=3)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(keys) == len(sampler) > 0
    assert len(keys) % batch_size == 0
    assert len(set(keys)) == len(keys)
    assert {key[0] for key in keys} == {epoch}
    assert max(images, batch_size) - len(keys) < batch_size
    if images < batch_size:
        assert {index % images for _, index in keys} == set(range(images))


def test_sampler_shuffles_each_epoch_anew() -> None:
    sampler = EpochSampler(20, 4, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(20))
