import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ws3.errors import Ws3Error
from ws3.segmentation.model import load_model, save_model
from ws3.segmentation.networks import build
from ws3.segmentation.prediction import predict
from ws3.tensors import read_tensors, write_tensors

CLASSES = ("cat", "dog")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "model.pt"
    save_model(path, build("lraspp_mobilenet_v2", 3, None), "lraspp_mobilenet_v2", CLASSES)
    return path


def test_round_trip(tmp_path: Path) -> None:
    network = build("lraspp_mobilenet_v3_large", 3, None)
    path = tmp_path / "model.pt"
    save_model(path, network, "lraspp_mobilenet_v3_large", CLASSES)
    state = torch.get_rng_state()
    model = load_model(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.architecture == "lraspp_mobilenet_v3_large"
    assert model.classes == CLASSES
    assert not model.network.training
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    np.testing.assert_array_equal(
        predict(model.network, image, (1.0,), True, "cpu"),
        predict(network, image, (1.0,), True, "cpu"),
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / "model.pt"
    trap = {"format": 1, "state_dict": Trap(sprung)}
    for write in (
        lambda: torch.save(trap, path),
        lambda: path.write_bytes(pickle.dumps(trap, protocol=2)),
    ):
        write()
        with pytest.raises(Ws3Error, match=r"model.pt is damaged or not a file of tensors alone"):
            load_model(path)
    assert not sprung.exists()


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 nor a zip"])
def test_foreign_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(Ws3Error, match=r"model.pt is damaged .* train the network again"):
        load_model(path)


def test_truncated_file(saved: Path) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Ws3Error, match=r"model.pt is damaged"):
        load_model(saved)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Ws3Error, match=r"model.pt can't be read \(No such file or directory\)"):
        load_model(tmp_path / "model.pt")


def test_a_tensor_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(torch.zeros(3), path)
    with pytest.raises(Ws3Error, match=r"model.pt holds a Tensor, not a dict"):
        load_model(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "its format is 2, not 1"),
        ("format", torch.ones(2), "its format is a tensor, not 1"),
        ("architecture", ["unet"], r"its architecture \['unet'\] is unknown"),
        ("mean", [torch.ones(2)] * 3, "normalised in another way"),
        ("architecture", "unet", "its architecture 'unet' is unknown"),
        ("classes", [], "no list of 1 to 254 class names"),
        ("classes", "ab", "no list of 1 to 254 class names"),
        ("classes", ["cat", 3], "no list of 1 to 254 class names"),
        ("classes", ["cat"], "weights that don't fit its lraspp_mobilenet_v2 with 1 classes"),
        ("architecture", "lraspp_mobilenet_v3_large", "weights that don't fit"),
        ("mean", [0.0, 0.0, 0.0], "normalised in another way"),
        ("state_dict", {"weight": 3}, "not made of tensors"),
    ],
)
def test_altered_content_is_refused(saved: Path, key: str, value: Any, message: str) -> None:
    content = read_tensors(saved, "")
    content[key] = value
    write_tensors(saved, content)
    with pytest.raises(Ws3Error, match=message):
        load_model(saved)


def test_model_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Ws3Error, match=r"model.pt: can't be written"):
        write_tensors(tmp_path / "file" / "model.pt", {"format": 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight * float("nan"), "holds NaN or infinite numbers"),
        (lambda weight: weight.to(torch.complex64), "is complex"),
        (lambda weight: weight.to_sparse(), "is sparse"),
        (lambda weight: weight.to("meta"), "has no values"),
        (lambda weight: weight.to(torch.int8), r"holds torch\.int8, not floating-point numbers"),
        (lambda weight: weight[:1], r"has shape \(1, 3, 3, 3\)"),
    ],
)
def test_weights_that_say_nothing_are_refused(saved: Path, change: Any, message: str) -> None:
    content = read_tensors(saved, "")
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] = change(content["state_dict"][name])
    write_tensors(saved, content)
    with pytest.raises(Ws3Error, match=message) as error:
        load_model(saved)
    assert name in str(error.value)
    assert "\n" not in str(error.value)
