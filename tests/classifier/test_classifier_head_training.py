"""A last layer trained on kept features: like a frozen backbone, once per image, the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ws3.classifier import head_training
from ws3.classifier.checkpoints import new_classifier
from ws3.classifier.head_training import FEATURES, train_head
from ws3.classifier.training import Trained
from ws3.config.classifier import ClassifierConfig as Config
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.training.processes import isolated_torch_state

CLASSES = ("red", "blue")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ImageRow], list[ImageRow]]:
    folder = tmp_path_factory.mktemp("toy")
    kinds = [("red",), ("blue",), ("red", "blue"), ()]
    rows = []
    for number in range(90):
        labels, image = kinds[number % 4], np.full((40, 56, 3), 100 + number % 7, np.uint8)
        if "red" in labels:
            image[:, :20] = (230, 20, 20)
        if "blue" in labels:
            image[:, 30:50] = (20, 20, 230)
        path = folder / f"toy_{number}.png"
        cv2.imwrite(str(path), image[:, :, ::-1])
        rows.append(ImageRow(path.stem, "train", labels, str(path), "", str(number), 56, 40))
    return rows[:70], rows[70:]


def config(**changes: Any) -> Config:
    numbers = {"architecture": "resnet18", "input_size": 32, "epochs": 30, "batch_size": 8}
    return Config(**{**numbers, "train": "head", "learning_rate": 1e-2, **changes})


def trained(toy, folder: Path, **changes: Any) -> Trained:
    rows, val_rows = toy
    settings = config(**changes)
    return train_head(rows, val_rows, CLASSES, settings, seed=1, folder=folder, device=CPU)


def state(found: Trained) -> dict[str, torch.Tensor]:
    return found.classifier.network.state_dict()


def test_it_learns_and_leaves_the_backbone_alone(toy, tmp_path: Path) -> None:
    found = trained(toy, tmp_path)
    with isolated_torch_state(1, CPU):
        start = new_classifier("resnet18", CLASSES, 32, None).network.state_dict()
    changed = {name for name, value in state(found).items() if not torch.equal(value, start[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert found.metrics["val_map"] is not None
    assert found.metrics["val_map"] > 0.95
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 31


def _inputs(row: ImageRow) -> torch.Tensor:
    bgr = cv2.imread(row.path)
    assert bgr is not None
    resized = cv2.resize(bgr[:, :, ::-1].copy(), (45, 32), interpolation=cv2.INTER_AREA)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(resized) / 255 - mean) / std).permute(2, 0, 1)[None]


def test_the_features_are_what_the_last_layer_sees(toy, tmp_path: Path) -> None:
    found = trained(toy, tmp_path, epochs=1)
    (rows, _) = toy
    network: Any = found.classifier.network.eval()
    seen = []
    with network.fc.register_forward_pre_hook(lambda _, given: seen.append(given[0])):
        for inputs in (_inputs(rows[0]), _inputs(rows[0]).flip(3)):
            with torch.no_grad():
                network(inputs)
    kept = [
        torch.load(path, weights_only=True)["features"] for path in (tmp_path / FEATURES).iterdir()
    ]
    distances = [
        float((features[0] - torch.cat(seen)).abs().max()) for features in kept if len(features)
    ]
    assert min(distances) < 1e-3


@pytest.mark.slow
def test_it_repeats_bit_by_bit_and_computes_no_feature_twice(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(toy, tmp_path / "a")
    computed: list[str] = []
    real = head_training._of_image

    def counted(row, *more):
        computed.append(row.image)
        return real(row, *more)

    monkeypatch.setattr(head_training, "_of_image", counted)
    again = trained(toy, tmp_path / "a")
    slower = trained(toy, tmp_path / "a", learning_rate=1e-3)
    assert not computed
    assert all(torch.equal(value, state(again)[name]) for name, value in state(first).items())
    assert not torch.equal(state(slower)["fc.weight"], state(first)["fc.weight"])
    # Killed in the second chunk, and one file damaged: only these are computed again.
    one, *others = sorted((tmp_path / "a" / FEATURES).iterdir())
    one.write_bytes(one.read_bytes()[:-200])
    others[0].unlink()
    resumed = trained(toy, tmp_path / "a")
    assert 0 < len(computed) < 90
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(first).items())
    computed.clear()
    trained(toy, tmp_path / "a", input_size=40, epochs=1)
    assert len(computed) == 90


def test_a_transformer_learns_so_too(toy, tmp_path: Path) -> None:
    found = trained(toy, tmp_path, architecture="timm:test_vit", epochs=2)
    assert state(found)["head.weight"].shape == (2, 64)
    assert found.metrics["train_loss"] is not None


def test_a_network_without_a_last_linear_layer_is_refused(toy, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "convolved.py").write_text(
        "import ws3\nfrom torch import nn\n\ndef made(classes):\n"
        "    head = nn.Sequential(nn.Conv2d(4, len(classes), 1), nn.AdaptiveAvgPool2d(1), "
        "nn.Flatten())\n"
        "    return ws3.Classifier(nn.Conv2d(3, 4, 3), head, classes)\n"
    )
    with pytest.raises(Ws3Error, match="train: head needs a network that ends in a linear layer"):
        trained(toy, tmp_path, architecture="convolved:made")
