"""What is exported of one image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ws3.datasets.images import decode_rgb, open_image, read_bytes
from ws3.files import write_bytes
from ws3.masks.png import write_mask

_ORIENTATION, _UPRIGHT = 0x0112, 1


@dataclass(frozen=True)
class Item:
    """One image with its mask.

    Attributes:
        image: What its files are called: its name where that is fit for all formats, or its id.
        split: "train" or "val".
        class_values: Mask values of the classes that it is labelled with.
        photograph: The image file.
        mask: Class of each pixel, uint8 (H, W); 0 is background, 255 is ignored.
        maps: Score maps of `class_values`, float32 (classes, H, W) in [0, 1]; only for a format
            that asks for them.
        confidence: How sure the mask is of each pixel, uint8 (H, W) in 256ths; None where it isn't
            stored, as of ground truth.
        coding: How the photograph is read; see `ws3.datasets.masks`.
    """

    image: str
    split: str
    class_values: tuple[int, ...]
    photograph: Path
    mask: NDArray[np.uint8]
    coding: str = ""
    maps: NDArray[np.float32] | None = None
    confidence: NDArray[np.uint8] | None = None


def write_confidence(item: Item, folder: Path) -> None:
    """Write an item's confidence into a folder as `<image>.png`, gray, if it has any.

    Raises:
        Ws3Error: If the file can't be written.
    """
    if item.confidence is not None:
        write_mask(folder / f"{item.image}.png", item.confidence, {}, palette=False)


def write_photograph(item: Item, folder: Path) -> Path:
    """Write an item's photograph into a folder as `<image>.jpg`, and return the file.

    A JPEG is copied byte by byte, unless its EXIF tag would have readers turn it away from its
    mask. Other formats are converted.

    Raises:
        Ws3Error: If the photograph can't be read, or the file can't be written.
    """
    data = read_bytes(item.photograph)
    with open_image(data, item.photograph) as image:
        turned = image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
        is_fit = image.format == "JPEG" and not turned
    if not is_fit:
        buffer = io.BytesIO()
        pixels = decode_rgb(data, item.photograph, item.coding)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
        data = buffer.getvalue()
    path = folder / f"{item.image}.jpg"
    write_bytes(path, data)
    return path
