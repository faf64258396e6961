"""Training on masks that say how sure they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ws3.config.segmentation import Segmentation
from ws3.errors import Ws3Error
from ws3.masks.png import read_mask, write_mask
from ws3.segmentation.data import MaskConfidence, PseudoMaskDataset
from ws3.segmentation.training import pixel_loss, train_network

Pairs = list[tuple[Path, Path]]
KEYS = [(epoch, index) for epoch in range(2) for index in range(4)]


def confident(pairs: Pairs, **settings: object) -> MaskConfidence:
    """Write a confidence that tells the label and the row: 100 x label + row."""
    files = []
    for _, mask_file in pairs:
        mask = read_mask(mask_file)
        path = mask_file.with_name(f"{mask_file.stem}_sure.png")
        write_mask(path, mask * 100 + np.arange(len(mask), dtype=np.uint8)[:, None], {})
        files.append(path)
    return MaskConfidence(tuple(files), **settings)  # type: ignore[arg-type]


def test_a_cut_is_a_mask_with_more_ignored_pixels(draw_discs: Callable[..., Pairs]) -> None:
    pairs = draw_discs(3)
    cut = PseudoMaskDataset(pairs, 2, 32, (0.5, 1.5), 1, confidence=confident(pairs, least=30))
    by_hand = []
    for image, mask_file in pairs:
        mask = read_mask(mask_file)
        mask[(mask == 0) & (np.arange(len(mask)) < 30)[:, None]] = 255
        path = mask_file.with_name(f"{mask_file.stem}_cut.png")
        write_mask(path, mask, {})
        by_hand.append((image, path))
    plain = PseudoMaskDataset(by_hand, 2, 32, (0.5, 1.5), 1)
    for key in KEYS:
        assert len(cut[key]) == 2
        for one, other in zip(cut[key], plain[key], strict=True):
            assert torch.equal(one, other)
    # The last one shows how much is ignored.
    assert (cut[0, 0][1] == 255).any()


def test_weights_move_with_the_labels_that_they_belong_to(
    draw_discs: Callable[..., Pairs],
) -> None:
    pairs = draw_discs(3)
    weighed = PseudoMaskDataset(
        pairs, 2, 32, (0.5, 1.5), 1, confidence=confident(pairs, weighs=True)
    )
    plain = PseudoMaskDataset(pairs, 2, 32, (0.5, 1.5), 1)
    for key in KEYS:
        image, labels, weights = weighed[key]
        assert torch.equal(image, plain[key][0])
        assert torch.equal(labels, plain[key][1])
        known = labels != 255
        values = weights * 256 - 0.5
        assert weights.dtype == torch.float32
        assert torch.equal((values // 100).long()[known], labels[known])
        rows = (values % 100)[:, known.any(dim=0)]
        assert (rows[known[:, known.any(dim=0)]] < 40).all()
        assert ((weights > 0) & (weights < 1)).all()


def test_a_confidence_of_another_size_is_refused(draw_discs: Callable[..., Pairs]) -> None:
    pairs = draw_discs(1)
    write_mask(pairs[0][0].with_name("small.png"), np.zeros((3, 4), np.uint8), {})
    confidence = MaskConfidence((pairs[0][0].with_name("small.png"),))
    with pytest.raises(Ws3Error, match="is 4 x 3 pixels, but its mask is 40 x 40"):
        PseudoMaskDataset(pairs, 2, 32, (1, 1), 0, confidence=confidence)[0, 0]


def test_weighted_loss_by_hand() -> None:
    # Two labelled pixels and an ignored one; cross-entropy is log(1 + e^-d) with d 2 and -1.
    logits = torch.tensor([[[[0.0, 0.0, 9.0]], [[2.0, -1.0, 0.0]]]])
    labels = torch.tensor([[[1, 1, 255]]])
    weights = torch.tensor([[[0.5, 0.25, 1.0]]])
    right, wrong = np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0))
    expected = (0.5 * right + 0.25 * wrong) / 0.75
    assert pixel_loss(logits, labels, weights).item() == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 2**16), weight=st.floats(0.01, 1))
def test_equal_weights_are_no_weights(seed: int, weight: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 4, generator=generator)
    labels = torch.randint(0, 4, (2, 4, 4), generator=generator)
    labels[labels == 3] = 255
    weighed = pixel_loss(logits, labels, torch.full((2, 4, 4), weight))
    torch.testing.assert_close(weighed, pixel_loss(logits, labels))


def test_a_batch_without_labels_costs_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = pixel_loss(logits, torch.full((2, 4, 4), 255), torch.rand(2, 4, 4) + 0.1)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_training_with_equal_weights_is_training_without(
    draw_discs: Callable[..., Pairs], tmp_path: Path
) -> None:
    pairs = draw_discs(4)
    config = Segmentation(
        architecture="lraspp_mobilenet_v2", epochs=1, batch_size=2, crop_size=32, learning_rate=0.01
    )
    path = tmp_path / "sure.png"
    write_mask(path, np.full((40, 40), 127, np.uint8), {})
    found = []
    for name, confidence in (
        ("without", None),
        ("equal", MaskConfidence((path,) * 4, weighs=True)),
        ("unequal", confident(pairs, weighs=True)),
    ):
        trained = train_network(
            pairs,
            2,
            config,
            0,
            tmp_path / name,
            "cpu",
            progress=False,
            workers=0,
            confidence=confidence,
        )
        found.append(trained.epochs[0].loss)
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[2] != pytest.approx(found[0], rel=1e-3)
