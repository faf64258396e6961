"""`evaluation/<recipe>.confidence.csv`: what is kept of a recipe's masks at each cut, and is right.

A row per split, label and cut k / 256, from 0 on. `value` is the label's value in masks, 0 the
background; without one, `class` is `MEAN`, the mean over the labels where it is defined, or
`PIXELS`, all pixels together. `pixels` is how many are kept. What is undefined is empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ws3.files import write_csv
from ws3.labels import CONFIDENCE_STEPS
from ws3.metrics.confidence import ConfidenceCounts
from ws3.run.records import ConfidencePixels, Evaluation

COLUMNS = ("split", "value", "class", "cut", "pixels", "coverage", "precision")
MEAN, PIXELS = "(mean over labels)", "(all pixels)"


def confidence_counts(stored: ConfidencePixels) -> ConfidenceCounts:
    """Return the counts that an evaluation holds."""
    return ConfidenceCounts.of([stored.wrong, stored.right], stored.objects)


def write_confidence_curves(path: Path, evaluation: Evaluation) -> None:
    """Write the curves of an evaluation's masks.

    Raises:
        Ws3Error: If the file can't be written.
    """
    write_csv(path, COLUMNS, _rows(evaluation))


def _rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    names = ("background", *evaluation.classes)
    for split, stages in evaluation.splits.items():
        stored = stages["masks"].confidence if "masks" in stages else None
        if stored is None:
            continue
        counts = confidence_counts(stored)
        kept = counts.kept().sum(axis=0)
        curves: list[tuple[Any, ...]] = [
            ("", MEAN, kept.sum(axis=0), counts.mean_coverage(), counts.mean_precision()),
            ("", PIXELS, kept.sum(axis=0), counts.coverage(), counts.precision()),
        ]
        of_labels = zip(
            range(len(names)),
            names,
            kept,
            counts.class_coverage(),
            counts.class_precision(),
            strict=True,
        )
        for value, name, pixels, coverage, precision in [*curves, *of_labels]:
            for step in range(CONFIDENCE_STEPS):
                yield {
                    "split": split,
                    "value": value,
                    "class": name,
                    "cut": step / CONFIDENCE_STEPS,
                    "pixels": int(pixels[step]),
                    "coverage": _defined(coverage[step]),
                    "precision": _defined(precision[step]),
                }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
