"""Training on a toy dataset: it learns, repeats bit by bit, resumes, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ws3.classifier import checkpoints, training
from ws3.config.classifier import ClassifierConfig as Config
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error

CLASSES = ("disc", "stripes")
CPU = torch.device("cpu")


def _draw(folder: Path, number: int, labels: tuple[str, ...]) -> ImageRow:
    rng = np.random.default_rng(number)
    image = rng.integers(90, 160, (48, 64, 3), dtype=np.uint8)
    if "disc" in labels:
        centre = (int(rng.integers(12, 28)), int(rng.integers(16, 32)))
        cv2.circle(image, centre, 10, (230, 30, 30), -1)
    if "stripes" in labels:
        left = int(rng.integers(34, 44))
        image[8:40, left : left + 18 : 3] = (20, 20, 240)
    path = folder / f"toy_{number}.png"
    cv2.imwrite(str(path), image[:, :, ::-1])
    return ImageRow(path.stem, "train", labels, str(path), "", str(number), 64, 48)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ImageRow], list[ImageRow]]:
    folder = tmp_path_factory.mktemp("toy")
    kinds = [("disc",), ("stripes",), ("disc", "stripes"), ()]
    rows = [_draw(folder, n, kinds[n % 4]) for n in range(36)]
    return rows[:24], rows[24:]


def _config(**changes: object) -> Config:
    numbers: dict[str, object] = {
        "architecture": "resnet18",
        "input_size": 32,
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "backbone_rate": 1.0,
        "crop_area": (0.6, 1.0),
    }
    return Config(**{**numbers, **changes})


def _train(toy, folder: Path, config: Config, **more: Any) -> training.Trained:
    rows, val_rows = toy
    return training.train(
        rows, val_rows, CLASSES, config, seed=1, folder=folder, device=CPU, **more
    )


def _same(left: training.Trained, right: training.Trained) -> bool:
    mine, theirs = (t.classifier.network.state_dict() for t in (left, right))
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_it_trains_at_a_finer_output_stride(toy, tmp_path: Path) -> None:
    trained = _train(toy, tmp_path, _config(epochs=1, output_stride=16))
    assert trained.classifier.output_stride == 16
    assert trained.classifier.backbone(torch.zeros(1, 3, 64, 64)).shape[2:] == (4, 4)


@pytest.mark.slow
def test_it_learns_the_toy_classes(toy, tmp_path: Path) -> None:
    trained = _train(toy, tmp_path, _config(epochs=8))

    # Half of the images have each class, so chance is 0.5.
    assert trained.metrics["val_map"] is not None
    assert trained.metrics["val_map"] > 0.9
    first, last = (trained.epochs[number]["train_loss"] for number in (0, -1))
    assert first is not None
    assert last is not None
    assert last < first
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,val_map"
    assert len(lines) == 9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "metrics.csv"]


@pytest.mark.slow
def test_a_repeated_and_a_resumed_training_end_in_the_same_bits(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(architecture="mobilenet_v2", epochs=3)  # has dropout
    whole = _train(toy, tmp_path / "whole", config)
    again = _train(toy, tmp_path / "again", config, workers=1)
    assert _same(whole, again)
    assert whole.epochs == again.epochs

    step = training._Module.training_step

    def killed(module, batch, index):
        if module.current_epoch == 2:
            raise RuntimeError("killed")
        return step(module, batch, index)

    monkeypatch.setattr(training._Module, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        _train(toy, tmp_path / "killed", config)
    seen = []

    def counted(module, batch, index):
        seen.append(module.current_epoch)
        return step(module, batch, index)

    monkeypatch.setattr(training._Module, "training_step", counted)
    resumed = _train(toy, tmp_path / "killed", config)
    assert set(seen) == {2}
    assert _same(whole, resumed)
    assert whole.epochs == resumed.epochs


@pytest.mark.slow
def test_another_config_or_a_damaged_file_does_not_resume(toy, tmp_path: Path) -> None:
    fresh = _train(toy, tmp_path / "fresh", _config(epochs=1))
    _train(toy, tmp_path / "used", _config(epochs=1, weight_decay=0.5))
    assert _same(fresh, _train(toy, tmp_path / "used", _config(epochs=1)))
    last = tmp_path / "used" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    assert _same(fresh, _train(toy, tmp_path / "used", _config(epochs=1)))


def test_a_frozen_backbone_and_pretrained_statistics_stay(toy, tmp_path: Path) -> None:
    torch.manual_seed(5)
    weights = checkpoints.new_classifier("resnet18", CLASSES, 32, None).network
    path = tmp_path / "weights.pth"
    torch.save(weights.state_dict(), path)
    before = weights.state_dict()

    frozen = _train(
        toy, tmp_path / "frozen", _config(weights=str(path), backbone_rate=0, epochs=1)
    ).classifier.network.state_dict()
    changed = {n for n in before if not torch.equal(before[n], frozen[n])}
    assert changed == {"fc.weight", "fc.bias"}

    tuned = _train(
        toy, tmp_path / "tuned", _config(weights=str(path), epochs=1)
    ).classifier.network.state_dict()
    changed = {n for n in before if not torch.equal(before[n], tuned[n])}
    assert "layer1.0.conv1.weight" in changed
    assert not {n for n in changed if "running" in n or "num_batches" in n}


def test_an_infinite_loss_stops(toy, tmp_path: Path) -> None:
    weights = checkpoints.new_classifier("resnet18", CLASSES, 32, None).network
    with torch.no_grad():
        weights.conv1.weight.fill_(3e38)  # finite, but what it makes of an image is not
    path = tmp_path / "weights.pth"
    torch.save(weights.state_dict(), path)
    with pytest.raises(Ws3Error, match="loss became nan in epoch 1"):
        _train(toy, tmp_path / "run", _config(weights=str(path)))


def test_images_with_a_problem_are_left_out(toy, tmp_path: Path) -> None:
    bad = ImageRow("bad", "train", ("disc",), "nowhere.png", "", "", problem="truncated")
    with pytest.raises(Ws3Error, match="no usable training image"):
        training.train([bad], [], CLASSES, _config(), seed=0, folder=tmp_path / "none", device=CPU)
    trained = training.train(
        [bad, *toy[0][:8]],
        [],
        CLASSES,
        _config(epochs=1),
        seed=0,
        folder=tmp_path / "some",
        device=CPU,
    )
    assert trained.metrics["val_map"] is None
    assert not torch.are_deterministic_algorithms_enabled()


def test_mean_average_precision_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0], [1.0, 3.0, 0.0]])
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    # First class: hits at ranks 1 and 3, (1 + 2/3) / 2. Second: a hit at rank 3, 1/3. Third: none.
    expected = ((1 + 2 / 3) / 2 + 1 / 3) / 2
    assert training.mean_average_precision(logits, labels) == pytest.approx(expected)
    assert training.mean_average_precision(logits, labels * 0) is None


def test_results_do_not_depend_on_whether_images_are_cached(
    toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmentation = training._augmentation(32, _config())
    cached = training._Photographs(toy[0], CLASSES, 37, augmentation)
    monkeypatch.setattr(training, "_CACHE_BYTES", 0)
    fresh = training._Photographs(toy[0], CLASSES, 37, augmentation)
    assert len(cached.cache) == 24
    assert not fresh.cache
    first, labels = cached[3, 77]
    assert first.shape == (3, 32, 32)
    assert labels.tolist() == [0.0, 0.0]
    assert torch.equal(first, fresh[3, 77][0])
    assert not torch.equal(first, cached[3, 78][0])


@pytest.mark.parametrize(("images", "batch_size"), [(5, 4), (1, 4), (3, 1)])
def test_an_image_alone_in_a_small_batch_is_one_sentence(
    toy, tmp_path: Path, images: int, batch_size: int
) -> None:
    rows = toy[0][:images]
    with pytest.raises(Ws3Error, match=r"classifier\.batch_size: .* leave one image alone"):
        _train((rows, []), tmp_path / "a", _config(batch_size=batch_size))
    trained = _train((rows, []), tmp_path / "b", _config(epochs=1, batch_size=4, input_size=64))
    assert trained.metrics["train_loss"] is not None


def test_a_very_narrow_picture_is_measured_in_bounded_memory(tmp_path: Path) -> None:
    rows = [_draw(tmp_path, number, ("disc",)) for number in range(4)]
    path = tmp_path / "narrow.png"
    cv2.imwrite(str(path), np.full((3000, 1, 3), 90, np.uint8))
    narrow = ImageRow("narrow", "val", ("disc",), str(path), "", "n", 1, 3000)
    seen = training._Photographs([narrow], CLASSES, 224, None)
    assert seen.cache[0].shape == (8 * 224, 224, 3)
    trained = _train((rows, [narrow]), tmp_path / "run", _config(epochs=1))
    assert trained.metrics["val_loss"] is not None
