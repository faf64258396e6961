"""Checkpoints: what is written is read, what doesn't fit is said, nothing is executed."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from ws3.classifier import checkpoints, networks
from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier
from ws3.errors import Ws3Error

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    return checkpoints.new_classifier("mobilenet_v3_small", CLASSES, 64, None)


def _equal(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    mine, theirs = left.state_dict(), right.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(v, theirs[n]) for n, v in mine.items())


def test_a_saved_classifier_is_read_back(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "new" / "classifier.pt"
    checkpoints.save_classifier(path, classifier)
    read = checkpoints.load_classifier(path)
    for name in ("architecture", "classes", "input_size", "mean", "std"):
        assert getattr(read, name) == getattr(classifier, name)
    assert _equal(read.network, classifier.network)
    assert [p.name for p in path.parent.iterdir()] == ["classifier.pt"]
    content = torch.load(path, weights_only=True)
    assert set(content) == {
        "format",
        "architecture",
        "classes",
        "input_size",
        "mean",
        "std",
        "state_dict",
    }
    assert checkpoints.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert _equal(
        checkpoints.load_external(path, "ignored", CLASSES, 1).network, classifier.network
    )
    with pytest.raises(Ws3Error, match=r"trained for the classes cat, dog, owl.*dataset has ape"):
        checkpoints.load_external(path, "mobilenet_v3_small", ("ape",), 64)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module.", "module.model."])
def test_a_users_state_dict_is_adopted(
    classifier: Classifier, tmp_path: Path, prefix: str, wrapped: bool
) -> None:
    path = tmp_path / "mine.pth"
    state = {prefix + name: value for name, value in classifier.network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, path)
    adopted = checkpoints.load_external(path, "mobilenet_v3_small", CLASSES, 96)
    assert _equal(adopted.network, classifier.network)
    assert adopted.input_size == 96
    assert adopted.classes == CLASSES


def test_what_does_not_fit_is_named(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    state = classifier.network.state_dict()
    torch.save(state, path)
    with pytest.raises(Ws3Error, match=r"mine.pth doesn't fit ResNet: it has no conv1.weight \("):
        checkpoints.load_external(path, "resnet18", CLASSES, 64)
    with pytest.raises(
        Ws3Error,
        match=r"classifier.3.weight has shape \(3, 1024\), not \(2, 1024\) \(2 of \d+ tensors",
    ):
        checkpoints.load_external(path, "mobilenet_v3_small", ("cat", "dog"), 64)
    torch.save({**state, "extra": torch.ones(1)}, path)
    with pytest.raises(Ws3Error, match=r"extra has no place in the network \(1 of"):
        checkpoints.load_external(path, "mobilenet_v3_small", CLASSES, 64)
    with pytest.raises(Ws3Error, match="no classifier of ws3's but perhaps a state dict"):
        checkpoints.load_classifier(path)


class _Mine:
    """Touches a file when unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (self.path, 0o700)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_malicious_pickle_is_never_executed(tmp_path: Path, writer: str) -> None:
    trap, path = tmp_path / "trapped", tmp_path / "evil.pt"
    content = {"format": 1, "state_dict": {"a": _Mine(str(trap))}}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    for read in (
        checkpoints.load_classifier,
        lambda p: checkpoints.load_external(p, "resnet18", CLASSES, 64),
        lambda p: checkpoints.load_backbone(build_classifier("resnet18", CLASSES, 64), p),
    ):
        with pytest.raises(Ws3Error, match=r"evil.pt is damaged or holds Python objects"):
            read(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(_Mine(str(trap))))  # noqa: S301 - the trap does work
    assert trap.exists()


def test_damaged_and_foreign_files(classifier: Classifier, tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    checkpoints.save_classifier(whole, classifier)
    data = whole.read_bytes()
    path = tmp_path / "bad.pt"
    for content in (data[: len(data) // 2], data[:100], b"", b"\x89PNG not weights", b"hello\n"):
        path.write_bytes(content)
        with pytest.raises(Ws3Error, match=r"bad.pt is damaged"):
            checkpoints.load_classifier(path)
    with pytest.raises(Ws3Error, match=r"none.pt can't be read: No such file"):
        checkpoints.load_classifier(tmp_path / "none.pt")
    with pytest.raises(Ws3Error, match=r"none.pt can't be read"):
        checkpoints.sha256(tmp_path / "none.pt")
    with pytest.raises(Ws3Error, match=r"can't be read"):
        checkpoints.load_classifier(tmp_path)
    broken: tuple[tuple[Any, str], ...] = (
        ([torch.ones(1)], "no dict of named tensors"),
        ({"format": 4}, "format 4, but this ws3 reads formats 1 to 3; use the ws3 that wrote it"),
        ({"format": 1, "classes": ["a"]}, "incomplete classifier"),
        ({"epoch": 3}, "'epoch' is no tensor"),
    )
    for saved, message in broken:
        torch.save(saved, path)
        with pytest.raises(Ws3Error, match=message):
            checkpoints.load_external(path, "resnet18", CLASSES, 64)


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small", "vgg11"])
def test_a_torchvision_state_dict_starts_a_backbone(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = models.get_model(architecture, weights=None)
    path = tmp_path / "imagenet.pth"
    torch.save(theirs.state_dict(), path)
    started = checkpoints.new_classifier(architecture, CLASSES, 64, str(path)).network.eval()
    images = torch.randn(1, 3, 64, 64)
    features = networks.backbone(started)(images)
    reference = networks.backbone(theirs.eval())(images)
    assert torch.equal(features, reference)
    assert started(images).shape == (1, 3)
    if architecture == "mobilenet_v3_small":  # the hidden layer of the head fits, and is taken
        assert torch.equal(
            started.get_parameter("classifier.0.weight"),
            theirs.get_parameter("classifier.0.weight"),
        )
    with pytest.raises(Ws3Error, match="doesn't fit"):
        checkpoints.new_classifier("densenet121", CLASSES, 64, str(path))


def test_torchvisions_old_densenet_names_are_understood(tmp_path: Path) -> None:
    theirs = models.densenet121(weights=None).state_dict()
    old = {}
    for name, value in theirs.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if ".denselayer" in name:
                name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[name] = value
    assert old.keys() != theirs.keys()
    torch.save(old, tmp_path / "old.pth")
    network = checkpoints.new_classifier(
        "densenet121", CLASSES, 64, str(tmp_path / "old.pth")
    ).network
    state = network.state_dict()
    assert all(
        torch.equal(v, state[n]) for n, v in theirs.items() if not n.startswith("classifier")
    )


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(Ws3Error, match=r"resnet18 can't be downloaded \(no network\); give the"):
        checkpoints.new_classifier("resnet18", CLASSES, 64, "imagenet")


@pytest.mark.real_data
def test_the_real_mobilenet_is_a_backbone() -> None:
    root = os.environ.get("WS3_REAL_DATA")
    if not root:
        pytest.skip("WS3_REAL_DATA is unset: no real weights to load")
    path = Path(root) / "weights" / "mobilenet_v2_imagenet1k.pth"
    reference = models.mobilenet_v2(weights=None)
    reference.load_state_dict(torch.load(path, weights_only=True), strict=True)
    network = checkpoints.new_classifier("mobilenet_v2", CLASSES, 224, str(path)).network
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = reference.eval().features(images)
        assert torch.equal(networks.backbone(network.eval())(images), expected)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"std": [0.2, 0.0, 0.2]}, r"a std of 0\.0"),
        ({"std": [0.2, NAN, 0.2]}, "a std of nan"),
        ({"mean": [NAN, 0.0, 0.0]}, "a mean of nan"),
        ({"mean": [INF, 0.0, 0.0]}, "a mean of inf"),
        ({"input_size": 0}, "an input_size of 0, not from 32 to 4096"),
        ({"input_size": -32}, "an input_size of -32"),
        ({"input_size": 10**7}, "an input_size of 10000000"),
        ({"input_size": INF}, "incomplete classifier"),
        ({"format": torch.ones(2)}, "classifier format a tensor"),
        ({"state_dict": {5: torch.ones(1)}}, "names that are no texts"),
    ],
)
def test_numbers_that_no_classifier_has_are_refused(
    classifier: Classifier, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "classifier.pt"
    checkpoints.save_classifier(path, classifier)
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(Ws3Error, match=words) as error:
        checkpoints.load_classifier(path)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda t: t.clone().fill_(NAN), "holds NaN or infinite numbers"),
        (lambda t: t.clone().fill_(-INF), "holds NaN or infinite numbers"),
        (lambda t: t.to(torch.complex64), "is complex"),
        (lambda t: t.to_sparse(), "is sparse"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is quantised"),
        (lambda t: t.to(torch.int8), r"holds torch\.int8, not floating-point"),
        (lambda t: torch.empty_like(t, device="meta"), "."),
    ],
)
def test_weights_that_torch_would_take_over_changed_are_refused(
    classifier: Classifier, tmp_path: Path, make, words: str
) -> None:
    state = dict(classifier.network.state_dict())
    name = next(iter(state))
    state[name] = make(state[name])
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(Ws3Error, match=words) as error:
        checkpoints.load_external(path, classifier.name, classifier.classes, classifier.input_size)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
