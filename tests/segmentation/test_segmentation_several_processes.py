"""Training by two processes against training by one, on the same batches."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ws3.config.segmentation import Segmentation
from ws3.segmentation import training
from ws3.segmentation.data import EpochSampler
from ws3.segmentation.training import HISTORY, train_network


class Plain(nn.Module):
    """A network without batch statistics or dropout, which each process has to itself."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.classifier = nn.Conv2d(8, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.classifier(self.backbone(images))}


@pytest.mark.slow
@pytest.mark.parametrize("ema", [None, 0.9])
def test_two_processes_train_as_one_does(
    draw_discs: Callable[..., list[tuple[Path, Path]]],
    tmp_path: Path,
    monkeypatch,
    ema: float | None,
) -> None:
    monkeypatch.setattr(training, "build", lambda name, outputs, weights: Plain(outputs))
    # One image without any label: its process must not count as much as the other.
    pairs = draw_discs(7) + draw_discs(1, ignored=True, name="blank")
    config = Segmentation(
        architecture="lraspp_mobilenet_v2",
        epochs=3,
        batch_size=4,
        crop_size=32,
        learning_rate=0.1,
        ema=ema,
    )

    def trained(processes: int):
        folder = tmp_path / str(processes)
        return train_network(
            pairs, 2, config, 0, folder, "cpu", progress=False, processes=processes
        )

    one, two = trained(1), trained(2)
    assert len(two.epochs) == 3
    for alone, together in zip(one.epochs, two.epochs, strict=True):
        assert together.loss == pytest.approx(alone.loss, rel=1e-4)
        assert together.pixel_accuracy == pytest.approx(alone.pixel_accuracy, abs=1e-3)
        assert together.learning_rate == alone.learning_rate
    for value, other in zip(one.network.parameters(), two.network.parameters(), strict=True):
        torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-5)
    with (tmp_path / "2" / HISTORY).open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [
            epoch.loss for epoch in two.epochs
        ]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_every_batch(monkeypatch, processes: int) -> None:
    def drawn(rank: int, processes: int) -> list[list[tuple[int, int]]]:
        monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
        sampler = EpochSampler(20, 6, seed=3, processes=processes)
        items = list(sampler)
        assert len(items) == len(sampler)
        share = 6 // processes
        return [items[start : start + share] for start in range(0, len(items), share)]

    whole = drawn(0, 1)
    shares = [drawn(rank, processes) for rank in range(processes)]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == whole
