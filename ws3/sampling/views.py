"""From an image to a sample's pixels, and from a sample's scores back to the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ws3.config.recipes import Masking
from ws3.pixels import channels_first, normalise, resize, to_unit
from ws3.sampling.plan import Sample, SamplePlan
from ws3.sampling.seeds import stream

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]


def render_sample(
    image: Pixels, sample: Sample, plan: SamplePlan, mean: tuple[float, ...], std: tuple[float, ...]
) -> Scores:
    """Return what the network sees of a sample.

    Args:
        image: uint8 RGB (H, W, 3).
        sample: What to cut out and how to change it.
        plan: The plan that the sample is from; it seeds noise and masking.
        mean: Per channel, for RGB in [0, 1].
        std: Per channel, for RGB in [0, 1].

    Returns:
        float32 (3, h, w), normalised; masked patches are 0, the mean colour.
    """
    cut = np.ascontiguousarray(image[sample.window.slices])
    resized = resize(cut, sample.height, sample.width)
    if sample.flip:
        resized = resized[:, ::-1]
    pixels = to_unit(resized)
    if sample.noise:
        pixels += draw_noise(sample, plan)
    normalised = normalise(pixels, mean, std)
    if sample.masking is not None:
        normalised[hidden_pixels(sample, plan)] = 0
    return channels_first(normalised)


def paste_back(scores: Scores, sample: Sample) -> Scores:
    """Return a sample's score map in the geometry of its window.

    Args:
        scores: float32 (h, w) of any size, in the geometry of the sample.
        sample: The sample; a mirrored one is mirrored back.

    Returns:
        float32 (window height, window width).
    """
    upright = scores[:, ::-1] if sample.flip else scores
    return resize(np.ascontiguousarray(upright), sample.window.height, sample.window.width)


def draw_noise(sample: Sample, plan: SamplePlan) -> Scores:
    """Return what is added to the pixels of a sample with noise, float32 (h, w, 3)."""
    draw = stream(plan.seed, plan.recipe, plan.image, sample.number, "noise")
    shape = (sample.height, sample.width, 3)
    return draw.standard_normal(shape, dtype=np.float32) * np.float32(sample.noise or 0)


def hidden_pixels(sample: Sample, plan: SamplePlan) -> NDArray[np.bool_]:
    """Return which pixels of a sample with masking are hidden, bool (h, w)."""
    masking = sample.masking or Masking()
    draw = stream(plan.seed, plan.recipe, plan.image, sample.number, "masking")
    patch = max(1, round(masking.patch * min(sample.height, sample.width)))
    rows, columns = -(-sample.height // patch), -(-sample.width // patch)
    cells = draw.random((rows, columns)) < masking.share
    return cells.repeat(patch, 0).repeat(patch, 1)[: sample.height, : sample.width]
