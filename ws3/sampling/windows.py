"""Random windows that cover the whole image, and windows that slide over it.

For random ones, the image is divided into a grid of cells, none larger than the smallest window.
Window k must contain cell k of a seeded order of the cells; within that constraint its side and its
place come from a low-discrepancy sequence. So every run of as many windows as there are cells
covers every pixel, and window k stays the same when more windows are asked for. The paper's own way
of placing crops is not public; this one is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from ws3.sampling.seeds import stream

# Kronecker sequence in three dimensions: powers of the inverse of the root of x^4 = x + 1
# (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").
_ROOT = 1.2207440846057596
_STEPS = np.array([_ROOT**-1, _ROOT**-2, _ROOT**-3])


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of the window."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


def windows_to_cover(height: int, width: int, side: tuple[float, float]) -> int:
    """Return the smallest number of windows that is sure to cover every pixel.

    It is ceil(height / a) x ceil(width / a) for the smallest window's side a in pixels: for a
    side from 0.4 of the short side up, 9 on a square image and 12 on a 3:4 one.
    """
    rows, columns = _grid(height, width, side)
    return rows * columns


class WindowSequence:
    """The windows of one image, by number."""

    def __init__(
        self, height: int, width: int, side: tuple[float, float], seed: int, recipe: str, image: str
    ) -> None:
        self._height, self._width, self._side = height, width, side
        self._rows, self._columns = _grid(height, width, side)
        draw = stream(seed, recipe, image, -1, "windows")
        self._shift = draw.random(3)
        self._cells = draw.permutation(self._rows * self._columns)

    def __getitem__(self, number: int) -> Window:
        """Return window `number`, counted from 0."""
        row, column = divmod(int(self._cells[number % len(self._cells)]), self._columns)
        scale, down, right = (self._shift + (number + 1) * _STEPS) % 1.0
        short = min(self._height, self._width)
        low, high = self._side
        drawn = round(short * (low + (high - low) * scale))
        side = min(max(drawn, _smallest(self._height, self._width, self._side)), short)
        return Window(
            top=_place(self._height, self._rows, row, side, down),
            left=_place(self._width, self._columns, column, side, right),
            height=side,
            width=side,
        )


def sliding_windows(
    height: int, width: int, scales: Sequence[float], step: float
) -> tuple[Window, ...]:
    """Return the windows that slide over an image at several sizes, row by row.

    At scale s a window's side is the image's short side / s, rounded up. A window that would leave
    the image is moved back to its border. Each scale's windows cover every pixel.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        scales: At least 1.
        step: From a window to the next, as a share of its side; at most 1.

    Example:
        >>> for one in sliding_windows(60, 80, [1], 1.0):
        ...     print(one.top, one.left, one.width)
        0 0 60
        0 20 60
        >>> len(sliding_windows(60, 80, [1, 2], 1.0))
        8
    """
    short = min(height, width)
    windows = []
    for scale in scales:
        exact = short / scale
        side = min(short, math.ceil(exact))
        rows, columns = (_starts(length, side, step * exact) for length in (height, width))
        windows += [Window(top, left, side, side) for top in rows for left in columns]
    return tuple(windows)


def _starts(length: int, side: int, step: float) -> list[int]:
    starts: list[int] = []
    for number in count():
        start = math.floor(number * step)
        if start + side >= length:
            return [*starts, length - side]
        starts.append(start)
    return starts


def _smallest(height: int, width: int, side: tuple[float, float]) -> int:
    return max(1, round(min(height, width) * side[0]))


def _grid(height: int, width: int, side: tuple[float, float]) -> tuple[int, int]:
    smallest = _smallest(height, width, side)
    return -(-height // smallest), -(-width // smallest)


def _place(length: int, cells: int, cell: int, side: int, share: float) -> int:
    """Return the start of a window of `side` pixels that contains the cell and stays inside."""
    begin, end = cell * length // cells, (cell + 1) * length // cells
    first, last = max(0, end - side), min(begin, length - side)
    return first + min(int(share * (last - first + 1)), last - first)
