"""Drawings that explain a measure, for the report and the documentation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import PercentFormatter

from ws3.metrics.distance import TENTHS
from ws3.metrics.pairs import shares_of_truth
from ws3.report.figures import LIGHT, Theme, creature_at, drawing_grid, head_at, styled


def distance_drawing(theme: Theme = LIGHT) -> Figure:
    """Draw an object in ten bands, by the distance from the peak of the reference's map."""
    x, y = drawing_grid()
    creature = creature_at(x, y)
    inside = creature >= 1
    top = np.where(inside, head_at(x, y), -1).argmax()
    peak = float(x.flat[top]), float(y.flat[top])
    distance = np.hypot(x - peak[0], y - peak[1])
    end = np.where(inside, distance, -1).argmax()
    far = float(x.flat[end]), float(y.flat[end])
    colours = LinearSegmentedColormap.from_list("way", [theme.regions[0], theme.regions[1]])
    with styled(theme):
        figure = Figure(figsize=(5.8, 3.1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_xlim(-2.9, 12.9)
        axes.set_ylim(0.25, 6.15)
        outline = axes.contour(x, y, creature, levels=[1], colors=[theme.text], linewidths=1.6)
        for tenth in range(TENTHS, 0, -1):
            disc = Circle(
                peak,
                float(distance.flat[end]) * tenth / TENTHS,
                facecolor=colours((tenth - 0.5) / TENTHS),
                edgecolor=(*to_rgb(theme.text), 0.6),
                linewidth=0.6,
            )
            disc.set_clip_path(outline.get_paths()[0], axes.transData)
            axes.add_patch(disc)
        notes = (
            ("peak", "where the\nreference's map\nis highest within\nthe object", peak, (9.7, 4.8)),
            ("far end", "the object's\nfarthest pixel\nfrom its peak", far, (-0.1, 2.3)),
        )
        for name, meaning, target, (left, base) in notes:
            side = "left" if left > 5 else "right"
            axes.annotate(
                "",
                target,
                (left, base + 0.2),
                arrowprops={"arrowstyle": "-|>", "color": theme.text, "shrinkA": 2, "shrinkB": 4},
                zorder=4,
            )
            axes.text(left, base, name, ha=side, va="bottom", weight="bold", fontsize=10.5)
            axes.text(left, base, meaning, ha=side, va="top", color=theme.muted, fontsize=8.5)
        axes.plot(*peak, "*", color="#ffffff", markeredgecolor="#000000", markersize=13, zorder=5)
        axes.plot(*far, "o", color="#ffffff", markeredgecolor="#000000", markersize=6, zorder=5)
        bar = figure.colorbar(
            ScalarMappable(Normalize(0, 1), colours.resampled(TENTHS)),
            ax=axes,
            orientation="horizontal",
            aspect=34,
            shrink=0.66,
            pad=0.02,
            ticks=np.linspace(0, 1, TENTHS + 1),
            format=PercentFormatter(1.0, decimals=0, symbol=""),
        )
        bar.set_label("% of the way from the peak to the far end", fontsize=8.5)
        bar.ax.tick_params(labelsize=8.5, length=0)
        bar.outline.set_visible(False)
    return figure


def confusion_drawing(
    names: Sequence[str], matrix: Sequence[Sequence[int]], theme: Theme = LIGHT
) -> Figure:
    """Draw a small confusion matrix, with the pixels and the share of the row in each cell.

    Args:
        names: Of the background and the classes.
        matrix: As `ws3.metrics.confusion.Confusion.matrix`; the last row is spelled out.
        theme: Colours.
    """
    shares = shares_of_truth(matrix)
    side = len(names)
    colours = LinearSegmentedColormap.from_list("share", [theme.regions[3], theme.regions[0]])
    with styled(theme):
        figure = Figure(figsize=(5.8, 0.85 + 0.55 * side), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=False)
        axes.pcolormesh(
            np.arange(side + 1),
            np.arange(side + 1),
            shares,
            cmap=colours,
            vmin=0,
            vmax=1.4,  # so that words are readable on the darkest cell
            edgecolor=theme.muted,
            linewidth=0.8,
        )
        for row in range(side):
            for column in range(side):
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{matrix[row][column]} px\n{100 * shares[row, column]:.0f} %",
                    ha="center",
                    va="center",
                    fontsize=9,
                    weight="bold" if row == column else "normal",
                )
        axes.set_xlim(0, side + 1.9)
        axes.set_ylim(side, 0)
        axes.set_xticks(np.arange(side) + 0.5, names, color=theme.text)
        axes.set_yticks(np.arange(side) + 0.5, names, color=theme.text)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("called, in the mask", loc="left")
        axes.set_ylabel("is, in the ground truth")
        worst = max(range(1, side - 1), key=lambda column: shares[-1, column])
        axes.text(
            side + 0.15,
            side - 0.5,
            f"of the pixels that are\n{names[-1]}, {100 * shares[-1, worst]:.0f} % are\n"
            f"called {names[worst]}",
            va="center",
            fontsize=9,
            color=theme.text,
        )
    return figure


__all__ = ["confusion_drawing", "distance_drawing"]
