"""Decoding of photographs and of label masks, with errors that say what to do.

Pixels are used as stored: an EXIF orientation tag is *not* applied, neither to photographs nor to
masks, so that a mask drawn on the stored pixels fits. A photograph that is upright only through
its tag should be turned for good (for example by `jpegtran` or `exiftran`) before it is used.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ws3.errors import Ws3Error
from ws3.messages import reason, shortened
from ws3.outside import PICTURE_BYTES, read_regular

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Pillow's names of the formats that are read, whatever a file's ending says. Others stay closed:
for PostScript, Pillow would start Ghostscript."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_DEEP_MODES = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_PATH = 1000  # most characters of a path in a message; real ones are shorter
_ADVICE = "replace it, or set on_bad_image: skip"


def read_bytes(path: str | Path) -> bytes:
    """Read a whole picture file.

    Raises:
        Ws3Error: If the file is missing, no regular file, larger than `PICTURE_BYTES`, or can't be
            read.
    """
    try:
        return read_regular(path, PICTURE_BYTES)
    except FileNotFoundError as error:
        raise Ws3Error(f"{shortened(str(path), _PATH)}: no such file; {_ADVICE}") from error
    except OSError as error:
        raise Ws3Error(
            f"{shortened(str(path), _PATH)}: can't be read ({reason(error)}); {_ADVICE}"
        ) from error


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def open_image(data: bytes, path: str | Path) -> Image.Image:
    """Open an image file by its content, without decoding its pixels.

    Args:
        data: The file's bytes.
        path: The file, for error messages.

    Returns:
        Pillow's image; its `format` is one of `FORMATS`, or "MPO" for a JPEG of several pictures.

    Raises:
        Ws3Error: If this is no image of these formats, or one of too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except _TOO_LARGE as error:
        raise Ws3Error(f"{path}: too large ({reason(error)}); {_ADVICE}") from error
    except UnidentifiedImageError as error:
        formats = f"none of {', '.join(FORMATS)}"
        raise Ws3Error(f"{path}: truncated or not an image ({formats}); {_ADVICE}") from error
    except _UNREADABLE as error:
        raise Ws3Error(f"{path}: truncated or not an image ({reason(error)}); {_ADVICE}") from error
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Ws3Error(
            f"{path}: too large ({image.width} x {image.height} pixels, at most {limit} in all); "
            f"{_ADVICE}"
        )
    return image


def _convert(image: Image.Image, mode: str, path: str | Path) -> Image.Image:
    try:
        if "transparency" in image.info and mode == "RGB":
            image = image.convert("RGBA")
        return image.convert(mode)
    except _UNREADABLE as error:
        raise Ws3Error(f"{path}: truncated or not an image ({reason(error)}); {_ADVICE}") from error


def decode_rgb(data: bytes, path: str | Path) -> npt.NDArray[np.uint8]:
    """Decode a photograph.

    Gray, palette, CMYK and other 8-bit modes are converted; transparency is dropped. An EXIF
    orientation tag is not applied (see the module's description).

    Args:
        data: The file's bytes.
        path: The file, for error messages.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        Ws3Error: If the file is truncated, no image, too large, or has 16-bit or float pixels.
    """
    image = open_image(data, path)
    if image.mode in _DEEP_MODES:
        raise Ws3Error(
            f"{path}: pixels of mode {image.mode} (16-bit, 32-bit or float) have no defined "
            "brightness; convert it to 8 bits per channel, or set on_bad_image: skip"
        )
    return np.array(_convert(image, "RGB", path))


def decode_label_mask(data: bytes, path: str | Path) -> npt.NDArray[np.uint8]:
    """Decode a mask of class values: the palette indices or gray values as stored.

    Args:
        data: The bytes of a PNG, palette or 8-bit grayscale.
        path: The file, for error messages.

    Returns:
        uint8 (height, width): 0 background, class i of the class list as i + 1, 255 ignored.

    Raises:
        Ws3Error: If the file is truncated, no PNG, or holds colours or 16-bit values.
    """
    image = open_image(data, path)
    wanted = "masks are PNGs of class values, palette or 8-bit grayscale"
    if image.format != "PNG":
        raise Ws3Error(f"{path}: the mask is a {image.format} file, but {wanted}; convert it")
    if image.mode in _DEEP_MODES:
        raise Ws3Error(f"{path}: the mask has 16-bit values, but {wanted}; convert it")
    if image.mode not in ("P", "L", "1"):
        raise Ws3Error(
            f"{path}: the mask holds colours (mode {image.mode}), but {wanted}; convert each "
            "colour to its class value"
        )
    # Fewer gray bits are stretched to 0..255 when decoded: 1 may mean the class 1 or "white".
    bits = data[24]
    if image.mode != "P" and bits < 8:
        raise Ws3Error(f"{path}: the mask has {bits}-bit gray values, but {wanted}; convert it")
    return np.array(_convert(image, image.mode, path))


def lost_ignored(data: bytes, mask: npt.NDArray[np.uint8]) -> int:
    """Return the value that may stand for a lost 255, or 0.

    Writers store palette PNGs of up to 16 colours with 2 or 4 bits per pixel, and cut 255 to the
    largest value that fits: 3 or 15.

    Args:
        data: The bytes of the mask's PNG.
        mask: What was decoded from it.
    """
    bits, is_palette = data[24], data[25] == 3
    largest = 2**bits - 1
    return largest if is_palette and bits in (2, 4) and bool((mask == largest).any()) else 0


def read_label_mask(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read a mask file; see `decode_label_mask`.

    Returns:
        uint8 (height, width): 0 background, class i of the class list as i + 1, 255 ignored.

    Raises:
        Ws3Error: If the file is missing, truncated, no PNG, or holds colours or 16-bit values.
    """
    return decode_label_mask(read_bytes(path), path)
