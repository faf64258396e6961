"""Sliding windows: pytorch-grad-cam's geometry, and its SESS as a recipe of ws3."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.sess import SESS, sliding_window
from scipy.stats import spearmanr
from torch import Tensor

import ws3
from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier
from ws3.config.load import resolve_recipe
from ws3.config.recipes import Samples
from ws3.pixels import IMAGENET_MEAN, IMAGENET_STD, channels_first, normalise, resize, to_unit
from ws3.sampling.plan import SamplePlan
from ws3.sampling.windows import Window, sliding_windows

lengths = st.integers(1, 300)
scales = st.lists(st.floats(1.0, 4.5), min_size=1, max_size=3)


@given(height=lengths, width=lengths, scales=scales, step=st.floats(0.1, 1.0))
def test_the_windows_of_every_scale_are_inside_and_cover_the_image(height, width, scales, step):
    windows = sliding_windows(height, width, scales, step)
    assert windows == sum((sliding_windows(height, width, [s], step) for s in scales), ())
    for scale in scales:
        seen = np.zeros((height, width), bool)
        for window in sliding_windows(height, width, [scale], step):
            assert 0 <= window.top <= window.top + window.height <= height
            assert 0 <= window.left <= window.left + window.width <= width
            seen[window.slices] = True
        assert seen.all()


@pytest.mark.parametrize(("height", "width"), [(120, 120), (120, 180), (210, 120)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("step", [1.0, 0.5])
def test_pytorch_grad_cam_slides_alike(height, width, scale, step):
    window, enlarged = 60, scale * 60 / 120  # pixels of the network's input, and per image pixel
    theirs = sliding_window(
        int(height * enlarged), int(width * enlarged), int(step * window), window
    )
    side = round(window / enlarged)
    expected = [Window(round(y / enlarged), round(x / enlarged), side, side) for x, y in theirs]
    assert list(sliding_windows(height, width, [scale], step)) == expected


def plan(height: int, width: int, **samples: object) -> SamplePlan:
    settings = Samples.model_validate({"kind": "sliding", **samples})
    return SamplePlan(
        settings, image="i", height=height, width=width, seed=0, recipe="r", input_size=64
    )


def test_the_number_of_samples_is_that_of_the_images_windows():
    square, wide = (plan(100, width, scales=[1, 2], batch=4) for width in (100, 150))
    assert (square.total, wide.total) == (1 + 4, 2 + 6)
    assert wide.cover == ()
    sample = wide.sample(4)
    assert (sample.window, sample.height, sample.width) == (Window(0, 100, 50, 50), 64, 64)
    assert wide.place(5)[1:] == (1, 1, 4)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"kind": "sliding", "scales": [1, 0.5]}, "scale 0.5 is smaller than the window"),
        ({"kind": "sliding", "count": 5}, "count has no meaning for kind sliding"),
        ({"kind": "crops", "step": 0.5}, "step is for kind sliding, not crops"),
        ({"kind": "sliding", "whole_image": [1]}, "whole_image is for kind crops"),
        ({"kind": "sliding", "step": 0}, "greater than or equal to 0.1"),
    ],
)
def test_samples_that_cannot_slide_are_refused(samples, message):
    with pytest.raises(ValidationError, match=message):
        Samples.model_validate(samples)


def test_a_step_that_is_not_set_leaves_the_plain_data_as_it_was():
    recipe = resolve_recipe("gradient_crops", "the recipe").model_dump(mode="json")
    assert "step" not in recipe["samples"]
    halves = resolve_recipe({"preset": "sess", "samples": {"step": 0.5}}, "the recipe")
    assert halves.model_dump(mode="json")["samples"]["step"] == 0.5


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    made = build_classifier("resnet18", ("cat", "dog"), 128)
    with torch.no_grad():
        made.network.train()
        for _ in range(4):
            made.network(torch.randn(4, 3, 64, 64))
    made.network.eval()
    return made


def photograph() -> np.ndarray:
    """Return blots on an image of 128 x 192 pixels."""
    draw = torch.Generator().manual_seed(1)
    noise = torch.rand(1, 3, 8, 12, generator=draw)
    smooth = torch.nn.functional.interpolate(noise, (128, 192), mode="bicubic")[0]
    return (smooth.permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy()


class _ByMaximum(GradCAM):  # type: ignore[misc]
    """pytorch-grad-cam's Grad-CAM, divided by its maximum without a subtraction of its minimum."""

    def compute_cam_per_layer(self, input_tensor, targets, eigen_smooth):
        seen = self.activations_and_grads
        arrays = (seen.activations[0].numpy(), seen.gradients[0].numpy())
        maps = self.get_cam_image(input_tensor, self.target_layers[0], targets, *arrays)
        size = self.get_target_width_height(input_tensor)
        return [
            cv2.resize(np.maximum(one, 0) / max(one.max(), 1e-12), size, dst=None) for one in maps
        ]

    def aggregate_multi_layers(self, maps):
        return np.float32(maps)


class _FromWindows(SESS):  # type: ignore[misc]
    """Its SESS with each patch cut before it is resized, at the places that it chooses itself."""

    def collect_patches(self, input_tensor, window_size, step_size):
        patches, places = super().collect_patches(input_tensor, window_size, step_size)
        height, width = input_tensor.shape[2:]
        for number, (x, y, scaled_width, scaled_height) in enumerate(places):
            top, left = round(y * height / scaled_height), round(x * width / scaled_width)
            side = -(-window_size * height // scaled_height)
            cut = photograph()[top : top + side, left : left + side]
            pixels = to_unit(resize(np.ascontiguousarray(cut), window_size, window_size))
            patches[number] = as_input(pixels)
        return patches, places


def as_input(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(channels_first(normalise(pixels, IMAGENET_MEAN, IMAGENET_STD)))[None]


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_the_preset_is_pytorch_grad_cams_sess_with_the_maximum(classifier, step):
    """At sizes that divide the image; at others it rounds its windows' places otherwise."""
    image, sizes = photograph(), [1.0, 2.0]
    recipe = {
        "preset": "sess",
        "samples": {"scales": sizes, "step": step},
        "aggregation": {"smoothing": 0},
    }
    found = ws3.score_maps(classifier, image, ["dog"], recipe)[0].astype(np.float32)

    def probability(output: Tensor) -> Tensor:
        """Return the sigmoid: a multi-label network has no softmax."""
        return output[..., 1].sigmoid()

    with _FromWindows(
        classifier.network,
        [classifier.backbone[-1]],
        base_method=_ByMaximum,
        scales=[int(128 * size) for size in sizes],
        step_size=int(128 * step),
        pool="max",
        smooth=False,
        use_softmax_scores=False,
    ) as peer:
        expected = peer(as_input(to_unit(image)), [probability])[0]
    found = (found - found.min()) / (found.max() - found.min())  # as the peer does in the end
    # Where it pastes a map before it makes it smaller, its border goes over into 0.
    assert np.quantile(np.abs(found - expected), 0.9) < 2e-3
    assert np.abs(found - expected).mean() < 2e-3
    # Not the maps of the whole image.
    whole = ws3.score_maps(classifier, image, ["dog"], "gradcam")[0].astype(np.float32)
    assert spearmanr(whole.ravel(), expected.ravel()).statistic < 0.9
