"""Refinement of score maps by a random walk between places that are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ws3.config.recipes import RandomWalk

if TYPE_CHECKING:
    from scipy.sparse import csr_array


_AXES = 16
"""Principal components of an image's features that are kept; each costs time."""


@dataclass(frozen=True)
class Steps:
    """The steps of a walk over a network's own grid.

    Attributes:
        matrix: Sparse float32 (h * w, h * w), the probabilities of a step; places are numbered line
            by line, and each row adds up to one.
        grid: (h, w).
    """

    matrix: csr_array
    grid: tuple[int, int]


Seen = NDArray[np.float32] | Steps
"""What a network sees in an image: its features (F, h, w), or the steps that follow from it."""


def random_walk(
    image: NDArray[np.uint8],
    maps: NDArray[np.float32],
    settings: RandomWalk,
    seen: Seen | None = None,
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
            or on the network's own, onto which image and maps are averaged; the result is
            interpolated back.
        seen: What a network sees in the whole image, needed exactly if `settings.asks_a_network`:
            features (F, h, w) of any resolution if `settings.features` is a number, steps if
            `settings.affinity` is not `colour`.

    Returns:
        float32 (classes, H, W).

    Raises:
        ValueError: If maps and image differ in size, or there are no features, or steps, to look
            at.
    """
    height, width = image.shape[:2]
    if maps.shape[1:] != (height, width):
        raise ValueError(f"the maps are {maps.shape[1:]} pixels, the image {(height, width)}")
    if not len(maps):
        return maps
    if settings.affinity != "colour":
        if not isinstance(seen, Steps):
            raise ValueError("a random walk over a network's grid needs its steps")
        matrix, (rows, columns) = seen.matrix, seen.grid
    else:
        columns, rows = math.ceil(width / settings.stride), math.ceil(height / settings.stride)
        matrix = _by_appearance(image, (columns, rows), settings, seen)
    coarse = np.stack([_resized(one, (columns, rows), cv2.INTER_AREA) for one in maps])
    if settings.box is not None:
        coarse = np.stack([boxed(one, settings.box) for one in coarse])
    scores = coarse.reshape(len(maps), -1).T
    for _ in range(settings.steps):
        scores = matrix @ scores
    walked = scores.T.reshape(len(maps), rows, columns)
    return np.stack([_resized(one, (width, height), cv2.INTER_LINEAR) for one in walked])


def _by_appearance(
    image: NDArray[np.uint8], grid: tuple[int, int], settings: RandomWalk, seen: Seen | None
) -> csr_array:
    """Return the steps of a walk that looks at colours and, if asked for, features."""
    colours = _resized(image.astype(np.float32) / np.float32(255), grid, cv2.INTER_AREA)
    appearance = [colours / np.float32(settings.colour)]
    if settings.features is not None:
        if seen is None or isinstance(seen, Steps):
            raise ValueError("a random walk that looks at features needs them")
        channels = [_resized(axis, grid, cv2.INTER_LINEAR) for axis in principal_axes(seen)]
        appearance.append(np.stack(channels, axis=2) / np.float32(settings.features))
    return transition(np.concatenate(appearance, axis=2), settings.radius)


def boxed(scores: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return scores (h, w) with those set to 0 that lie in no box around a strong region.

    A region is what hangs together, corners included, and has at least `share` of the maximum
    (CLIP-ES, Lin et al. 2023, arXiv 2212.09506).

    Example:
        >>> boxed(np.array([[0.9, 0.1, 0.3], [0.2, 1.0, 0.3]], np.float32), 0.5).tolist()
        [[0.8999999761581421, 0.10000000149011612, 0.0], [0.20000000298023224, 1.0, 0.0]]
    """
    strong = scores >= np.float32(share) * scores.max()
    found = cv2.connectedComponentsWithStats(strong.astype(np.uint8), connectivity=8)[2]
    kept = np.zeros(scores.shape, np.float32)
    for left, top, width, height, _ in found[1:]:  # the first is the rest of the picture
        kept[top : top + height, left : left + width] = 1
    return scores * kept


def attention_transition(attention: NDArray[np.floating[Any]], sinkhorn: int = 0) -> csr_array:
    """Return the probabilities of a step between patches from what they attend to.

    Without `sinkhorn` each row is divided by its sum (patch affinity of MCTformer, Xu et al. 2022,
    arXiv 2203.02891). With it, columns and rows are divided by their sums in turn, as often as it
    says, and the result's mean with its transpose has its rows divided by their sums once more, so
    that they add up to one (class-aware attention-based affinity of CLIP-ES, Lin et al. 2023, arXiv
    2212.09506, which leaves out the last division). A patch that attends to none stays.

    Args:
        attention: (N, N), not negative: row i is what patch i attends to.
        sinkhorn: Rounds.

    Returns:
        Sparse float32 (N, N).

    Example:
        >>> attention_transition(np.array([[0.1, 0.3], [0.0, 0.0]])).toarray().tolist()
        [[0.25, 0.75], [0.0, 1.0]]
    """
    from scipy.sparse import csr_array

    steps = np.array(attention, np.float64)
    still = np.flatnonzero(steps.sum(axis=1) == 0)
    steps[still, still] = 1
    for _ in range(sinkhorn):
        for axis in (0, 1):
            sums = steps.sum(axis=axis, keepdims=True)
            np.divide(steps, sums, out=steps, where=sums > 0)
    if sinkhorn:
        steps = (steps + steps.T) / 2
    steps /= steps.sum(axis=1, keepdims=True)
    return csr_array(steps.astype(np.float32))


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


__all__ = [
    "Seen",
    "Steps",
    "attention_transition",
    "boxed",
    "principal_axes",
    "random_walk",
    "transition",
]
