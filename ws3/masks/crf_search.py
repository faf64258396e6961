"""Numbers for the dense CRF, drawn at random, and what the masks that they give are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ws3.config.masks import CrfParameters
from ws3.masks.crf import DenseCrf

ITERATIONS = (1, 2, 3, 5, 7, 10)
"""Numbers of iterations that each trial is looked at after: one inference passes all of them."""
SHARED = 2
"""Trials that share widths and weights, and differ in the unary energy: one lattice serves them."""
RANGES = {
    "gaussian_sxy": (1.0, 8.0),
    "gaussian_compat": (0.5, 10.0),
    "bilateral_sxy": (10.0, 120.0),
    "bilateral_srgb": (3.0, 30.0),
    "bilateral_compat": (1.0, 20.0),
}
"""Between what each number of the kernels is drawn, evenly in its logarithm."""
CERTAINTIES = (0.55, 0.95)
"""Between what `gt_prob` is drawn, evenly."""
NEAR = 2.0
"""Every other pair of kernels is drawn near the numbers in force: each number is at most this many
times as large or as small, and so are the odds that `gt_prob` stands for."""


@dataclass(frozen=True)
class Group:
    """Trials on one pair of kernels.

    Attributes:
        kernels: Widths and weights; its unary energy and iterations have no meaning.
        unaries: The trials: those whose `unary` and `gt_prob` are taken.
        iterations: The numbers of iterations, ascending.
    """

    kernels: CrfParameters
    unaries: tuple[CrfParameters, ...]
    iterations: tuple[int, ...] = ITERATIONS

    @property
    def candidates(self) -> tuple[CrfParameters, ...]:
        """All numbers that are tried, trial by trial, by iterations within a trial."""
        return tuple(
            unary.model_copy(update={"iterations": count})
            for unary in self.unaries
            for count in self.iterations
        )

    @classmethod
    def of(cls, parameters: CrfParameters) -> Group:
        """Return the group of one candidate alone."""
        return cls(parameters, (parameters,), (parameters.iterations,))


def drawn_groups(trials: int, seed: int, present: CrfParameters) -> list[Group]:
    """Draw trials, in groups of `SHARED` that share kernels: hard labels, and normalised scores.

    Of the groups, every other is drawn near the numbers in force, and the rest from `RANGES`. More
    trials with the same seed begin with the same ones.

    Args:
        trials: How many.
        seed: Another seed draws others.
        present: The numbers in force; `max_pixels` is taken from them.

    Example:
        >>> print(*(len(group.unaries) for group in drawn_groups(3, 0, CrfParameters())))
        2 1
        >>> one, more = (drawn_groups(number, 0, CrfParameters()) for number in (2, 6))
        >>> one[0] == more[0]
        True
    """
    groups = []
    for first in range(0, trials, SHARED):
        number = first // SHARED
        stream = np.random.default_rng([seed, number])
        near = number % 2 == 1
        numbers = {
            name: _drawn_near(getattr(present, name), stream) if near else _drawn(*ends, stream)
            for name, ends in RANGES.items()
        }
        odds = present.gt_prob / (1 - present.gt_prob)
        certainty = stream.uniform(*CERTAINTIES)
        if near:
            odds *= NEAR ** stream.uniform(-1, 1)
            certainty = min(max(odds / (1 + odds), 0.01), 0.99)
        kernels = CrfParameters(**numbers, max_pixels=present.max_pixels)
        hard = kernels.model_copy(update={"gt_prob": _rounded(certainty)})
        soft = kernels.model_copy(update={"unary": "softmax"})
        groups.append(Group(kernels, (hard, soft)[: trials - first]))
    return groups


def _drawn(low: float, high: float, stream: np.random.Generator) -> float:
    """Draw a number evenly in its logarithm."""
    return _rounded(math.exp(stream.uniform(math.log(low), math.log(high))))


def _drawn_near(value: float, stream: np.random.Generator) -> float:
    """Draw a number near another, within what a configuration allows."""
    drawn = value * NEAR ** stream.uniform(-1, 1)
    return _rounded(min(max(drawn, min(value, 0.5)), max(value, 1000.0)))


def _rounded(value: float) -> float:
    """Return a number with two digits, as a configuration would have it."""
    return float(f"{value:.2g}")


def refined_labels(
    image: npt.NDArray[np.uint8],
    scores: npt.NDArray[np.float32],
    group: Group,
    cut: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.uint8]],
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield an image's labels for each candidate of a group, with one lattice for all of them.

    Args:
        image: uint8 (H, W, 3), RGB.
        scores: float32 (labels, H, W) in [0, 1], the background first.
        group: What is tried.
        cut: What makes labels of the CRF's probabilities.

    Yields:
        uint8 (H, W), positions in `scores`; in the order of `Group.candidates`.
    """
    crf = DenseCrf(image, len(scores), group.kernels)
    for unary in group.unaries:
        for probabilities in crf.steps(scores, group.iterations, unary):
            yield cut(probabilities)


def chosen(mious: Sequence[float]) -> int:
    """Return the position of the highest mIoU, the first of equals.

    Raises:
        ValueError: If none is defined.
    """
    return int(np.nanargmax(np.asarray(mious, np.float64)))


__all__ = [
    "CERTAINTIES",
    "ITERATIONS",
    "NEAR",
    "RANGES",
    "SHARED",
    "Group",
    "chosen",
    "drawn_groups",
    "refined_labels",
]
