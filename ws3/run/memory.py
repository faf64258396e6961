"""The memory that jobs need: what follows from the sizes of the pictures, without opening any.

All numbers are measured on drawn pictures of up to 20 megapixels with up to four labels, noise of a
photograph's strength included, and rounded up. Light to import: a dry run asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ws3.config.masks import MOST_CRF_PIXELS, CrfParameters
from ws3.config.run import RunConfig
from ws3.datasets.index import ImageRow
from ws3.stage_table import JOBS

PROGRAM_MB = 400.0
"""Memory of a job before its first picture: Python, libraries, a small network."""


def crf_mb(megapixels: float, labels: int) -> float:
    """Return the memory of the dense CRF in MB, most of it its two lattices.

    Args:
        megapixels: Of what the CRF sees.
        labels: The background included; alone, it needs no CRF.
    """
    return megapixels * (200 + 60 * labels) if labels > 1 else 0.0


def picture_mb(config: RunConfig, job: str, pixels: int, classes: int) -> float:
    """Return the memory in MB that a picture takes in a job, beside what the program takes.

    Args:
        config: Of the run.
        job: Name of the job.
        pixels: Of the picture.
        classes: Number of its labels.

    Returns:
        0 for a job whose memory doesn't follow from the pictures' sizes.
    """
    megapixels = pixels / 1e6
    match job:
        case "saliency":
            # Whether an image has settled is told from three sums beside the chunk's own.
            adaptive = any(recipe.samples.adaptive for recipe in config.recipes.values())
            return megapixels * (30 + 20 * classes + (50 + 24 * classes) * adaptive)
        case "maps":
            return megapixels * (10 + 36 * classes)
        case "threshold" | "evaluate":
            return megapixels * (15 + 15 * classes)
        case "regions":
            return megapixels * 250
        case "masks":
            crf = config.masks.crf
            bound = crf.max_pixels if isinstance(crf, CrfParameters) else MOST_CRF_PIXELS
            seen = megapixels if bound is None else min(megapixels, bound / 1e6)
            refining = 0.0 if crf == "none" else crf_mb(seen, classes + 1)
            return megapixels * (15 + 14 * classes) + refining
        case "report":
            return megapixels * (20 + 5 * classes * len(config.recipes))
    return 0.0


def sizes_of(rows: Iterable[ImageRow]) -> set[tuple[int, int]]:
    """Return the pixels of the largest picture for each number of labels; 0 before the index.

    Example:
        >>> row = ImageRow("a", "train", ("cat", "dog"), "a.jpg", "", "", width=500, height=375)
        >>> sizes_of([row])
        {(187500, 2)}
    """
    largest: dict[int, int] = {}
    for row in rows:
        labels, pixels = len(row.labels), row.width * row.height
        if pixels >= largest.get(labels, 0):
            largest[labels] = pixels
    return {(pixels, labels) for labels, pixels in largest.items()}


def memory_mb(config: RunConfig, job: str, sizes: Iterable[tuple[int, int]]) -> int:
    """Return the memory in MB that the first attempt of a job gets.

    Args:
        config: Of the run.
        job: Name of the job.
        sizes: Of the run's pictures, from `sizes_of`.

    Returns:
        What the table of stages says, or more if the run's most demanding picture needs more.
    """
    pictures = (picture_mb(config, job, *size) for size in sizes)
    least = JOBS[job].memory_mb
    if job == "maps" and config.maps_by_networks:
        least = JOBS["predictions"].memory_mb
    return max(least, math.ceil(PROGRAM_MB + max(pictures, default=0.0)))


__all__ = ["PROGRAM_MB", "crf_mb", "memory_mb", "picture_mb", "sizes_of"]
