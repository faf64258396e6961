"""The page of all images: what is known of each, written as scripts that a page can load.

A page that is opened from a disk may load scripts and pictures beside it, but no other data. So
`images/index.js` holds what the list is sorted and searched by, and `images/facts-<n>.js` what is
only shown of an image that is looked at, `PAGE` images in each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ws3.files import write_bytes
from ws3.metrics.image_counts import COUNTS, ImageCounts
from ws3.report.pictures import class_hex

PAGE = 500
"""Images whose facts are in one file."""

_SLICE = 1000
_LOAD = "ws3.load"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the page says of one image.

    Attributes:
        image: What to call it.
        file: The beginning of its pictures' names, without their endings.
        split: Its split.
        labels: Positions of its classes in the class list, from 0.
        size: Width and height in pixels.
        truth: Whether there is ground truth.
        shares: See `ws3.report.image_pictures.ImagePictures`.
        disagreement: See there, too.
    """

    image: str
    file: str
    split: str
    labels: tuple[int, ...]
    size: tuple[int, int]
    truth: bool
    shares: tuple[tuple[float, ...], ...]
    disagreement: float


@dataclass(frozen=True, slots=True)
class Layer:
    """A recipe's masks, or a network's predictions.

    Attributes:
        recipe: Name of the recipe.
        stage: `masks` or `segmentation`.
        iou: By position of the image: mean IoU of the classes in ground truth or mask, background
            included, in thousandths; None where it isn't measured.
        contradictions: By position of the image: how many labelled classes the mask doesn't show,
            and classes that it shows without a label; None where it isn't measured.
        confidence: By position of the image: mean confidence of the mask's pixels, in thousandths;
            None where it isn't stored. Empty if it is stored of no image.
    """

    recipe: str
    stage: str
    iou: Sequence[int | None]
    contradictions: Sequence[int | None]
    confidence: Sequence[int | None] = ()


def image_figures(
    counts: ImageCounts, labels: Mapping[str, frozenset[int]]
) -> dict[str, tuple[int | None, int]]:
    """Return IoU and contradictions of each image, as `Layer` has them.

    Args:
        counts: Of one recipe, stage and split.
        labels: The mask values of each image's classes.

    Returns:
        By image: the mean over classes of tp / (tp + fp + fn), in thousandths, None if no class is
        in ground truth or mask; and the number of contradictions.
    """
    size = counts.classes + 1
    found: dict[str, tuple[int | None, int]] = {}
    for start in range(0, len(counts.images), _SLICE):
        images = counts.images[start : start + _SLICE]
        table = counts.table[:, start : start + _SLICE].toarray()
        hits, wrong, missed = table.reshape(len(COUNTS), size, len(images))[:3]
        union = hits + wrong + missed
        present = union > 0
        iou = np.divide(hits, union, out=np.zeros(union.shape), where=present).sum(axis=0)
        classes, shows = present.sum(axis=0), hits + wrong > 0
        for place, image in enumerate(images):
            shown = frozenset((np.flatnonzero(shows[1:, place]) + 1).tolist())
            mean = round(1000 * iou[place] / classes[place]) if classes[place] else None
            found[image] = (mean, len(shown ^ labels[image]))
    return found


def write_image_index(
    folder: Path,
    images: Sequence[ImageFacts],
    layers: Sequence[Layer],
    *,
    recipes: Sequence[str],
    classes: Sequence[str],
    reference: str,
) -> None:
    """Write the scripts that the page loads.

    Args:
        folder: Where the pictures are.
        images: What is known of each image.
        layers: Masks of the recipes, then predictions of the networks, as their tiles lie.
        recipes: Recipes that have maps and masks, as their tiles lie.
        classes: Class names, in class-list order.
        reference: The recipe that gains and regions are relative to.
    """
    splits = list(dict.fromkeys(facts.split for facts in images))
    stages = ("masks", "segmentation")
    _write(
        folder / "index.js",
        {
            "page": PAGE,
            "classes": list(classes),
            "colours": [class_hex(place) for place in range(len(classes))],
            "splits": splits,
            "recipes": list(recipes),
            "reference": reference,
            "names": [facts.image for facts in images],
            "files": {
                str(place): facts.file
                for place, facts in enumerate(images)
                if facts.file != facts.image
            },
            "split": [splits.index(facts.split) for facts in images],
            "ratio": [round(facts.size[0] / facts.size[1], 4) for facts in images],
            "truth": [int(facts.truth) for facts in images],
            "labels": [list(facts.labels) for facts in images],
            "disagreement": [round(1000 * facts.disagreement) for facts in images],
            "layers": [
                {
                    "recipe": layer.recipe,
                    "stage": stages.index(layer.stage),
                    "iou": list(layer.iou),
                    "contradictions": list(layer.contradictions),
                    **({"confidence": list(layer.confidence)} if layer.confidence else {}),
                }
                for layer in layers
            ],
        },
    )
    for page, start in enumerate(range(0, len(images), PAGE)):
        some = images[start : start + PAGE]
        _write(folder / f"facts-{page}.js", {"number": page, "shares": [f.shares for f in some]})


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Write a call with plain data; outside ASCII and as `<` nothing is left in it."""
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    write_bytes(path, f"{_LOAD}({text});\n".encode())
