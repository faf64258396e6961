"""The pictures of one image on the page of all images: a photograph, and sheets of tiles."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ws3.labels import IGNORED, voc_palette
from ws3.report.pictures import UInt8, fit

PHOTO_SIDE = 320
MASK_SIDE = 240
MAP_SIDE = 160
"""Pixels of the longer side of a tile; heat is smooth, and is drawn larger than it is stored."""

DRAWING = "1"
"""Raised when the pictures come to look different."""

REGION_COLOURS = ("#0072b2", "#e69f00", "#cc79a7", "#1b1f27")
"""Object pixels found by both, by the reference alone, by the recipe alone, and missed: colours of
Okabe and Ito, which also differ in lightness (https://jfly.uni-koeln.de/color/)."""


@dataclass(frozen=True, slots=True)
class ImagePictures:
    """What is drawn of one image.

    Attributes:
        photo: A JPEG, its longer side `PHOTO_SIDE` pixels at most.
        maps: A JPEG, one tile of heat below the other: of each recipe, its classes' maps.
        masks: A PNG, one tile below the other: the ground truth if there is one, the recipes'
            masks, the networks' predictions. The background is transparent.
        regions: A PNG of a tile for each mask and prediction except the reference's mask: which
            object pixels it and the reference find. None without ground truth.
        shares: For each tile of `regions`, the shares of the object pixels in the order of
            `REGION_COLOURS`; empty where there are none.
        disagreement: Share of the pixels whose class the recipes' masks don't agree on.
    """

    photo: bytes
    maps: bytes | None
    masks: bytes | None
    regions: bytes | None
    shares: tuple[tuple[float, ...], ...]
    disagreement: float


def draw_pictures(
    image: UInt8,
    maps: Sequence[NDArray[np.floating[Any]]],
    masks: Mapping[str, UInt8],
    predictions: Mapping[str, UInt8],
    truth: UInt8 | None,
    reference: str,
) -> ImagePictures:
    """Draw one image.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: Of each recipe, (classes present, H, W) in [0, 1]: all are drawn on this one scale.
        masks: By recipe, (H, W) uint8.
        predictions: By network, (H, W) uint8.
        truth: (H, W) uint8, None if there is none.
        reference: The recipe that regions are relative to; "" or one without a mask draws none.

    Returns:
        The encoded pictures.
    """
    small = fit(image, min(PHOTO_SIDE, max(image.shape[:2])), smooth=True)
    layers = [fit(mask, MASK_SIDE, smooth=False) for mask in masks.values()]
    predicted = [fit(mask, MASK_SIDE, smooth=False) for mask in predictions.values()]
    known = None if truth is None else fit(truth, MASK_SIDE, smooth=False)
    regions, shares = list[UInt8](), list[tuple[float, ...]]()
    if known is not None and reference in masks:
        base = layers[list(masks).index(reference)]
        others = [mask for name, mask in zip(masks, layers, strict=True) if name != reference]
        for mask in (*others, *predicted):
            tile, found = _regions(known, base, mask)
            regions.append(tile)
            shares.append(found)
    heat = [_heat(score) for recipe in maps for score in recipe]
    tiles = [*([] if known is None else [known]), *layers, *predicted]
    return ImagePictures(
        photo=_jpeg(cv2.cvtColor(small, cv2.COLOR_RGB2BGR)),
        maps=_jpeg(np.concatenate(heat)) if heat else None,
        masks=_png(np.concatenate(tiles), _MASK_PALETTE) if tiles else None,
        regions=_png(np.concatenate(regions), _REGION_PALETTE) if regions else None,
        shares=tuple(shares),
        disagreement=_disagreement(layers),
    )


def _regions(truth: UInt8, reference: UInt8, mask: UInt8) -> tuple[UInt8, tuple[float, ...]]:
    """Return 0 outside the objects, else 1 more than the position in `REGION_COLOURS`."""
    is_object = (truth != 0) & (truth != IGNORED)
    by_reference, by_mask = reference == truth, mask == truth
    # 1 both, 2 the reference alone, 3 the mask alone, 4 none.
    tile: UInt8 = (4 - 2 * by_reference.view(np.uint8) - by_mask) * is_object
    counts = np.bincount(tile.ravel(), minlength=5)[1:]
    total = int(counts.sum())
    return tile, tuple((counts / total).round(4).tolist()) if total else ()


def _disagreement(masks: Sequence[UInt8]) -> float:
    if len(masks) < 2:
        return 0.0
    differs = np.any([mask != masks[0] for mask in masks[1:]], axis=0)
    return round(float(differs.mean()), 4)


def _heat(scores: NDArray[np.floating[Any]]) -> UInt8:
    """Return a map's colours, BGR."""
    # Of a large map every second pixel, or less: averaging all of them takes most of the time.
    step = max(1, 2 * max(scores.shape) // (3 * MAP_SIDE))
    some = np.nan_to_num(scores[::step, ::step].astype(np.float32), nan=0.0)
    small = fit(some, MAP_SIDE, smooth=True)
    colours: UInt8 = _INFERNO[np.rint(np.clip(small, 0.0, 1.0) * 255).astype(np.uint8)]
    return colours


def _jpeg(pixels: NDArray[Any]) -> bytes:
    """Encode a picture, uint8 BGR."""
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return bytes(encoded)


def _png(pixels: UInt8, palette: bytes) -> bytes:
    picture = Image.fromarray(pixels)
    picture.putpalette(palette)  # which makes it a picture of palette entries
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", transparency=0, compress_level=1)
    return buffer.getvalue()


_INFERNO = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_INFERNO).reshape(256, 3)
_MASK_PALETTE = voc_palette()
_REGION_PALETTE = bytes.fromhex("000000" + "".join(colour[1:] for colour in REGION_COLOURS))
