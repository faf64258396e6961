"""Refinement of score maps by a random walk between pixels that are near and similar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ws3.config.recipes import RandomWalk

if TYPE_CHECKING:
    from scipy.sparse import csr_array


_AXES = 16
"""Principal components of an image's features that are kept; each costs time."""


def random_walk(
    image: NDArray[np.uint8],
    maps: NDArray[np.float32],
    settings: RandomWalk,
    features: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Let each map's scores walk over the image: T^steps m, T being `transition`'s matrix.

    The walk of PSA (Ahn and Kwak 2018) and IRNet (Ahn, Cho and Kwak 2019), with affinities that
    nobody trained: those of Shi and Malik (2000), from distance, colour and, if asked for, the
    features that the classifier already has. Each step replaces a score by a weighted mean of its
    neighbourhood, so scores stay within the map's range. As the power is never formed, memory is
    that of T alone.

    Args:
        image: uint8 (H, W, 3), RGB.
        maps: float32 (classes, H, W).
        settings: The numbers of the walk. It takes place on a grid that is `stride` times coarser,
            onto which image and maps are averaged; the result is interpolated back.
        features: float32 (F, h, w) of the whole image, of any resolution; needed exactly if
            `settings.features` is a number.

    Returns:
        float32 (classes, H, W).

    Raises:
        ValueError: If maps and image differ in size, or there are no features to look at.
    """
    height, width = image.shape[:2]
    if maps.shape[1:] != (height, width):
        raise ValueError(f"the maps are {maps.shape[1:]} pixels, the image {(height, width)}")
    if not len(maps):
        return maps
    grid = math.ceil(width / settings.stride), math.ceil(height / settings.stride)
    colours = _resized(image.astype(np.float32) / np.float32(255), grid, cv2.INTER_AREA)
    appearance = [colours / np.float32(settings.colour)]
    if settings.features is not None:
        if features is None:
            raise ValueError("a random walk that looks at features needs them")
        channels = [_resized(axis, grid, cv2.INTER_LINEAR) for axis in principal_axes(features)]
        appearance.append(np.stack(channels, axis=2) / np.float32(settings.features))
    scores = np.stack([_resized(one, grid, cv2.INTER_AREA).ravel() for one in maps], axis=1)
    matrix = transition(np.concatenate(appearance, axis=2), settings.radius)
    for _ in range(settings.steps):
        scores = matrix @ scores
    walked = scores.T.reshape(len(maps), grid[1], grid[0])
    return np.stack([_resized(one, (width, height), cv2.INTER_LINEAR) for one in walked])


def principal_axes(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalise features to unit length and project them onto their first 16 principal components.

    Distances between pixels are kept as far as these components hold them.

    Args:
        features: float32 (F, h, w).

    Returns:
        float32 (at most 16, h, w).
    """
    vectors = features.reshape(len(features), -1).T.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    left, sizes, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    axes = np.asarray((left * sizes)[:, :_AXES].T, np.float32)
    return axes.reshape(len(axes), *features.shape[1:])


def transition(appearance: NDArray[np.float32], radius: int) -> csr_array:
    """Return the probabilities of a step between pixels, those of each pixel adding up to one.

    A step from pixel i to pixel j, itself included, has a probability in proportion to
    exp(-|difference|^2 / 2 - distance^2 / (2 (radius / 2)^2)), and none beyond `radius`.

    Args:
        appearance: float32 (H, W, channels), each in units of its Gaussian's standard deviation.
        radius: Pixels that a step may reach.

    Returns:
        Sparse float32 (H * W, H * W), row by row; pixels are numbered line by line.
    """
    from scipy.sparse import csr_array

    height, width = appearance.shape[:2]
    steps = [
        (down, right)
        for down in range(-radius, radius + 1)
        for right in range(-radius, radius + 1)
        if down * down + right * right <= radius * radius
    ]
    affinities = np.zeros((height, width, len(steps)), np.float32)
    for number, (down, right) in enumerate(steps):
        if abs(down) >= height or abs(right) >= width:
            continue
        here = _overlap(height, down), _overlap(width, right)
        there = _overlap(height, -down), _overlap(width, -right)
        unlike = np.square(appearance[here] - appearance[there]).sum(axis=2) / 2
        far = (down * down + right * right) / (radius * radius / 2)
        affinities[*here, number] = np.exp(-unlike - np.float32(far))
    affinities /= affinities.sum(axis=2, keepdims=True)
    pixels = np.arange(height * width, dtype=np.int32)
    reached = pixels[:, None] + np.array([down * width + right for down, right in steps], np.int32)
    # Steps out of the image have probability 0, wherever they are said to lead.
    np.clip(reached, 0, len(pixels) - 1, out=reached)
    starts = np.arange(len(pixels) + 1) * len(steps)
    return csr_array(
        (affinities.ravel(), reached.ravel(), starts), shape=(len(pixels), len(pixels))
    )


def _overlap(side: int, step: int) -> slice:
    """Return the pixels of a side from which a step leads to a pixel of the image."""
    return slice(max(0, -step), side - max(0, step))


def _resized(
    pixels: NDArray[np.float32], size: tuple[int, int], interpolation: int
) -> NDArray[np.float32]:
    """Resize (H, W) or (H, W, channels) to (width, height)."""
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.float32)


__all__ = ["principal_axes", "random_walk", "transition"]
