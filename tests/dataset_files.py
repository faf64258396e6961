"""Small image and mask files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ws3.config.dataset import DatasetConfig
from ws3.datasets import list_dataset
from ws3.datasets.index import Listing
from ws3.labels import voc_palette

WIDTH, HEIGHT = 24, 16


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Write a picture of noise; the suffix chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_mask(path: Path, *values: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Write a palette mask that is 0 but for its first pixels, which hold the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels.flat[: len(values)] = values
    mask = Image.fromarray(pixels)
    mask.putpalette(voc_palette())
    mask.save(path)


def listing_of(config: DatasetConfig) -> Listing:
    """List a dataset that has a root of its own."""
    return list_dataset(config, "the run's folder is not used")
