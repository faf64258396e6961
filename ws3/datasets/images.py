"""Decoding of photographs, with errors that say what to do.

Pixels are used as stored unless a dataset asks for `exif: upright`: an EXIF orientation tag is
*not* applied, neither to photographs nor to masks, so that a mask drawn on the stored pixels fits.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ws3.errors import Ws3Error
from ws3.messages import reason, shortened
from ws3.outside import PICTURE_BYTES, read_regular

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Pillow's names of the formats that are read, whatever a file's ending says. Others stay closed:
for PostScript, Pillow would start Ghostscript."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_DEEP_MODES = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
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


def digest(data: bytes, coding: str = "") -> str:
    """Return what tells a file's pixels: the SHA-256 of its bytes, and of how they are read.

    Args:
        data: The file's bytes.
        coding: See `ws3.datasets.masks`; of a photograph, only whether it is upright.
    """
    return sha256(coding.encode() + b"\0" + data if coding else data)


def photograph_coding(coding: str) -> str:
    """Return the part of a row's coding that concerns the photograph.

    Example:
        >>> photograph_coding("upright+binary"), photograph_coding("binary")
        ('upright', '')
    """
    return "upright" if "upright" in coding.split("+") else ""


def is_turned(data: bytes, path: str | Path) -> bool:
    """Return whether a photograph's EXIF tag has readers exchange its width and height."""
    image = open_image(data, path)
    if image.format == "PNG" and "exif" not in image.info:
        return False  # Pillow would decode all of it to look for a tag behind the pixels
    return image.getexif().get(_ORIENTATION) in _SIDEWAYS


def decode_with(decode: Callable[[], Image.Image], path: str | Path) -> Image.Image:
    """Return what a step of Pillow's decoding gives.

    Raises:
        Ws3Error: If the file is truncated or malformed.
    """
    try:
        return decode()
    except _UNREADABLE as error:
        raise Ws3Error(f"{path}: truncated or not an image ({reason(error)}); {_ADVICE}") from error


def convert(image: Image.Image, mode: str, path: str | Path) -> Image.Image:
    """Decode an image's pixels in a mode of Pillow's.

    Raises:
        Ws3Error: If the file is truncated or malformed.
    """
    if "transparency" in image.info and mode == "RGB":
        image = decode_with(lambda: image.convert("RGBA"), path)
    return decode_with(lambda: image.convert(mode), path)


def decode_rgb(data: bytes, path: str | Path, coding: str = "") -> npt.NDArray[np.uint8]:
    """Decode a photograph.

    Gray, palette, CMYK and other 8-bit modes are converted; transparency is dropped. An EXIF
    orientation tag is applied only where the coding says so (see the module's description).

    Args:
        data: The file's bytes.
        path: The file, for error messages.
        coding: The row's; see `ws3.datasets.masks`.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        Ws3Error: If the file is truncated, no image, too large, or has 16-bit or float pixels.
    """
    return np.array(_rgb(data, path, coding))


def decoded_size(data: bytes, path: str | Path, coding: str = "") -> tuple[int, int]:
    """Decode a photograph to see that it can be decoded; return its height and width in pixels.

    It takes what `decode_rgb` takes, and raises what that raises, but makes no array of the pixels.
    """
    width, height = _rgb(data, path, coding).size
    return height, width


def _rgb(data: bytes, path: str | Path, coding: str) -> Image.Image:
    image = open_image(data, path)
    if image.mode in _DEEP_MODES:
        raise Ws3Error(
            f"{path}: pixels of mode {image.mode} (16-bit, 32-bit or float) have no defined "
            "brightness; convert it to 8 bits per channel, or set on_bad_image: skip"
        )
    if photograph_coding(coding):
        image = decode_with(lambda: ImageOps.exif_transpose(image), path)
    return convert(image, "RGB", path)
