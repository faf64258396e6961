"""Masks as palette PNGs, written in one step and read with every byte checked."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.labels import voc_palette
from ws3.messages import reason
from ws3.outside import PICTURE_BYTES, open_regular, read_regular

COMPRESSION = 6
_END = b"\0\0\0\0IEND\xaeB`\x82"
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)


def write_mask(
    path: Path, mask: npt.NDArray[np.uint8], text: Mapping[str, str], *, palette: bool = True
) -> None:
    """Write a mask as an 8-bit PNG with the VOC palette; the same mask gives the same bytes.

    The file appears whole or not at all.

    Args:
        path: The file to write.
        mask: uint8 (H, W).
        text: Entries to keep in the file, such as the fingerprint; see `read_text`.
        palette: False: gray (mode L), for readers that would take colours of a palette PNG.

    Raises:
        ValueError: If the mask is not uint8 (H, W), or empty.
        Ws3Error: If the file can't be written, the disk being full for one.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"a mask must be uint8 (height, width), not {mask.dtype} {mask.shape}")
    image = Image.fromarray(mask)
    if palette:
        image.putpalette(voc_palette())
    entries = PngImagePlugin.PngInfo()
    for key, value in text.items():
        entries.add_text(key, value)
    buffer = io.BytesIO()
    bits = {"bits": 8} if palette else {}
    image.save(buffer, "PNG", compress_level=COMPRESSION, pnginfo=entries, **bits)
    write_bytes(path, buffer.getvalue())


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read a mask and prove it intact: every chunk's checksum, then the pixels.

    Args:
        path: An 8-bit palette or grey PNG.

    Returns:
        uint8 (H, W), the palette's indices.

    Raises:
        Ws3Error: If the file is missing, damaged, or no such PNG.
    """
    try:
        data = read_regular(path, PICTURE_BYTES)
        # Pillow: verifying stops before the last chunk, decoding skips the pixels' checksums.
        if not data.endswith(_END):
            raise ValueError("its end is missing")
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mode = image.mode
            mask = np.array(image)
    except FileNotFoundError:
        raise Ws3Error(f"there is no mask at {path}: run the stage that makes it") from None
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if mode not in ("P", "L") or mask.dtype != np.uint8:
        raise Ws3Error(f"{path} is no mask: its pixels are {mode}, not 8-bit palette indices")
    return mask


def read_text(path: Path) -> dict[str, str]:
    """Read the text entries of a mask; only the file's head is looked at.

    Args:
        path: A PNG that `write_mask` wrote.

    Returns:
        What was passed as `text`.

    Raises:
        Ws3Error: If the file is missing or its head is damaged.
    """
    try:
        with open_regular(path, PICTURE_BYTES) as file, Image.open(file, formats=["PNG"]) as image:
            return {
                str(key): str(value) for key, value in image.info.items() if isinstance(value, str)
            }
    except FileNotFoundError:
        raise Ws3Error(f"there is no mask at {path}: run the stage that makes it") from None
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> Ws3Error:
    return Ws3Error(f"{path} is damaged ({reason(error)}): delete it and make it again")


__all__ = ["COMPRESSION", "read_mask", "read_text", "write_mask"]
