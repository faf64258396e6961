"""Decoding of ground-truth masks into class values, in the ways that datasets write them.

A row's `coding` says in which way, joined by '+'; the empty text is plain class values:

- `upright`: photograph and mask are turned as their EXIF tags say;
- `colors-<digest>`: each colour stands for a class, by a table with this digest;
- `reduced`: 0 means that nothing is known, and not background (MMSegmentation's
  `reduce_zero_label`);
- `binary`: there is one class, which the picture shows, and a mask of 0 and 255 alone marks it
  by 255.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ws3.datasets.images import convert, decode_with, open_image, read_bytes
from ws3.errors import Ws3Error
from ws3.labels import IGNORED

LOSSLESS = ("PNG", "TIFF", "BMP", "GIF")
"""Pillow's names of the formats that a mask can have."""

_WANTED = "masks hold class values, palette or 8-bit grayscale"
_ALPHA = {"LA": "L", "RGBA": "RGB", "PA": "P"}
_SHOWN = 8
Colors = Mapping[tuple[int, int, int], int]


def decode_label_mask(
    data: bytes, path: str | Path, coding: str = "", colors: Colors | None = None
) -> npt.NDArray[np.uint8]:
    """Decode a mask of class values: the palette indices or gray values as stored.

    Gray may lie in three equal channels, or in 16 bits of which 8 are used.

    Args:
        data: The bytes of a file in a lossless format.
        path: The file, for error messages.
        coding: See the module's description.
        colors: The class value of each colour, red, green, blue; only for a mask that is coded in
            colours.

    Returns:
        uint8 (height, width): 0 background, class i of the class list as i + 1, 255 ignored.

    Raises:
        Ws3Error: If the file is truncated, in a lossy format, or holds colours without a table or
            values that don't fit.
    """
    codes = coding.split("+")
    image = open_image(data, path)
    if image.format not in LOSSLESS:
        raise Ws3Error(
            f"{path}: the mask is a {image.format} file, but masks are {', '.join(LOSSLESS)}; draw "
            "it again, as a lossy format has changed its values"
        )
    if "upright" in codes:
        image = decode_with(lambda: ImageOps.exif_transpose(image), path)
    values = _values(image, data, path, colors, binary="binary" in codes)
    if "reduced" in codes:
        values[values == 0] = IGNORED
    if "binary" in codes and set(values_of(values)) <= {0, IGNORED}:
        values[values == IGNORED] = 1
    return values


def read_label_mask(
    path: str | Path, coding: str = "", colors: Colors | None = None
) -> npt.NDArray[np.uint8]:
    """Read a mask file; see `decode_label_mask`.

    Returns:
        uint8 (height, width): 0 background, class i of the class list as i + 1, 255 ignored.

    Raises:
        Ws3Error: If the file is missing, or can't be decoded.
    """
    return decode_label_mask(read_bytes(path), path, coding, colors)


def values_of(mask: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the values that a mask holds, in ascending order."""
    return tuple(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())


def lost_ignored(data: bytes, mask: npt.NDArray[np.uint8], coding: str = "") -> int:
    """Return the value that may stand for a lost 255, or 0.

    Writers store palette PNGs of up to 16 colours with 2 or 4 bits per pixel, and cut 255 to the
    largest value that fits: 3 or 15.

    Args:
        data: The bytes of the mask's file.
        mask: What was decoded from it.
        coding: How it was decoded.
    """
    if coding not in ("", "upright") or not data.startswith(b"\x89PNG"):
        return 0
    bits, is_palette = data[24], data[25] == 3
    largest = 2**bits - 1
    return largest if is_palette and bits in (2, 4) and bool((mask == largest).any()) else 0


def _values(
    image: Image.Image, data: bytes, path: str | Path, colors: Colors | None, *, binary: bool
) -> npt.NDArray[np.uint8]:
    mode = image.mode
    if mode in _ALPHA:
        alpha = np.array(decode_with(lambda: image.getchannel("A"), path))
        if (alpha != 255).any():
            raise Ws3Error(
                f"{path}: the mask is transparent in places, but {_WANTED}; save it without "
                "transparency"
            )
        image, mode = convert(image, _ALPHA[mode], path), _ALPHA[mode]
    if mode == "1" and binary:
        return np.array(convert(image, "L", path)) // 255 * np.uint8(255)
    if colors is not None and mode in ("P", "RGB"):
        return _colored(np.array(convert(image, "RGB", path)), colors, path)
    if mode == "RGB":
        return _gray(np.array(convert(image, "RGB", path)), path)
    if mode.startswith("I"):
        deep = np.array(decode_with(image.copy, path))
        if deep.min() < 0 or deep.max() > 255:
            raise Ws3Error(
                f"{path}: the mask has 16-bit values up to {deep.max()}, but {_WANTED}; convert it"
            )
        return deep.astype(np.uint8)
    # Fewer gray bits are stretched to 0..255 when decoded: 1 may mean the class 1 or "white".
    bits = data[24] if image.format == "PNG" or data.startswith(b"\x89PNG") else 8
    if mode == "1" or (mode == "L" and bits < 8 and not binary):
        bits = 1 if mode == "1" else bits
        raise Ws3Error(f"{path}: the mask has {bits}-bit gray values, but {_WANTED}; convert it")
    if mode not in ("P", "L"):
        raise Ws3Error(
            f"{path}: the mask holds colours (mode {mode}), but {_WANTED}; convert each colour to "
            "its class value"
        )
    return np.array(convert(image, mode, path))


def _gray(pixels: npt.NDArray[np.uint8], path: str | Path) -> npt.NDArray[np.uint8]:
    if (pixels[..., :1] != pixels[..., 1:]).any():
        raise Ws3Error(
            f"{path}: the mask holds colours (mode RGB), but {_WANTED}; let ws3 import FOLDER "
            "read the dataset, which knows Pascal VOC's colours, or, with kind: folder, name the "
            "class of each colour with dataset.colors"
        )
    return pixels[..., 0].copy()


def _colored(
    pixels: npt.NDArray[np.uint8], colors: Colors, path: str | Path
) -> npt.NDArray[np.uint8]:
    codes = (pixels.astype(np.int32) * np.array([1 << 16, 1 << 8, 1], np.int32)).sum(axis=2)
    found, places = np.unique(codes, return_inverse=True)
    table = {
        (red << 16) + (green << 8) + blue: value for (red, green, blue), value in colors.items()
    }
    unknown = [code for code in found.tolist() if code not in table]
    if unknown:
        named = [f"({code >> 16}, {code >> 8 & 255}, {code & 255})" for code in unknown[:_SHOWN]]
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise Ws3Error(
            f"{path}: dataset.colors has no class for the colour {', '.join(named)}{more}; soft "
            "edges and lossy formats make colours that aren't in the table"
        )
    values = np.array([table[code] for code in found.tolist()], np.uint8)
    return values[places].reshape(codes.shape)
