"""Pictures in a terminal, as half blocks: two pixels in the place of one letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from ws3.errors import Ws3Error
from ws3.messages import printable
from ws3.pixels import resize

_GAP = 2
_WIDEST = 48
_NARROWEST = 12


def print_pictures(console: Console, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
    """Print pictures side by side, and below each other where the terminal is too narrow.

    Args:
        console: Where to. 24-bit colours are reduced where the terminal knows fewer.
        pictures: Titles and pictures, (H, W, 3) uint8 RGB.

    Raises:
        Ws3Error: If it shows no colours, as a file or a pipe doesn't.
    """
    if console.color_system is None:
        raise Ws3Error(
            "standard output shows no colours here; write a file instead, with --output FILE"
        )
    in_a_row = max(1, min(len(pictures), (console.width + _GAP) // (_NARROWEST + _GAP)))
    width = min(_WIDEST, (console.width + _GAP) // in_a_row - _GAP, console.width)
    titles = list(pictures)
    for start in range(0, len(titles), in_a_row):
        here = titles[start : start + in_a_row]
        columns = [list(half_blocks(pictures[title], width)) for title in here]
        heads = [Text(printable(title)) for title in here]
        for head in heads:
            head.truncate(width, overflow="ellipsis", pad=True)
        gap = Text(" " * _GAP)
        for line in [heads, *(list(line) for line in zip(*columns, strict=True))]:
            console.print(gap.join(line), no_wrap=True, crop=True)


def half_blocks(picture: NDArray[np.uint8], width: int) -> Iterator[Text]:
    """Yield the lines of a picture: each letter is an upper half block over another colour.

    Args:
        picture: (H, W, 3) uint8 RGB.
        width: Letters in a line.

    Example:
        >>> picture = np.zeros((2, 1, 3), np.uint8)
        >>> picture[0] = 255, 128, 0
        >>> (line,) = half_blocks(picture, 1)
        >>> print(line, line.spans[0].style)
        ▀ #ff8000 on #000000
    """
    rows = max(1, round(picture.shape[0] * width / picture.shape[1] / 2))
    small = resize(picture, 2 * rows, width)
    for upper, lower in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
        line = Text()
        for (r, g, b), (red, green, blue) in zip(upper, lower, strict=True):
            line.append(
                "▀",
                f"#{r:02x}{g:02x}{b:02x} on #{red:02x}{green:02x}{blue:02x}",
            )
        yield line
