"""Training data: photographs with pseudo-masks, augmented the same way in every run.

What is drawn for an image depends only on (seed, epoch, index), so neither a resume nor the number
of loader processes changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ws3 import pixels
from ws3.datasets.images import decode_rgb, read_bytes
from ws3.errors import Ws3Error
from ws3.labels import CONFIDENCE_STEPS, IGNORED
from ws3.masks.png import read_mask
from ws3.pixels import IMAGENET_MEAN, IMAGENET_STD
from ws3.training.batches import SharedBatches

_JITTER = 0.2  # largest relative change of brightness, contrast and saturation


def normalise(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract ImageNet's mean and divide by its deviation.

    Args:
        image: RGB in [0, 1], float32 (H, W, 3).

    Returns:
        float32 (3, H, W), contiguous.
    """
    return pixels.channels_first(pixels.normalise(image, IMAGENET_MEAN, IMAGENET_STD))


def augment(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    crop_size: int,
    scale_range: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scale, flip, crop and pad an image with its mask at random, and jitter the colours.

    Where the scaled image is smaller than the crop it lies at a random place in it; around it the
    image is ImageNet's mean colour and the mask is ignored.

    Args:
        image: RGB, uint8 (H, W, 3).
        mask: Class of each pixel, uint8 (H, W); or several such layers, uint8 (H, W, layers), which
            move alike.
        crop_size: Side of the result in pixels.
        scale_range: Smallest and largest factor of the image's size.
        rng: What everything is drawn from.

    Returns:
        The normalised image, float32 (3, crop_size, crop_size), and its mask, uint8
        (crop_size, crop_size), or its layers, uint8 (crop_size, crop_size, layers).
    """
    factor = rng.uniform(*scale_range)
    height, width = (max(1, round(side * factor)) for side in mask.shape[:2])
    image = np.asarray(cv2.resize(image, (width, height)), np.uint8)
    # INTER_NEAREST rounds down: it would shift the mask by half a pixel against the image.
    mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    rows_from, rows_to = _window(height, crop_size, rng)
    columns_from, columns_to = _window(width, crop_size, rng)

    window = pixels.to_unit(image[rows_from, columns_from])
    crop = np.zeros((3, crop_size, crop_size), np.float32)
    crop[:, rows_to, columns_to] = normalise(_jitter(window, rng))
    labels = np.full((crop_size, crop_size, *mask.shape[2:]), IGNORED, np.uint8)
    labels[rows_to, columns_to] = mask[rows_from, columns_from]
    return crop, labels


def _window(side: int, crop_size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return which pixels of a side are taken, and where in the crop they go."""
    offset = int(rng.integers(abs(side - crop_size) + 1))
    if side >= crop_size:
        return slice(offset, offset + crop_size), slice(0, crop_size)
    return slice(0, side), slice(offset, offset + side)


def _jitter(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    brightness, contrast, saturation = rng.uniform(1 - _JITTER, 1 + _JITTER, 3).astype(np.float32)
    image = image * brightness
    image = (image - image.mean()) * contrast + image.mean()
    grey = image.mean(axis=2, keepdims=True)
    jittered: NDArray[np.float32] = np.clip((image - grey) * saturation + grey, 0, 1)
    return jittered


@dataclass(frozen=True)
class MaskConfidence:
    """How sure masks are of their pixels, and what training makes of that.

    Attributes:
        files: Gray pictures, one for each mask; see `ws3.masks.confidence`.
        least: Pixels of a smaller value are ignored.
        weighs: Whether the others weigh as much as they are sure: (value + 1/2) / 256.
    """

    files: tuple[Path, ...]
    least: int = 0
    weighs: bool = False


class PseudoMaskDataset(Dataset[tuple[Tensor, ...]]):
    """Augmented crops of images and their pseudo-masks, addressed by (epoch, index).

    Args:
        pairs: Image and mask files.
        classes: Number of classes without background.
        crop_size: Side of the crops in pixels.
        scale_range: Range of the random scale.
        seed: Seed of the run.
        coding: How the images are read; see `ws3.datasets.masks`.
        confidence: How sure the masks are; None: of all pixels alike.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str | Path, str | Path]],
        classes: int,
        crop_size: int,
        scale_range: tuple[float, float],
        seed: int,
        coding: str = "",
        confidence: MaskConfidence | None = None,
    ) -> None:
        self.coding = coding
        self.confidence = confidence
        self.pairs = [(str(image), str(mask)) for image, mask in pairs]
        self.classes = classes
        self.crop_size = crop_size
        self.scale_range = scale_range
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, ...]:
        """Return the image, float32 (3, S, S), and the mask, int64 (S, S), of (epoch, index).

        Where confidence weighs, the pixels' weights come third, float32 (S, S). An index beyond
        the number of images is another crop of image `index % images`.

        Raises:
            Ws3Error: If a file can't be read, sizes differ, or the mask has an unknown class.
        """
        epoch, index = key
        image_path, mask_path = self.pairs[index % len(self.pairs)]
        image = decode_rgb(read_bytes(image_path), image_path, self.coding)
        mask = read_mask(Path(mask_path))
        self._check(image, mask, image_path, mask_path)
        confidence = self._confidence_of(index, mask)
        weighed = confidence if self.confidence is not None and self.confidence.weighs else None
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, index]))
        layers = mask if weighed is None else np.dstack([mask, weighed])
        crop, drawn = augment(image, layers, self.crop_size, self.scale_range, rng)
        if weighed is None:
            return torch.from_numpy(crop), torch.from_numpy(drawn).long()
        labels, values = (torch.from_numpy(np.ascontiguousarray(drawn[..., n])) for n in range(2))
        return torch.from_numpy(crop), labels.long(), (values.float() + 0.5) / CONFIDENCE_STEPS

    def _confidence_of(self, index: int, mask: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return how sure a mask is, if that is known; pixels that are too unsure become 255."""
        if self.confidence is None:
            return None
        path = self.confidence.files[index % len(self.pairs)]
        confidence = read_mask(path)
        if confidence.shape != mask.shape:
            raise Ws3Error(
                f"{path} is {confidence.shape[1]} x {confidence.shape[0]} pixels, but its mask is "
                f"{mask.shape[1]} x {mask.shape[0]}; make the masks again"
            )
        mask[confidence < self.confidence.least] = IGNORED
        return confidence

    def _check(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8], image_path: str, mask_path: str
    ) -> None:
        if image.shape[:2] != mask.shape:
            raise Ws3Error(
                f"{mask_path} is {mask.shape[1]} x {mask.shape[0]} pixels, but its image "
                f"{image_path} is {image.shape[1]} x {image.shape[0]}; make the masks again"
            )
        unknown = mask[(mask > self.classes) & (mask != IGNORED)]
        if unknown.size:
            raise Ws3Error(
                f"{mask_path} holds the value {unknown[0]}, but there are {self.classes} classes; "
                "make the masks again"
            )


class EpochSampler(SharedBatches):
    """Shuffled (epoch, index) pairs that fill whole batches.

    The images left over at an epoch's end are dropped (others each epoch), because batch
    normalisation can't learn from one image alone; fewer images than a batch are repeated.

    Args:
        images: Number of images.
        batch_size: Images per batch, over all processes.
        seed: Seed of the run.
        processes: How many train together; must divide `batch_size`.
    """

    def __init__(self, images: int, batch_size: int, seed: int, processes: int = 1) -> None:
        self.population = max(images, batch_size)
        super().__init__(self.population // batch_size * batch_size, batch_size, processes)
        self.seed = seed

    def draw(self, epoch: int) -> list[tuple[int, int]]:
        """Return the epoch's pairs, batch after batch."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch]))
        drawn = rng.permutation(self.population)[: self.length]
        return [(epoch, int(index)) for index in drawn]
