"""From the sample chunks of an image to one map per present class."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ws3.aggregation.accumulate import Accumulator
from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.aggregation.random_walk import Seen, random_walk
from ws3.config.recipes import Aggregation
from ws3.errors import Ws3Error
from ws3.sampling.plan import SamplePlan


def combine(
    chunks: Iterable[SampleChunk | RawChunk],
    aggregation: Aggregation,
    plan: SamplePlan,
    image: NDArray[np.uint8] | None = None,
    seen: Seen | None = None,
) -> NDArray[np.float16]:
    """Return the final maps of an image.

    A_c(x) = sum_k w_kc s_kc(x) / sum_k w_kc [x in window k], or the maximum over k; then
    smoothing, subtraction of the other classes, and a random walk, each if asked for; then
    scaling to [0, 1].

    Args:
        chunks: In the order of their numbers, which is part of the result.
        aggregation: The recipe's `aggregation` section.
        plan: The samples' geometry, for chunks that hold single samples.
        image: uint8 RGB (H, W, 3); only a random walk needs it.
        seen: What a network sees in the image; only a walk that asks one needs it.

    Returns:
        float16 (classes, H, W) in [0, 1].

    Raises:
        Ws3Error: If a pixel lies in no sample, or a value is not a finite number.
        ValueError: If there is no image, or nothing seen in it, to walk over.
    """
    maps = _averaged(chunks, aggregation, plan)
    if not np.isfinite(maps).all():
        raise Ws3Error("the map holds values that are not finite numbers")
    maps = subtract_others(smooth(maps, aggregation.smoothing), aggregation.subtract_others)
    if aggregation.random_walk is not None:
        if image is None:
            raise ValueError("a random walk needs the image")
        maps = random_walk(image, maps, aggregation.random_walk, seen)
    return scale(maps, aggregation.percentile).astype(np.float16)


def _averaged(
    chunks: Iterable[SampleChunk | RawChunk], aggregation: Aggregation, plan: SamplePlan
) -> NDArray[np.float32]:
    """Return the weighted mean, or the maximum, over the samples of all chunks.

    At most one chunk is held at a time.

    Raises:
        Ws3Error: If a pixel lies in no sample.
    """
    sums: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    for chunk in chunks:
        summed = sum_raw(chunk, aggregation, plan) if isinstance(chunk, RawChunk) else chunk
        weight = summed.weights.astype(np.float32)
        if sums is None or weights is None:
            sums, weights = summed.sums, weight
        else:
            sums = np.maximum(sums, summed.sums) if _is_max(aggregation) else sums + summed.sums
            weights = weights + weight
        del chunk, summed, weight  # else the next chunk would come to be beside this one
    if sums is None or weights is None or not (weights > 0).all():
        raise Ws3Error("some pixels lie in no sample; ask for more samples")
    return sums if _is_max(aggregation) else sums / weights


def sum_raw(chunk: RawChunk, aggregation: Aggregation, plan: SamplePlan) -> SampleChunk:
    """Add up a chunk of single samples."""
    whole = plan.whole
    accumulator = Accumulator(aggregation, chunk.maps.shape[1], whole.height, whole.width)
    for number, maps, scales, weights in zip(
        chunk.samples, chunk.maps, chunk.scales, chunk.weights, strict=True
    ):
        accumulator.add(
            plan.sample(number), maps.astype(np.float32) * scales[:, None, None], weights
        )
    return accumulator.chunk()


def smooth(maps: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Filter each map (classes, H, W) with a Gaussian of sigma = share x sqrt(H x W) pixels."""
    if share == 0:
        return maps
    sigma = share * math.sqrt(maps.shape[1] * maps.shape[2])
    filtered = [
        cv2.GaussianBlur(one, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for one in maps
    ]
    return np.stack(filtered).astype(np.float32, copy=False)


def subtract_others(maps: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Subtract, from each map (classes, H, W), a share of the strongest of the other maps.

    Each map is first divided by its maximum, so that the classes compare; negative values
    become 0.
    """
    if share == 0 or len(maps) < 2:
        return maps
    relative = scale(maps, 100.0)
    others = np.stack(
        [np.delete(relative, index, axis=0).max(axis=0) for index in range(len(maps))]
    )
    return np.maximum(relative - np.float32(share) * others, 0)


def scale(maps: NDArray[np.float32], percentile: float) -> NDArray[np.float32]:
    """Divide each map (classes, H, W) by its percentile and clip to [0, 1].

    A map whose percentile is 0 is divided by its maximum instead; one that is 0 stays 0.
    """
    flat = maps.reshape(len(maps), -1)
    top = np.percentile(flat, percentile, axis=1) if percentile < 100 else flat.max(axis=1)
    top = np.where(top > 0, top, flat.max(axis=1)).astype(np.float32)[:, None, None]
    return np.clip(np.divide(maps, top, out=np.zeros_like(maps), where=top > 0), 0, 1)


def _is_max(aggregation: Aggregation) -> bool:
    return aggregation.combine_samples == "max"
