"""`evaluation/<recipe>.images.csv`: what each image adds to the pooled counts of a recipe.

One row per split, image, stage and class that occurs in the ground truth or the mask of the image,
or has a map there; the background (class 0) has a row for every image. The columns after the class
are `ws3.metrics.image_counts.PIXEL_COUNTS`, in pixels; a pixel that is 255 in ground truth or mask
counts nowhere. The sum over the rows of a split and stage gives the figures of `summary.csv`. The
last column has, at the stage `maps`, the `SCORE_COUNTS` of the class's map with blanks between.
"""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ws3.errors import StaleResultError
from ws3.files import csv_file, sha256
from ws3.metrics.image_counts import PIXEL_COUNTS, ImageCounts
from ws3.outside import TEXT_BYTES, open_regular
from ws3.run.folder import Run
from ws3.run.records import Evaluation

COLUMNS = ("split", "stage", "image", "class", *PIXEL_COUNTS, "scores")

CountsBySplit = dict[tuple[str, str], ImageCounts]
"""The counts of a recipe, by split and stage."""


@contextmanager
def writing_image_counts(
    path: Path,
) -> Iterator[Callable[[str, str, str, npt.NDArray[np.int64]], None]]:
    """Yield what adds an image: (split, stage, its id, int64 (`COUNTS`, classes + 1)).

    Rows go to the disk as they come; the file is in place when the block ends.
    """
    with csv_file(path) as write:
        write(COLUMNS)

        def add(split: str, stage: str, image: str, table: npt.NDArray[np.int64]) -> None:
            for value, counts in enumerate(table.T.tolist()):
                if value == 0 or any(counts):
                    pixels, scores = counts[: len(PIXEL_COUNTS)], counts[len(PIXEL_COUNTS) :]
                    said = " ".join(map(str, scores)) if any(scores) else ""
                    write((split, stage, image, value, *pixels, said))

        yield add


def read_image_counts(run: Run, evaluation: Evaluation) -> CountsBySplit:
    """Return the counts of each image that an evaluation was formed of.

    Raises:
        StaleResultError: If an older ws3 made the evaluation, or the file is not the one that it
            wrote; the message names the command that makes both.
    """
    fault = image_counts_fault(run, evaluation)
    if fault:
        raise StaleResultError(fault)
    classes = len(evaluation.classes)
    images: dict[tuple[str, str], dict[str, int]] = {}
    cells: dict[tuple[str, str], array[int]] = {}
    with io.TextIOWrapper(
        open_regular(run.image_counts_file(evaluation.recipe), TEXT_BYTES), "utf-8", newline=""
    ) as file:
        rows = csv.reader(file)
        next(rows)
        for split, stage, image, value, *counts in rows:
            places = images.setdefault((split, stage), {})
            found = cells.setdefault((split, stage), array("q"))
            place = places.setdefault(image, len(places))
            if int(value) > classes:
                raise StaleResultError(
                    f"{run.evaluation_file(evaluation.recipe)}: it names {classes} classes, but "
                    f"its images have counts of class {value}; {_remedy(run, evaluation.recipe)}"
                )
            # A file of before PxAP had intervals has no scores.
            pixels, scores = counts[: len(PIXEL_COUNTS)], counts[len(PIXEL_COUNTS) :]
            for kind, number in enumerate([*pixels, *(scores[0].split() if scores else ())]):
                if number != "0":
                    found.extend((place, kind, int(value), int(number)))
    found_counts = {
        place: ImageCounts.of_cells(
            list(places), np.array(cells[place], np.int64).reshape(-1, 4), classes
        )
        for place, places in images.items()
    }
    return {
        (split, stage): counts.with_pixel_ap(_pixel_ap(evaluation, split, stage))
        for (split, stage), counts in found_counts.items()
    }


def _pixel_ap(evaluation: Evaluation, split: str, stage: str) -> list[float]:
    """Return the pixel average precision of each class; NaN where it is undefined or unknown."""
    stages = evaluation.splits.get(split, {})
    found = next((figures for name, figures in stages.items() if name == stage), None)
    if found is None:
        return [math.nan] * len(evaluation.classes)
    known = {name: of_class.figures.get("pxap") for name, of_class in found.per_class.items()}
    values = (known.get(name) for name in evaluation.classes)
    return [math.nan if value is None else value for value in values]


def image_counts_fault(run: Run, evaluation: Evaluation) -> str:
    """Return what is wrong with the file of an evaluation's counts, as a sentence, or ""."""
    path, remedy = run.image_counts_file(evaluation.recipe), _remedy(run, evaluation.recipe)
    if not evaluation.image_counts:
        return (
            f"{run.evaluation_file(evaluation.recipe)}: an older ws3 wrote this, without each "
            f"image's counts; {remedy}"
        )
    with suppress(OSError):
        if sha256(path) == evaluation.image_counts:
            return ""
    return f"{path}: this file is missing or not the one that the evaluation wrote; {remedy}"


def _remedy(run: Run, recipe: str) -> str:
    return f"run snakemake again, or: ws3 evaluate {run.folder} --recipe {recipe}"
