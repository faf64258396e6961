"""Pictures whose objects a tool lists one by one, outlined or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ws3.datasets.importing.found import Draw, Found, Split
from ws3.datasets.importing.outlines import Region, paint
from ws3.datasets.importing.reading import NO_LABEL, Gathering, class_values, counted
from ws3.datasets.importing.tree import Tree
from ws3.datasets.names import is_background
from ws3.errors import Ws3Error
from ws3.labels import IGNORED
from ws3.messages import shortened

Outline = Callable[[int, int], Any]
"""Returns an object's region for a picture of a height and width; see `Region.segmentation`.
Raises ValueError if its numbers are wrong."""

_IGNORE_NAMES = {"__ignore__", "_ignore_"}


class Object(NamedTuple):
    """One object, or a label of the whole picture.

    Attributes:
        label: The class.
        outline: Its region; None if there is none.
        whole: Whether the label is of the whole picture, and tells no place.
        layer: Objects of higher layers lie on top.
    """

    label: str
    outline: Outline | None = None
    whole: bool = False
    layer: int = 0


@dataclass
class _Entry:
    reference: str
    objects: list[Object]
    split: Split | None
    beside: str
    source: str


@dataclass
class ObjectPictures:
    """Gathers pictures with their objects, and draws masks where every object has an outline.

    Attributes:
        tree: Where the pictures lie.
        source: What names them, for messages.
        notes: What users should know.
    """

    tree: Tree
    source: str
    notes: list[str] = field(default_factory=list)
    _entries: list[_Entry] = field(default_factory=list)
    _by_reference: dict[tuple[str, str], _Entry] = field(default_factory=dict)

    def add(
        self,
        reference: str,
        objects: Iterable[Object],
        split: Split | None = None,
        beside: str = "",
        file: str = "",
    ) -> None:
        """Take in a picture; one that comes again gets the objects of both places.

        An object without an outline, and not of the whole picture, leaves its picture without a
        mask: leave out the box of an object whose outline is taken in.

        Args:
            reference: See `Gathering.add`.
            objects: What it shows.
            split: See `Gathering.add`.
            beside: See `Gathering.add`.
            file: Name of the file that tells its objects, for messages; empty: `beside`.
        """
        kept = [one for one in objects if one.label.strip().lower() not in NO_LABEL]
        known = self._by_reference.get((reference, beside))
        if known is not None:
            known.objects += kept
            return
        told = file or beside
        source = str(self.tree.path(told)) if told else self.source
        entry = _Entry(reference, kept, split, beside, source)
        self._by_reference[reference, beside] = entry
        self._entries.append(entry)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in the order in which they came."""
        names = (one.label for entry in self._entries for one in entry.objects)
        return tuple(dict.fromkeys(name for name in names if not _is_none(name)))

    def found(self, kind: str, reason: str, classes: Iterable[str] | None = None) -> Found:
        """Return all that was gathered.

        Args:
            kind: See `Found`.
            reason: See `Found`.
            classes: In order of mask values; None sorts the labels that came.

        Raises:
            Ws3Error: If none of the pictures is there, or none has a label.
        """
        order = sorted(self.labels) if classes is None else list(classes)
        names = [name for name in dict.fromkeys(order) if not _is_none(name)]
        names += [name for name in self.labels if name not in names]
        values = class_values(names)
        outlined = any(one.outline for entry in self._entries for one in entry.objects)
        gathered = Gathering(self.tree, self.source, self.notes)
        boxes = without = 0
        for entry in self._entries:
            labels = [one.label for one in entry.objects if not _is_none(one.label)]
            draw = self._draw(entry, values) if outlined else None
            boxes += sum(one.outline is None and not one.whole for one in entry.objects)
            without += outlined and draw is None
            gathered.add(entry.reference, labels, entry.split, draw, entry.beside)
        if boxes and not outlined:
            gathered.notes.append(
                f"{counted(boxes, 'object')} without an outline: a label, no mask"
            )
        if without:
            gathered.notes.append(
                f"{counted(without, 'picture')} without a mask, as not every object has an outline"
            )
        return gathered.found(kind, reason, names)

    def _draw(self, entry: _Entry, values: dict[str, int]) -> Draw | None:
        objects = [one for one in entry.objects if one.outline]
        whole = {one.label for one in entry.objects if one.whole and not _is_none(one.label)}
        if whole - {one.label for one in objects}:
            return None
        bare = (one.label for one in entry.objects if not one.outline and not one.whole)
        if not all(map(is_background, bare)):
            return None
        source, reference = entry.source, entry.reference

        def draw(height: int, width: int) -> npt.NDArray[np.uint8]:
            try:
                regions = [
                    Region(_value(one.label, values), one.outline(height, width), one.layer)
                    for one in objects
                    if one.outline
                ]
                return paint(regions, height, width)
            except ValueError as error:
                raise Ws3Error(
                    f"{source}: {shortened(reference)}: {error}; correct this outline or take it "
                    "out"
                ) from error

        return draw


def _is_none(label: str) -> bool:
    return is_background(label) or label in _IGNORE_NAMES


def _value(label: str, values: dict[str, int]) -> int:
    return IGNORED if label in _IGNORE_NAMES else values.get(label, 0)


def polygon(points: Iterable[Sequence[Any]], scale: float | None = None) -> Outline:
    """Return the outline of a polygon.

    Args:
        points: x, y of each corner.
        scale: None for pixels; else what the picture's whole width and height are, 1 or 100.
    """
    corners = [tuple(point) for point in points]

    def outline(height: int, width: int) -> Any:
        flat: list[Any] = []
        for corner in corners:
            if len(corner) != 2 or not all(_is_number(number) for number in corner):
                raise ValueError("an outline's point is no pair of numbers")
            x, y = corner
            flat += [x, y] if scale is None else [x / scale * width, y / scale * height]
        return [flat]

    return outline


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
