"""What a reader of a tool's format found: pictures with labels, splits and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Split = Literal["train", "val", "test"]

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders and lists, in small letters, and the splits that they mean."""

Draw = Callable[[int, int], "npt.NDArray[np.uint8]"]
"""Draws a mask of a picture's height and width, uint8 (H, W): class values of `Found.classes`
(i + 1 for class i), 0 background, 255 ignored. Raises `Ws3Error` if the source is damaged."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as the tool's files describe it.

    Attributes:
        path: The image file.
        labels: Names of the classes that it shows; empty for one that shows none of them.
        split: Where the tool put it; None if it tells no splits.
        draw: Draws its ground-truth mask; None if there is none. It reads nothing before it is
            called.
    """

    path: Path
    labels: tuple[str, ...]
    split: Split | None = None
    draw: Draw | None = None


@dataclass(frozen=True)
class Found:
    """A dataset as it was found.

    Attributes:
        kind: What it was taken for, as in "COCO instances".
        reason: What told so, as in "annotations/instances_train.json holds images, annotations and
            categories".
        classes: Names of the classes in the tool's own order, background left out.
        pictures: In the tool's order, each file once.
        notes: What users should know, each a sentence without a dot: what was left out and how
            many, what was read in which of two ways.
    """

    kind: str
    reason: str
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
