"""What the report says of pairs of classes: who is taken for whom, and who occurs together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ws3.metrics.pairs import Kind, largest_confusions, shares_of_truth
from ws3.report.model import Score
from ws3.run.records import Evaluation, Matrix

MOST_CLASSES_IN_A_MATRIX = 25
"""A matrix of more classes is not readable; a table of the largest pairs is."""

_ROWS = 8
_BACKGROUND = "background"
_KINDS: dict[Kind, str] = {
    "classes": "One class for another",
    "missed": "Objects called background",
    "invented": "Background called an object",
}


@dataclass(frozen=True, slots=True)
class PairRow:
    """A row of a table of pairs.

    Attributes:
        first: Name of the class in the ground truth, or of the one that fewer images show.
        second: Name of the class in the mask, or of the other one.
        share: Of the pixels that are the first class; or of the images that show it.
        count: Number of these pixels, or images.
        together: Images that show both; None where one is the background, or nobody counted.
    """

    first: str
    second: str
    share: float
    count: int
    together: int | None = None


@dataclass(frozen=True, slots=True)
class Confusions:
    """What one recipe's masks of one stage and split call the pixels of each class.

    Attributes:
        title: Of the recipe.
        tables: The largest confusions, by the title of their kind; those with the background only
            where there is no matrix to show them.
        names: Of the matrix's rows and columns; empty if there are too many for a matrix.
        matrix: Share of the row's pixels in each cell; None where a class has no pixel.
        worst: The largest confusion of two object classes.
    """

    title: str
    tables: dict[str, list[PairRow]]
    names: tuple[str, ...]
    matrix: list[list[float | None]]
    worst: PairRow | None


@dataclass(frozen=True, slots=True)
class Together:
    """Which classes occur in the same images of a split.

    Attributes:
        split: Its name.
        names: Of the matrix's rows and columns; empty if there are too many for a matrix.
        matrix: Images that are labelled with both classes; on the diagonal, with the class.
        pairs: The pairs that most images show.
    """

    split: str
    names: tuple[str, ...]
    matrix: Matrix
    pairs: list[PairRow]


def confusions(score: Score, evaluation: Evaluation) -> Confusions | None:
    """Return what the page shows of a score's confusions; None if they were not kept.

    Args:
        score: One recipe, stage and split.
        evaluation: What the score is of.
    """
    if score.confusion is None:
        return None
    names = (_BACKGROUND, *evaluation.classes)
    together = evaluation.together.get(score.split)

    def images(truth: int, called: int) -> int | None:
        known = together is not None and truth and called
        return together[truth - 1][called - 1] if together is not None and known else None

    small = len(evaluation.classes) <= MOST_CLASSES_IN_A_MATRIX
    kinds: list[Kind] = ["classes"] if small else list(_KINDS)
    tables = {
        _KINDS[kind]: [
            PairRow(names[t], names[c], share, pixels, images(t, c))
            for t, c, share, pixels in largest_confusions(score.confusion, kind, _ROWS)
        ]
        for kind in kinds
    }
    shares = shares_of_truth(score.confusion).tolist() if small else []
    return Confusions(
        title=score.title,
        tables={title: rows for title, rows in tables.items() if rows},
        names=names if small else (),
        matrix=[[None if math.isnan(share) else share for share in row] for row in shares],
        worst=next(iter(tables[_KINDS["classes"]]), None),
    )


def together(evaluations: Sequence[Evaluation]) -> list[Together]:
    """Return for each split which classes occur together, by the first evaluation that knows it.

    Recipes differ in it only where one of them skipped an image.
    """
    found: dict[str, Together] = {}
    for evaluation in evaluations:
        for split, matrix in evaluation.together.items():
            found.setdefault(split, _together(split, evaluation.classes, matrix))
    return list(found.values())


def _together(split: str, classes: Sequence[str], matrix: Matrix) -> Together:
    pairs = []
    for second, row in enumerate(matrix):
        for first, count in enumerate(row[:second]):
            if count:
                rare, other = sorted((first, second), key=lambda place: matrix[place][place])
                share = count / matrix[rare][rare]
                pairs.append(PairRow(classes[rare], classes[other], share, count))
    pairs.sort(key=lambda pair: -pair.count)
    small = len(classes) <= MOST_CLASSES_IN_A_MATRIX
    return Together(split, tuple(classes) if small else (), matrix if small else (), pairs[:_ROWS])


__all__ = [
    "MOST_CLASSES_IN_A_MATRIX",
    "Confusions",
    "PairRow",
    "Together",
    "confusions",
    "together",
]
