"""Precision against coverage: charts of what a cut of the confidence keeps, and is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from ws3.messages import shortened
from ws3.metrics.confidence import ConfidenceCounts
from ws3.report.figures import LIGHT, Chart, Theme, series_look, styled
from ws3.run.confidence import confidence_counts
from ws3.run.records import Evaluation

MOST_PANELS = 24
"""Labels that get a panel of their own: those with most pixels."""

_COLUMNS = 4
_LONGEST_NAME = 22
_CUTS = (0, 128, 154, 179, 205, 230, 243)  # of the table: 0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95
_MARKED = 128  # the cut at 1/2, which is marked on each curve


@dataclass(frozen=True, slots=True)
class ConfidenceCharts:
    """The charts of one split.

    Attributes:
        split: The split.
        mean: File name, without theme and ending, of the chart of all labels together.
        labels: File name of the chart with a panel for each label.
        charts: Both.
        left_out: Labels that have no panel, as there are too many.
        tables: By recipe, the rows of a table: cut, mean coverage and mean precision, and those of
            all pixels together; None is undefined.
    """

    split: str
    mean: str
    labels: str
    charts: tuple[Chart, Chart]
    left_out: int
    tables: Mapping[str, tuple[tuple[float | None, ...], ...]]


def confidence_charts(evaluations: Sequence[Evaluation]) -> list[ConfidenceCharts]:
    """Return the charts of all splits whose masks have a confidence.

    Args:
        evaluations: One per recipe.
    """
    found = []
    splits = dict.fromkeys(split for evaluation in evaluations for split in evaluation.splits)
    for number, split in enumerate(splits):
        known = {
            evaluation.recipe: confidence_counts(figures.confidence)
            for evaluation in evaluations
            if (figures := evaluation.splits.get(split, {}).get("masks")) is not None
            and figures.confidence is not None
        }
        if not known:
            continue
        names = ("background", *evaluations[0].classes)
        panels = {value: names[value] for value in _panels(list(known.values()))}
        mean = Chart(f"confidence-{number}", partial(mean_chart, known))
        labels = Chart(f"confidence-{number}-labels", partial(label_chart, known, panels))
        found.append(
            ConfidenceCharts(
                split=split,
                mean=mean.name,
                labels=labels.name,
                charts=(mean, labels),
                left_out=len(names) - len(panels),
                tables={recipe: _table(counts) for recipe, counts in known.items()},
            )
        )
    return found


def mean_chart(known: Mapping[str, ConfidenceCounts], theme: Theme = LIGHT) -> Figure:
    """Draw the labels' mean precision against their mean coverage, a curve per recipe.

    Args:
        known: The counts of each recipe on one split.
        theme: Colours.
    """
    with styled(theme):
        figure = Figure(figsize=(5.6, 4.1), layout="constrained")
        axes = figure.add_subplot()
        for number, (recipe, counts) in enumerate(known.items()):
            _curve(axes, counts.mean_coverage(), counts.mean_precision(), number, recipe, theme)
        _label(axes)
        axes.set_xlabel("coverage: share of the pixels kept, mean over the labels")
        axes.set_ylabel("precision of those kept, mean over the labels")
        figure.legend(loc="outside upper left", ncols=3)
    return figure


def label_chart(
    known: Mapping[str, ConfidenceCounts], labels: Mapping[int, str], theme: Theme = LIGHT
) -> Figure:
    """Draw precision against coverage of each label, in panels of their own.

    Args:
        known: The counts of each recipe on one split.
        labels: Names of the labels that get a panel, by their value.
        theme: Colours.
    """
    rows = max(1, -(-len(labels) // _COLUMNS))
    with styled(theme):
        figure = Figure(figsize=(9.6, 0.6 + 2.2 * rows), layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (value, name) in zip(panels, labels.items(), strict=False):
            for number, (recipe, counts) in enumerate(known.items()):
                coverage, precision = counts.class_coverage(), counts.class_precision()
                _curve(axes, coverage[value], precision[value], number, recipe, theme)
            _label(axes)
            axes.set_title(shortened(name, _LONGEST_NAME), loc="left", fontsize=10)
        for axes in panels[len(labels) :]:
            axes.set_axis_off()
        figure.supxlabel("coverage", fontsize=10, color=theme.muted)
        figure.supylabel("precision of those kept", fontsize=10, color=theme.muted)
        handles, titles = panels[0].get_legend_handles_labels()
        figure.legend(handles, titles, loc="outside upper left", ncols=4)
    return figure


def _curve(
    axes: Axes,
    coverage: NDArray[np.float64],
    precision: NDArray[np.float64],
    number: int,
    recipe: str,
    theme: Theme,
) -> None:
    look: dict[str, Any] = series_look(number, theme)
    marker = look.pop("marker")
    axes.plot(coverage, precision, linewidth=1.9, label=shortened(recipe, _LONGEST_NAME), **look)
    axes.plot(coverage[_MARKED], precision[_MARKED], marker, color=look["color"], markersize=5.5)


def _label(axes: Axes) -> None:
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _panels(known: Sequence[ConfidenceCounts]) -> list[int]:
    """Return the values of the labels that get a panel, in their order."""
    pixels = sum(counts.pixels.sum(axis=(0, 2)) for counts in known)
    most = sorted(range(len(pixels)), key=lambda value: (-int(pixels[value]), value))
    return sorted(value for value in most[:MOST_PANELS] if pixels[value])


def _table(counts: ConfidenceCounts) -> tuple[tuple[float | None, ...], ...]:
    curves = (
        counts.mean_coverage(),
        counts.mean_precision(),
        counts.coverage(),
        counts.precision(),
    )
    return tuple(
        (step / 256, *(None if np.isnan(curve[step]) else float(curve[step]) for curve in curves))
        for step in _CUTS
    )


__all__ = ["MOST_PANELS", "ConfidenceCharts", "confidence_charts", "label_chart", "mean_chart"]
