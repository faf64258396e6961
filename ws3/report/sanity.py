"""What the checks of `ws3 recipes --check` found, as a chart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ws3.report.figures import LIGHT, Theme, series_look, short, styled
from ws3.run.records import CheckedRecipe


def area(curve: Sequence[float]) -> float:
    """Return the area under a curve over the share of pixels, from 0 to 1.

    Example:
        >>> area([1.0, 0.5, 0.0])
        0.5
    """
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def sanity_chart(
    found: Sequence[CheckedRecipe], depths: Sequence[float], theme: Theme = LIGHT
) -> Figure:
    """Draw likeness, deletion and insertion, a line per recipe.

    Args:
        found: The recipes; one without likeness, such as the random order, is dotted and grey.
        depths: Share of the layers below the last that are shuffled, for each likeness.
        theme: Colours.
    """
    with styled(theme):
        figure = Figure(figsize=(9.2, 3.7), layout="constrained")
        likeness, deletion, insertion = figure.subplots(1, 3)
        for number, checked in enumerate(found):
            look = {**series_look(number, theme), "markersize": 5, "linewidth": 1.7}
            if checked.likeness:
                values = [np.nan if value is None else value for value in checked.likeness]
                likeness.plot(depths, values, **look)
            else:
                look = {"color": theme.muted, "linestyle": ":", "linewidth": 1.7}
            shares = np.linspace(0, 1, len(checked.deletion))
            deletion.plot(shares, checked.deletion, **look)
            insertion.plot(shares, checked.insertion, label=short(checked.recipe), **look)
        likeness.axhline(0, color=theme.muted, linewidth=0.8)
        likeness.set_ylim(-0.55, 1.05)
        likeness.set_title("Randomisation", loc="left", fontsize=10)
        likeness.set_ylabel("rank correlation with the map")
        likeness.set_xlabel("layers shuffled below the last")
        for axes, name, what in (
            (deletion, "Deletion", "deleted"),
            (insertion, "Insertion", "inserted"),
        ):
            axes.set_title(name, loc="left", fontsize=10)
            axes.set_ylim(0, 1.03)
            axes.set_xlabel(f"pixels {what}")
            axes.set_ylabel("probability of the class")
        for axes in (likeness, deletion, insertion):
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.legend(loc="outside upper left", ncols=5)
    return figure


__all__ = ["area", "sanity_chart"]
