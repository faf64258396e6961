"""Regions of COCO annotations, every number checked before pycocotools gets it.

pycocotools hands numbers on to C code that doesn't check them: malformed ones end the process, or
give a mask of other pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from ws3.labels import IGNORED
from ws3.messages import shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_PIXELS = 10**8
"""Most pixels of a picture whose mask is drawn."""
MAX_OUTLINE = 10**7
"""Longest outline of a polygon, in pixels."""
_SHORTEST_POLYGON = 6  # three points; pycocotools would take four numbers for a box


def checked_size(height: Any, width: Any) -> tuple[int, int]:
    """Return a picture's height and width in pixels.

    Raises:
        ValueError: If one is no positive whole number, or there are more than `MAX_PIXELS`.
    """
    for name, side in (("height", height), ("width", width)):
        if not _is_whole(side) or side < 1:
            raise ValueError(f"its {name} is {shown(side)}, not a positive whole number")
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"it has {shown(height)} x {shown(width)} pixels, and at most {MAX_PIXELS} are drawn"
        )
    return height, width


def checked_crowd(value: Any) -> bool:
    """Return whether an annotation is a crowd; absent and null mean that it isn't.

    Raises:
        ValueError: If the value is neither 0 nor 1.
    """
    if value is not None and not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"iscrowd is {shown(value)}, not 0 or 1")
    return bool(value)


def checked_area(value: Any) -> float | None:
    """Return an annotation's area in pixels, or None if it is absent or null.

    Raises:
        ValueError: If it is no finite number from 0.
    """
    if value is None:
        return None
    if not _is_finite(value) or value < 0:
        raise ValueError(f"its area is {shown(value)}, not a number from 0")
    return float(value)


def encode_region(region: Any, height: int, width: int) -> Any:
    """Return a region as pycocotools' compressed run lengths, if its numbers are in order.

    Args:
        region: An annotation's `segmentation`: a list of polygons, each x, y, x, y, ... in pixels,
            or run lengths, as numbers or as COCO's compressed text.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Raises:
        ValueError: If the region has another form, a polygon has an odd number of coordinates or
            fewer than three points, a coordinate is not finite or far outside the picture, an
            outline is longer than `MAX_OUTLINE`, or the run lengths are for another size or don't
            sum to the picture's pixels.
    """
    # Imported here: a listing does without it.
    from pycocotools import mask as rle

    if isinstance(region, list):
        for number, polygon in enumerate(region, start=1):
            _check_polygon(f"polygon {number}", polygon, height, width)
        return rle.merge(rle.frPyObjects(region, height, width))
    if not isinstance(region, dict):
        raise ValueError(
            f"its segmentation is {shown(region)}, not a list of polygons or run lengths"
        )
    size, counts = region.get("size"), region.get("counts")
    if size != [height, width] or not all(map(_is_whole, size)):
        raise ValueError(
            f"its run lengths have the size {shown(size)}, but the picture's height and width are "
            f"[{height}, {width}]"
        )
    if isinstance(counts, list):
        _check_counts(counts, height * width)
        return rle.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    if isinstance(counts, str):
        _check_counts(_from_text(counts, height * width), height * width)
        return {"size": [height, width], "counts": counts}
    raise ValueError(f"its run lengths are {shown(counts)}, not a list or a text")


def area_of(encoded: Any) -> float:
    """Return the number of pixels of a region that `encode_region` returned."""
    from pycocotools import mask as rle

    return float(rle.area(encoded))


class Layer(NamedTuple):
    """A region that is ready to be drawn.

    Attributes:
        value: The class value, or 255 for pixels that are ignored.
        area: In pixels.
        encoded: As `encode_region` returns it.
        level: Regions of a higher level lie above those of lower ones, whatever their areas.
    """

    value: int
    area: float
    encoded: Any
    level: int = 0


def stacked(layers: Iterable[Layer], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the mask of some regions: where they overlap, the one of the smaller area is on top.

    Ignored regions lie below all others. One region at a time is decoded, as thousands of a large
    picture don't fit in memory together.

    Args:
        layers: The regions.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Returns:
        uint8 (height, width), 0 where no region is.
    """
    import numpy as np
    from pycocotools import mask as rle

    # Run lengths go column by column, and so quicker into an array of this order.
    mask = np.zeros((height, width), np.uint8, order="F")
    for layer in sorted(layers, key=lambda one: (one.value != IGNORED, one.level, -one.area)):
        mask[rle.decode(layer.encoded).astype(bool)] = layer.value
    return np.ascontiguousarray(mask)


def _check_polygon(name: str, polygon: Any, height: int, width: int) -> None:
    if not isinstance(polygon, list):
        raise ValueError(f"its {name} is {shown(polygon)}, not a list of coordinates")
    if len(polygon) % 2:
        raise ValueError(f"its {name} has an odd number of coordinates ({len(polygon)})")
    if len(polygon) < _SHORTEST_POLYGON:
        raise ValueError(f"its {name} has {len(polygon) // 2} points, and three are the least")
    if _is_surely_fine(polygon, height, width):
        return
    for number, value in enumerate(polygon):
        side = height if number % 2 else width
        # Outlines may leave the picture a little; pycocotools cuts them off there.
        if not _is_finite(value) or not -side <= value <= 2 * side:
            raise ValueError(
                f"its {name} has the coordinate {shown(value)}, not a number from {-side} to "
                f"{2 * side}"
            )
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    outline = sum(
        max(abs(x - next_x), abs(y - next_y))
        for (x, y), (next_x, next_y) in pairwise([*points, points[0]])
    )
    if outline > MAX_OUTLINE:
        raise ValueError(
            f"its {name} has an outline of {outline:.0f} pixels, and {MAX_OUTLINE} are the most"
        )


def _is_surely_fine(polygon: list[Any], height: int, width: int) -> bool:
    """Return whether a quick look finds no fault: COCO has millions of points, hardly one wrong."""
    if not set(map(type, polygon)) <= {int, float}:
        return False
    # No side of an outline is longer than what its coordinates may span.
    if len(polygon) // 2 * 3 * max(height, width) > MAX_OUTLINE:
        return False
    across, down = polygon[::2], polygon[1::2]
    # A NaN compares as it comes, so the sum is asked, too.
    return (
        -width <= min(across)
        and max(across) <= 2 * width
        and -height <= min(down)
        and max(down) <= 2 * height
        and not math.isnan(sum(polygon))
    )


def _check_counts(counts: list[Any], pixels: int) -> None:
    for count in counts:
        if not _is_whole(count) or count < 0:
            raise ValueError(f"it has the run length {shown(count)}, not a whole number from 0")
    total = sum(counts)
    if total != pixels:
        raise ValueError(
            f"its run lengths sum to {shown(total)}, but the picture has {pixels} pixels"
        )


def _from_text(text: str, pixels: int) -> list[int]:
    """Return the run lengths of COCO's compressed text.

    Each is written in groups of five bits, the lowest first; a sixth bit says that another group
    follows. From the fourth run length on, it is the difference to the last but one.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its compressed run lengths hold {shown(letter)}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            if shift > 30:
                raise ValueError("its compressed run lengths hold a number that is too long")
            continue
        if bits & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        if not 0 <= value <= pixels:
            raise ValueError(
                f"its compressed run lengths hold {value}, not a number from 0 to {pixels}"
            )
        counts.append(value)
        value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths end in the midst of a number")
    return counts


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False
