import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from ws3.config.segmentation import Segmentation
from ws3.errors import Ws3Error
from ws3.segmentation.networks import build
from ws3.segmentation.training import (
    HISTORY,
    SegmentationTask,
    pixel_loss,
    train_network,
)
from ws3.training.checkpoint import CHECKPOINT

Pairs = list[tuple[Path, Path]]
DrawDiscs = Callable[..., Pairs]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _config(**changes: Any) -> Segmentation:
    plain: dict[str, Any] = {
        "architecture": "lraspp_mobilenet_v2",
        "epochs": 1,
        "batch_size": 2,
        "crop_size": 32,
        "scale_range": (0.75, 1.25),
    }
    return Segmentation(**{**plain, **changes})


def _train(pairs: Pairs, config: Segmentation, folder: Path, seed: int = 0, **more: Any) -> Any:
    return train_network(pairs, 2, config, seed, folder, "cpu", progress=False, **more)


def _assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    for (key, value), other in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), key


# ---- the loss


def test_loss_is_the_mean_over_labelled_pixels() -> None:
    logits = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, 5, 4), generator=torch.Generator().manual_seed(1))
    labels[0, :3] = 255
    minus_log = -logits.log_softmax(dim=1)
    by_hand = [
        minus_log[n, labels[n, y, x], y, x]
        for n in range(2)
        for y in range(5)
        for x in range(4)
        if labels[n, y, x] != 255
    ]
    torch.testing.assert_close(pixel_loss(logits, labels), torch.stack(by_hand).mean())


def test_ignored_pixels_have_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.ones(1, 4, 4, dtype=torch.int64)
    labels[:, :, 2:] = 255
    pixel_loss(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad[..., 2:] == 0).all()
    assert (logits.grad[..., :2] != 0).all()


def test_batch_without_labels_costs_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = pixel_loss(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


# ---- resuming


def _rows(history: Path) -> list[dict[str, str]]:
    with history.open(newline="") as file:
        return list(csv.DictReader(file))


class KilledError(Exception):
    pass


def _kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    whole = SegmentationTask.training_step

    def step_or_die(self: SegmentationTask, batch: Any, batch_idx: int) -> Tensor:
        if (self.current_epoch, batch_idx) == (epoch, step):
            raise KilledError
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", step_or_die)


@pytest.mark.parametrize("architecture", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v2"])
def test_resumed_training_ends_with_the_same_weights(
    architecture: str, draw_discs: DrawDiscs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = draw_discs(5)
    config = _config(architecture=architecture, epochs=3)
    whole = _train(pairs, config, tmp_path / "whole")
    for epoch, step in ((0, 1), (1, 1), (2, 0)):
        with monkeypatch.context() as patch:
            _kill_at(patch, epoch, step)
            with pytest.raises(KilledError):
                _train(pairs, config, tmp_path / "killed")
    resumed = _train(pairs, config, tmp_path / "killed")
    _assert_same_weights(whole.network, resumed.network)
    assert whole.epochs == resumed.epochs
    assert [epoch.epoch for epoch in resumed.epochs] == [1, 2, 3]
    logs = [(tmp_path / name / HISTORY).read_bytes() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


_TRAIN = """
import json, sys
from pathlib import Path
import torch
from ws3.config.segmentation import Segmentation
from ws3.segmentation.training import train_network

pairs, config, folder = json.loads(sys.argv[1])
torch.set_num_threads(1)
trained = train_network(pairs, 2, Segmentation(**config), 0, Path(folder), "cpu", progress=False)
torch.save(trained.network.state_dict(), Path(folder) / "trained.pt")
"""


@pytest.mark.slow
def test_killed_process_and_its_successor_end_with_the_same_weights(
    draw_discs: DrawDiscs, tmp_path: Path
) -> None:
    pairs = [[str(image), str(mask)] for image, mask in draw_discs(10)]
    config = _config(epochs=6, ema=0.9, accumulate=2).model_dump(mode="json")

    def start(folder: Path) -> subprocess.Popen[bytes]:
        folder.mkdir(exist_ok=True)
        arguments = json.dumps([pairs, config, str(folder)])
        return subprocess.Popen([sys.executable, "-c", _TRAIN, arguments])

    assert start(tmp_path / "whole").wait() == 0
    killed = tmp_path / "killed"
    for epoch in (1, 3):  # kill it somewhere behind this epoch's checkpoint
        process = start(killed)
        while not (killed / HISTORY).exists() or len(_rows(killed / HISTORY)) < epoch:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert len(_rows(killed / HISTORY)) < 6
    assert start(killed).wait() == 0
    states = [
        torch.load(folder / "trained.pt", weights_only=True)
        for folder in (tmp_path / "whole", killed)
    ]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert (killed / HISTORY).read_bytes() == (tmp_path / "whole" / HISTORY).read_bytes()


@pytest.mark.parametrize("changes", [{}, {"ema": 0.5}])
def test_finished_training_is_not_repeated(
    changes: dict[str, Any],
    draw_discs: DrawDiscs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = draw_discs(4)
    config = _config(epochs=2, **changes)
    first = _train(pairs, config, tmp_path / "out")
    _kill_at(monkeypatch, 0, 0)
    again = _train(pairs, config, tmp_path / "out")
    _assert_same_weights(first.network, again.network)
    assert first.epochs == again.epochs


def test_resuming_needs_no_weights_file(
    draw_discs: DrawDiscs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(mobilenet_v2(weights=None).state_dict(), weights)
    pairs = draw_discs(4)
    config = _config(epochs=2, weights=str(weights))
    with monkeypatch.context() as patch:
        _kill_at(patch, 1, 0)
        with pytest.raises(KilledError):
            _train(pairs, config, tmp_path / "out")
    weights.unlink()
    assert len(_train(pairs, config, tmp_path / "out").epochs) == 2


def test_checkpoint_of_another_training_is_not_used(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    pairs = draw_discs(4)
    first = _train(pairs, _config(), tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "reused")
    for other in (
        {"config": _config(learning_rate=0.02)},
        {"config": _config(), "seed": 1},
        {"config": _config(), "fingerprint": "other masks"},
    ):
        fresh = _train(pairs, folder=tmp_path / f"fresh{len(list(tmp_path.iterdir()))}", **other)
        reused = _train(pairs, folder=tmp_path / "reused", **other)
        _assert_same_weights(fresh.network, reused.network)
    # What only prediction reads doesn't count.
    same = _train(pairs, _config(test_scales=(0.5, 1.0), crf="irn"), tmp_path / "first")
    _assert_same_weights(first.network, same.network)


def test_damaged_checkpoint_is_named(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"half a checkpoi")
    with pytest.raises(Ws3Error, match=r"last.ckpt is damaged.*delete it"):
        _train(draw_discs(2), _config(), tmp_path)


# ---- what is learned


@pytest.mark.slow
def test_it_learns_discs(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    config = _config(epochs=15, batch_size=4, learning_rate=0.05)
    trained = _train(draw_discs(16), config, tmp_path)
    assert trained.epochs[-1].loss < 0.5 * trained.epochs[0].loss
    assert trained.epochs[-1].pixel_accuracy > 0.9


def test_learning_rate_follows_the_poly_schedule(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    config = _config(epochs=3, learning_rate=0.03)
    trained = _train(draw_discs(4), config, tmp_path)
    expected = [0.03 * (1 - epoch / 3) ** 0.9 for epoch in (1, 2, 3)]
    assert [epoch.learning_rate for epoch in trained.epochs] == pytest.approx(expected)
    rows = _rows(tmp_path / HISTORY)
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(expected)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def _note_weights(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Return a list that grows by the network's weights with every step of the optimizer."""
    steps: list[dict[str, Tensor]] = []
    whole = SegmentationTask.optimizer_step

    def step_and_note(self: SegmentationTask, *args: Any, **kwargs: Any) -> None:
        whole(self, *args, **kwargs)
        steps.append({key: value.clone() for key, value in self.network.state_dict().items()})

    monkeypatch.setattr(SegmentationTask, "optimizer_step", step_and_note)
    return steps


def test_moving_average_is_that_of_the_weights_after_each_step(
    draw_discs: DrawDiscs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _note_weights(monkeypatch)
    trained = _train(draw_discs(8), _config(ema=0.3), tmp_path).network.state_dict()
    assert len(steps) == 4
    for key, value in trained.items():
        if not value.is_floating_point():
            continue
        expected = steps[0][key].double()
        for number, step in enumerate(steps[1:], start=1):
            decay = min(0.3, (1 + number) / (10 + number))
            expected = decay * expected + (1 - decay) * step[key].double()
        torch.testing.assert_close(value.double(), expected, atol=1e-5, rtol=1e-5)
    key = "classifier.low_classifier.weight"
    assert not torch.allclose(trained[key], steps[-1][key])


def test_gradients_of_several_batches_are_averaged_into_one_step(
    draw_discs: DrawDiscs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[Tensor] = []
    whole = SegmentationTask.training_step

    def step_and_note(self: SegmentationTask, batch: Any, batch_idx: int) -> Tensor:
        loss = whole(self, batch, batch_idx)
        if self.current_epoch == 0:
            gradient = torch.autograd.grad(loss, self.get_parameter("weight"), retain_graph=True)[0]
            losses.append(gradient.clone())
        return loss

    monkeypatch.setattr(
        SegmentationTask,
        "weight",
        property(lambda self: self.network.get_submodule("classifier.low_classifier").weight),
        raising=False,
    )
    monkeypatch.setattr(SegmentationTask, "training_step", step_and_note)
    steps = _note_weights(monkeypatch)
    config = _config(accumulate=2, learning_rate=0.5, weight_decay=0)
    _train(draw_discs(8), config, tmp_path)
    assert len(losses) == 4
    assert len(steps) == 2
    key = "classifier.low_classifier.weight"
    rate = 0.5 * (1 - 1 / 2) ** 0.9  # of the second step
    velocity = 0.9 * (losses[0] + losses[1]) / 2 + (losses[2] + losses[3]) / 2
    torch.testing.assert_close(steps[0][key] - steps[1][key], rate * velocity, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("pretrained", "ratio"), [(False, 1), (True, 10)])
def test_new_head_on_a_pretrained_backbone_learns_faster(
    pretrained: bool, ratio: int, draw_discs: DrawDiscs, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(mobilenet_v2(weights=None).state_dict(), weights)
    config = _config(weights=str(weights) if pretrained else None, learning_rate=1e-3)
    _train(draw_discs(2), config, tmp_path)
    checkpoint = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    assert groups[1]["initial_lr"] == pytest.approx(ratio * groups[0]["initial_lr"])
    assert groups[0]["initial_lr"] == pytest.approx(1e-3)
    network = build("lraspp_mobilenet_v2", 3, None)
    trained = sum(len(group["params"]) for group in groups)
    assert trained == len(list(network.parameters()))


@pytest.mark.parametrize("pretrained", [False, True])
def test_statistics_of_a_pretrained_backbone_stay(
    pretrained: bool, draw_discs: DrawDiscs, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pth"
    given = mobilenet_v2(weights=None).state_dict()
    torch.save(given, weights)
    config = _config(weights=str(weights) if pretrained else None, learning_rate=1e-3)
    network = _train(draw_discs(2), config, tmp_path).network
    backbone = network.get_submodule("backbone").state_dict()
    kept = [
        torch.equal(value, given[f"features.{key}"])
        for key, value in backbone.items()
        if "running" in key
    ]
    assert all(kept) if pretrained else not any(kept)
    assert not torch.equal(backbone["0.0.weight"], given["features.0.0.weight"])
    assert not torch.equal(network.state_dict()["classifier.cbr.1.running_mean"], torch.zeros(128))


def test_steep_gradients_on_a_pretrained_backbone_are_clipped(
    draw_discs: DrawDiscs, tmp_path: Path
) -> None:
    given = mobilenet_v2(weights=None).state_dict()
    given["features.6.conv.3.weight"] *= 1000  # no activation bounds what this scales
    torch.save(given, tmp_path / "weights.pth")
    config = _config(weights=str(tmp_path / "weights.pth"), learning_rate=1e-3, weight_decay=0)
    trained = dict(_train(draw_discs(2), config, tmp_path).network.named_parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = build("lraspp_mobilenet_v2", 3, config.weights)
    gradients = [
        (parameter.detach() - trained[name].detach()).double().norm()
        / (1e-3 if name.startswith("backbone") else 1e-2)
        for name, parameter in start.named_parameters()
    ]
    assert torch.stack(gradients).norm().item() == pytest.approx(1, rel=0.01)


def test_one_image_is_enough(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    trained = _train(draw_discs(1), _config(batch_size=3), tmp_path)
    assert not trained.network.training
    assert len(trained.epochs) == 1


def test_deeplab_takes_a_remainder_of_one(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    config = _config(architecture="deeplabv3_mobilenet_v2")
    assert len(_train(draw_discs(3), config, tmp_path).epochs) == 1


def test_a_batch_without_labels_does_no_harm(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    pairs = draw_discs(2) + draw_discs(6, ignored=True, name="blank")
    trained = _train(pairs, _config(), tmp_path)
    assert 0 < trained.epochs[0].loss < 10
    assert all(value.isfinite().all() for value in trained.network.state_dict().values())
    assert all(value.is_contiguous() for value in trained.network.state_dict().values())


# ---- what goes wrong


def test_divergence_stops_with_advice(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    config = _config(epochs=2).model_copy(update={"learning_rate": 1e30})  # beyond its bound
    with pytest.raises(
        Ws3Error, match=r"diverged in epoch 1 at step 2.*learning_rate \(now 1e\+30"
    ):
        _train(draw_discs(4), config, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_divergence_in_the_last_step_is_not_kept(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    config = _config().model_copy(update={"learning_rate": 3e38, "weight_decay": 1e10})
    with pytest.raises(Ws3Error, match="diverged in epoch 1 at the last step"):
        _train(draw_discs(2), config, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_masks_without_labels_are_reported(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    with pytest.raises(Ws3Error, match="no pixel of training epoch 1 has a label"):
        _train(draw_discs(2, ignored=True), _config(), tmp_path)


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(Ws3Error, match="no pseudo-mask to train on"):
        _train([], _config(), tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_mask_reaches_the_user_as_one_sentence(
    workers: int, draw_discs: DrawDiscs, tmp_path: Path
) -> None:
    pairs = draw_discs(2)
    with pytest.raises(Ws3Error) as raised:
        train_network(pairs, 1, _config(), 0, tmp_path, "cpu", progress=False, workers=workers)
    assert str(raised.value) == (
        f"{pairs[1][1]} holds the value 2, but there are 1 classes; make the masks again"
    )


# ---- the isolated_torch_state


def test_callers_random_numbers_are_left_alone(draw_discs: DrawDiscs, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    first = _train(draw_discs(2), _config(), tmp_path / "first")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    second = _train(draw_discs(2), _config(), tmp_path / "second")
    _assert_same_weights(first.network, second.network)


def test_each_epoch_logs_a_line(
    draw_discs: DrawDiscs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ws3"):
        _train(draw_discs(2), _config(epochs=2), tmp_path)
    lines = [line for line in caplog.messages if line.startswith("epoch")]
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]


def test_progress_bar_is_shown_when_asked_for(
    draw_discs: DrawDiscs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_network(draw_discs(2), 2, _config(), 0, tmp_path / "bar", "cpu", progress=True)
    shown = capfd.readouterr()
    assert "Epoch 0" in shown.out + shown.err
    _train(draw_discs(2), _config(), tmp_path / "plain")
    shown = capfd.readouterr()
    assert "Epoch 0" not in shown.out + shown.err
