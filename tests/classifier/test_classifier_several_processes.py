"""Training by two processes against training by one, on the same batches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from ws3.classifier import checkpoints, training
from ws3.config.classifier import ClassifierConfig as Config
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error

CLASSES = ("left", "right")


class Dying(training._Module):
    """A training that one of two processes can't go on with, after the first epoch."""

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        if self.current_epoch == 1 and self.global_rank == self.order.processes - 1:
            raise Ws3Error("toy_7.png is nobody's image; draw it again")
        return super().training_step(batch, index)


def _draw(folder: Path, number: int) -> ImageRow:
    image = np.random.default_rng(number).integers(0, 120, (40, 40, 3), dtype=np.uint8)
    labels = [name for bit, name in enumerate(CLASSES) if number >> bit & 1]
    for name in labels:
        start = 4 if name == "left" else 24
        image[10:30, start : start + 12] += 130
    path = folder / f"toy_{number}.png"
    cv2.imwrite(str(path), image)
    return ImageRow(path.stem, "train", tuple(labels), str(path), "", str(number), 40, 40)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Images, and a config in which neither statistics nor dropout are learned or drawn."""
    folder = tmp_path_factory.mktemp("toy")
    rows = [_draw(folder, number) for number in range(24)]
    torch.manual_seed(5)
    weights = checkpoints.new_classifier("resnet18", CLASSES, 32, None).network
    torch.save(weights.state_dict(), folder / "weights.pth")
    config = Config(
        architecture="resnet18",
        weights=str(folder / "weights.pth"),
        input_size=32,
        epochs=2,
        batch_size=4,
        learning_rate=1e-3,
        backbone_rate=1.0,
    )
    # The last of 17 images is a batch of its own: one of two processes has nothing to learn in it.
    return {"rows": rows[:17], "val_rows": rows[17:], "config": config}


def _train(toy: dict[str, Any], folder: Path, processes: int) -> training.Trained:
    return training.train(
        **toy,
        classes=CLASSES,
        seed=1,
        folder=folder,
        device=torch.device("cpu"),
        processes=processes,
    )


@pytest.fixture(scope="module")
def alone(toy: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> training.Trained:
    return _train(toy, tmp_path_factory.mktemp("alone"), 1)


def _assert_alike(one: training.Trained, two: training.Trained) -> None:
    assert len(two.epochs) == len(one.epochs)
    for mine, theirs in zip(one.epochs, two.epochs, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-3)
    state = two.classifier.network.state_dict()
    for name, value in one.classifier.network.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_processes_train_as_one_does(
    toy: dict[str, Any],
    alone: training.Trained,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, logger="ws3")
    together = _train(toy, tmp_path, 2)
    _assert_alike(alone, together)
    assert not together.classifier.network.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "metrics.csv"]
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == "epoch,train_loss,val_loss,val_map"
    assert [float(line.split(",")[1]) for line in lines] == [
        epoch["train_loss"] for epoch in together.epochs
    ]
    # One of them says what one process alone would say.
    said = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["epoch 1 of 2", "epoch 2 of 2"]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_another_number_of_processes_goes_on_where_one_failed(
    first: int,
    then: int,
    toy: dict[str, Any],
    alone: training.Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "_Module", Dying)
        with pytest.raises(Ws3Error) as raised:
            _train(toy, tmp_path, first)
    assert str(raised.value) == "toy_7.png is nobody's image; draw it again"
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2
    begun = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert begun["epoch"] == 0
    resumed = _train(toy, tmp_path, then)
    assert resumed.epochs[0] == begun["ws3"]["epochs"][0]
    _assert_alike(alone, resumed)
