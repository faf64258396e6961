"""Draws the counts of images as an evaluation would find them, from a known distribution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.metrics.image_counts import COUNTS, PIXEL_COUNTS, SCORE_STEPS, ImageCounts

CLASSES = 3
PIXELS = 10_000
Tables = npt.NDArray[np.int64]


def draw_tables(number: int, stream: np.random.Generator, skill: float = 0.0) -> Tables:
    """Return int64 (number, counts, classes + 1) of images of one to three objects.

    Sizes are skewed, the second class is half as frequent as the others, how well an image is done
    varies from image to image and is the same for all its classes, and all counts are whole pixels.
    Scores come from a stream of their own.

    Args:
        number: How many images.
        stream: Where the random numbers come from.
        skill: How much better than usual the recipe is, in logits.
    """
    present = stream.random((number, CLASSES)) < [0.5, 0.25, 0.5]
    present[np.arange(number), stream.integers(0, CLASSES, number)] |= ~present.any(axis=1)
    size = np.exp(stream.normal(7.0, 0.7, (number, CLASSES))).clip(20, 3000) * present
    size = size.astype(np.int64)
    logit = skill + stream.normal(0.4, 0.8, (number, 1)) + [0.3, -0.6, 0.1]
    share = 1 / (1 + np.exp(-logit))
    found = stream.binomial(size, share)
    wrong = stream.binomial(size, 0.5 * (1 - share))
    dr = stream.binomial(size, 0.6)
    dr_found = np.minimum(stream.binomial(dr, 1 - (1 - share) ** 2), found)
    dr_found = np.maximum(dr_found, found - (size - dr))
    tables = np.zeros((number, len(COUNTS), CLASSES + 1), np.int64)
    tables[:, 0, 1:], tables[:, 1, 1:], tables[:, 2, 1:] = found, wrong, size - found
    tables[:, 0, 0] = PIXELS - size.sum(axis=1) - wrong.sum(axis=1)
    tables[:, 1, 0], tables[:, 2, 0] = (size - found).sum(axis=1), wrong.sum(axis=1)
    tables[:, 3, 1:], tables[:, 4, 1:] = dr, dr_found
    tables[:, 5, 1:], tables[:, 6, 1:] = size - dr, found - dr_found
    tables[:, len(PIXEL_COUNTS) :, 1:] = _draw_scores(size, present, logit, stream.spawn(1)[0])
    return tables


def _draw_scores(
    size: Tables,
    present: npt.NDArray[np.bool_],
    logit: npt.NDArray[np.float64],
    stream: np.random.Generator,
) -> Tables:
    """Return int64 (number, scores, classes): the better an image is done, the farther apart."""
    rising = np.linspace(-1, 1, len(SCORE_STEPS))
    chances = np.exp((logit[..., None] + 1.5) * np.stack([rising, -rising])[:, None, None])
    chances /= chances.sum(axis=-1, keepdims=True)
    pixels = np.stack([size, (2000 * present).astype(np.int64)])
    drawn = stream.multinomial(pixels, chances)  # own or other, number, classes, bins
    return drawn.transpose(1, 0, 3, 2).reshape(len(size), -1, size.shape[1])


def image_counts(tables: Tables) -> ImageCounts:
    """Return the counts of images that are named by their number."""
    return ImageCounts.of({f"{n:06}": table for n, table in enumerate(tables)}, CLASSES)
