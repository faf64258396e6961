import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ws3.errors import Ws3Error
from ws3.segmentation.networks import build
from ws3.segmentation.prediction import predict


class RedIsClassOne(nn.Module):
    """Logits (0, red as normalised); remembers the sizes it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.sizes.append(tuple(images.shape))
        return {"out": torch.stack([torch.zeros_like(images[:, 0]), images[:, 0]], dim=1)}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("lraspp_mobilenet_v2", 4, None)


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (5, 130), (64, 64)])
def test_probabilities_at_the_images_size(network: nn.Module, size: tuple[int, int]) -> None:
    probabilities = predict(network, _noise(*size), (0.5, 1.0, 1.3), True, "cpu")
    assert probabilities.dtype == np.float32 and probabilities.shape == (4, *size)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("size", [(33, 47), (40, 64)])
def test_mirrored_image_gets_exactly_the_mirrored_result(
    network: nn.Module, size: tuple[int, int]
) -> None:
    image = _noise(*size)
    scales = (0.5, 1.0, 1.3)
    result = predict(network, image, scales, True, "cpu")
    mirrored = predict(network, image[:, ::-1], scales, True, "cpu")
    np.testing.assert_array_equal(mirrored, result[:, :, ::-1])
    unflipped = predict(network, image, scales, False, "cpu")
    assert not np.array_equal(unflipped, result)


def test_symmetric_image_gets_a_symmetric_result(network: nn.Module) -> None:
    half = _noise(32, 20)
    image = np.concatenate([half, half[:, ::-1]], axis=1)
    result = predict(network, image, (1.0, 0.75), True, "cpu")
    np.testing.assert_array_equal(result, result[:, :, ::-1])


def test_softmax_of_the_normalised_image_by_hand() -> None:
    image = _noise(6, 7)
    result = predict(RedIsClassOne(), image, (1.0,), True, "cpu")
    red = (image[..., 0] / 255 - 0.485) / 0.229
    np.testing.assert_allclose(result[1], 1 / (1 + np.exp(-red)), rtol=1e-5)


def test_scales_are_averaged() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 255
    network = RedIsClassOne()
    result = predict(network, image, (1.0, 0.5), False, "cpu")
    assert network.sizes == [(1, 3, 20, 30), (1, 3, 10, 15)]
    alone = [predict(network, image, (scale,), False, "cpu") for scale in (1.0, 0.5)]
    assert not np.array_equal(alone[0], alone[1])
    np.testing.assert_allclose(result, (alone[0] + alone[1]) / 2, rtol=1e-6)


def test_training_mode_is_left(network: nn.Module) -> None:
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    first = predict(network, _noise(32, 32), (1.0,), False, "cpu")
    second = predict(network, _noise(32, 32), (1.0,), False, "cpu")
    np.testing.assert_array_equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_broken_network_is_reported() -> None:
    network = build("lraspp_mobilenet_v2", 3, None)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(Ws3Error, match="not finite"):
        predict(network, _noise(16, 16), (1.0,), True, "cpu")


def test_no_scale_is_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="at least one scale"):
        predict(network, _noise(16, 16), (), True, "cpu")
