"""The colours of the Pascal VOC masks."""

from __future__ import annotations


def voc_palette() -> bytes:
    """Return the VOC colour map as a PNG palette.

    Value v gets its red, green and blue from the bits 0, 1, 2 (then 3, 4, 5, ...) of v, most
    significant first, as in the VOC development kit: 0 is black, 1 is (128, 0, 0), 255 is
    (224, 224, 192).

    Returns:
        768 bytes: red, green, blue of the values 0 to 255.
    """
    palette = bytearray()
    for value in range(256):
        for channel in range(3):
            palette.append(
                sum(((value >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
            )
    return bytes(palette)
