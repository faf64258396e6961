"""Segments of an image, and how the pixels of one vote together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.config.regions import MOST_SEGMENTS, FelzenszwalbRegions, SlicRegions
from ws3.errors import Ws3Error

Segments = npt.NDArray[np.uint16]


def image_segments(
    image: npt.NDArray[np.uint8], settings: SlicRegions | FelzenszwalbRegions
) -> Segments:
    """Divide an image into segments.

    Args:
        image: uint8 (H, W, 3), RGB.
        settings: Which, and how large.

    Returns:
        uint16 (H, W): the number of each pixel's segment, from 1.

    Raises:
        Ws3Error: If scikit-image isn't installed, or there are more than `MOST_SEGMENTS`.
    """
    try:
        from skimage.segmentation import felzenszwalb, slic
    except ImportError:
        raise Ws3Error(
            "masks.regions: scikit-image isn't installed; pip install 'ws3-seg[regions]' adds it, "
            "or give segments as files (kind: files)"
        ) from None
    if isinstance(settings, SlicRegions):
        found = slic(
            image, n_segments=settings.number, compactness=settings.compactness, start_label=0
        )
    else:
        found = felzenszwalb(
            image, scale=settings.scale, sigma=settings.sigma, min_size=settings.min_size
        )
    return numbered(found)


def numbered(labels: npt.NDArray[np.integer], outside: int | None = None) -> Segments:
    """Return segments with the numbers 1, 2, ... in the order of the labels that they had.

    Args:
        labels: Whole numbers (H, W), the same within a segment.
        outside: The label of pixels of no segment, which become 0.

    Raises:
        Ws3Error: If there are more than `MOST_SEGMENTS`.

    Example:
        >>> numbered(np.array([[7, 7, 3], [0, 3, 3]]), outside=0)
        array([[2, 2, 1],
               [0, 1, 1]], dtype=uint16)
    """
    start, end = int(labels.min(initial=0)), int(labels.max(initial=0))
    if end - start <= 4 * labels.size:
        # Counted, not sorted, which takes a tenth of the time.
        there = np.flatnonzero(np.bincount((labels - start).ravel())) + start
    else:
        there = np.unique(labels)
    there = there[there != outside] if outside is not None else there
    places = np.searchsorted(there, labels) + 1
    if outside is not None:
        places[labels == outside] = 0
    if places.max(initial=0) > MOST_SEGMENTS:
        raise Ws3Error(f"it has {places.max()} segments, and at most {MOST_SEGMENTS} are taken")
    return np.asarray(places, np.uint16)


def vote(scores: npt.NDArray[np.float32], segments: Segments, kind: str) -> npt.NDArray[np.float32]:
    """Let the pixels of each segment vote: all get the same scores.

    Args:
        scores: float32 (labels, H, W) in [0, 1].
        segments: uint16 (H, W), from `image_segments`; pixels of segment 0 keep their own scores.
        kind: `mean`: of each label's scores. `share`: of the pixels that each label wins, the first
            of several equal ones.

    Returns:
        float32 (labels, H, W) in [0, 1].

    Raises:
        ValueError: If the sizes differ.

    Example:
        >>> scores = np.array([[[0.25, 0.5, 1.0]], [[0.75, 0.5, 0.0]]], np.float32)
        >>> vote(scores, np.array([[1, 1, 0]], np.uint16), "mean").tolist()
        [[[0.375, 0.375, 1.0]], [[0.625, 0.625, 0.0]]]
    """
    if scores.shape[1:] != segments.shape:
        raise ValueError(f"the scores are {scores.shape[1:]} pixels, the segments {segments.shape}")
    flat = segments.ravel()
    pixels = np.maximum(np.bincount(flat), 1)
    winners = scores.argmax(axis=0).ravel() if kind == "share" else None
    voted = np.empty_like(scores)
    for label, (own, place) in enumerate(zip(scores, voted, strict=True)):
        weights = own.ravel() if winners is None else winners == label
        # A mean of scores may pass 1 by a rounding.
        means = np.minimum(np.bincount(flat, weights=weights, minlength=len(pixels)) / pixels, 1)
        place[...] = means.astype(np.float32)[segments]
    outside = segments == 0
    voted[:, outside] = scores[:, outside]
    return voted


MOST_OF_SEGMENT = 0.5
MOST_OF_LABEL = 0.85


def merged(labels: npt.NDArray[np.uint8], segments: Segments) -> npt.NDArray[np.uint8]:
    """Let whole segments take the place of a mask's objects.

    The rule is that of SEPL (Chen et al. 2023, arXiv 2305.05803): label by label, the lowest first,
    a segment that no earlier one has taken becomes the label's if more than half of its pixels are
    the label's, or if it holds 85 % of all pixels that are. Segments that none takes are
    background. Pixels of no segment keep what they have.

    Args:
        labels: uint8 (H, W), 0 background.
        segments: uint16 (H, W), from `image_segments`.

    Returns:
        uint8 (H, W).

    Raises:
        ValueError: If the sizes differ.

    Example:
        >>> segments = np.array([[1, 1, 1, 2, 2, 2, 3, 0]], np.uint16)
        >>> labels = np.array([[1, 1, 0, 0, 0, 2, 0, 2]], np.uint8)
        >>> merged(labels, segments)  # 2 of 3 pixels are 1; of those that are 2, it holds half
        array([[1, 1, 1, 0, 0, 0, 0, 2]], dtype=uint8)
    """
    if labels.shape != segments.shape:
        raise ValueError(f"the mask is {labels.shape} pixels, the segments {segments.shape}")
    count = int(labels.max(initial=0)) + 1
    table = _table(labels, segments, count)
    pixels = table.sum(axis=1)
    of_segment = np.zeros(len(table), np.uint8)
    for label in range(1, count):
        inside = table[:, label]
        takes = (inside > MOST_OF_SEGMENT * pixels) | (
            (inside > 0) & (inside >= MOST_OF_LABEL * inside.sum())
        )
        of_segment[takes & (of_segment == 0)] = label
    return np.where(segments == 0, labels, of_segment[segments])


def agreement(labels: npt.NDArray[np.uint8], segments: Segments) -> float:
    """Return how much the outlines of a mask follow those of segments, beyond chance.

    That is the share of the pixels that have the label which most of their segment has, less the
    same share of the mask shifted by half the image to the right and down, in a circle. The shifted
    one has the same area and the same outlines, in a place where the image has others.

    Args:
        labels: uint8 (H, W).
        segments: uint16 (H, W), from `image_segments`.

    Returns:
        From -1 to 1; about 0 for a mask that has nothing to do with the segments, or one label.

    Example:
        >>> segments = np.array([[1, 1, 2, 2, 3, 3, 4, 4]], np.uint16)
        >>> follows, not_quite = np.array([[[0, 0, 1, 1, 0, 0, 0, 0]], [[0, 1, 1, 0, 0, 0, 0, 0]]])
        >>> agreement(follows.astype(np.uint8), segments)  # 8 of 8, and 8 of 8 when shifted
        0.0
        >>> segments = np.array([[1, 1, 2, 2, 3, 3, 3, 3]], np.uint16)
        >>> agreement(follows.astype(np.uint8), segments)  # 8 of 8, less 6 of 8
        0.25
        >>> agreement(not_quite.astype(np.uint8), segments)  # 6 of 8, less 6 of 8
        0.0
    """
    half = tuple(side // 2 for side in labels.shape)
    shifted = np.roll(labels, half, (0, 1))
    return _shared(labels, segments) - _shared(shifted, segments)


def _shared(labels: npt.NDArray[np.uint8], segments: Segments) -> float:
    """Return the share of the pixels whose label is the one that most of their segment has."""
    table = _table(labels, segments, int(labels.max()) + 1)
    return float(table.max(axis=1).sum() / labels.size)


def _table(labels: npt.NDArray[np.uint8], segments: Segments, count: int) -> npt.NDArray[np.int64]:
    """Return how many pixels of each segment have each of `count` labels, (segments + 1, count)."""
    cells = segments.astype(np.int64) * count + labels
    table = np.bincount(cells.ravel(), minlength=(int(segments.max(initial=0)) + 1) * count)
    return table.reshape(-1, count)


__all__ = ["Segments", "agreement", "image_segments", "merged", "numbered", "vote"]
