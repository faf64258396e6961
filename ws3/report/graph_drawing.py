"""The jobs of a run as a picture: a lane per recipe, a row per rule, the data flowing down."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ws3.report.figures import LIGHT, Theme, label_of, styled
from ws3.run.graph import SHARED, JobGraph, Node

_MOST_LANES = 8
_LANE, _ROW = 1.85, 0.62  # inches
_BOX = 0.4  # of a row's height, half of it above the row's middle


def graph_drawing(graph: JobGraph, theme: Theme = LIGHT) -> Figure:
    """Draw the jobs of a run; of more than eight recipes, one box stands for all of them.

    What a longer way shows too is left out. Dashed: the evaluation of each recipe reads the maps
    and the threshold of the reference recipe.

    Args:
        graph: The jobs.
        theme: Colours.
    """
    shown = graph if len(graph.recipes) <= _MOST_LANES else graph.by_rule()
    layout = _Layout(shown)
    lanes = layout.recipes or [f"{len(graph.recipes)} recipes"]
    with styled(theme):
        figure = Figure(
            figsize=(
                max(3.4, _LANE * (layout.lanes + layout.side) + 0.3),
                _ROW * len(layout.rows) + 0.5,
            ),
            layout="constrained",
        )
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(-0.14, layout.lanes + layout.side + 0.02)
        axes.set_ylim(len(layout.rows) - 0.5, -1.0)
        for lane, recipe in enumerate(lanes):
            note = "\n(reference)" if recipe == graph.reference else ""
            axes.text(
                lane + 0.5,
                -0.58,
                f"{label_of(recipe)}{note}",
                ha="center",
                va="center",
                weight="bold",
                fontsize=9,
            )
        for one, other in sorted(shown.reduced()):
            if not layout.is_of_reference(one, other):
                _arrow(axes, layout, one, other, theme)
        _reference(axes, layout, theme)
        for node, jobs in shown.nodes.items():
            _box(axes, layout, node, jobs, theme)
    return figure


class _Layout:
    """Where the boxes are.

    Attributes:
        recipes: Of the lanes, from the left.
        lanes: How many there are, at least one.
        side: 1 if there is a lane for what lies beside the recipes', else 0.
        rows: (round, rule) from the top. The maps of a second round are made by the network of
            the first, and so its rows stand below.
    """

    def __init__(self, graph: JobGraph) -> None:
        self._graph, self._reduced = graph, graph.reduced()
        self._sources = {
            recipe: one
            for one, (rule, recipe) in graph.edges
            if rule == "maps" and recipe not in SHARED
        }
        # Those without samples stand last: the classifier is not above them.
        self.recipes = sorted(
            graph.recipes,
            key=lambda name: (name not in self._sources, name not in self._sampled(name)),
        )
        self.lanes = max(1, len(self.recipes))
        order = {rule: place for place, (rule, _) in enumerate(graph.nodes)}
        rules = {(self._round(node), node[0]) for node in graph.nodes if node[0] != "regions"}
        self.rows = sorted(rules, key=lambda row: (row[0], order[row[1]]))
        self.side = int(any(rule == "regions" for rule, _ in graph.nodes))

    def _sampled(self, recipe: str) -> tuple[str, ...]:
        """Return the recipe itself if its maps are made from samples."""
        source = self._sources.get(recipe)
        return (recipe,) if source is not None and source[0] == "saliency" else ()

    def _round(self, node: Node) -> int:
        """Return how many networks made maps on the way to a node; the last jobs follow all."""
        rule, recipe = node
        if rule in ("evaluate", "summary", "report"):
            return len(self._graph.nodes)
        source = self._sources.get(recipe)
        if source is None or source[0] != "train_segmentation":
            return 0
        return 1 + self._round(source)

    def row(self, node: Node) -> float:
        """Return the row of a node; what lies beside the lanes is above what reads it."""
        if node[0] != "regions":
            return self.rows.index((self._round(node), node[0]))
        return min(self.row(other) for one, other in self._graph.edges if one == node) - 1

    def span(self, node: Node) -> tuple[float, float]:
        """Return the left and the right end of a node's box."""
        rule, recipe = node
        if rule == "regions":
            return self.lanes + 0.06, self.lanes + 0.94
        if recipe not in SHARED:
            lane = self.recipes.index(recipe)
            return lane + 0.06, lane + 0.94
        if rule == "index":
            return 0.06, self.lanes + self.side - 0.06
        if rule != "train_classifier" or not self.recipes:
            return 0.06, self.lanes - 0.06
        read = {other[1] for one, other in self._reduced if one == node} - set(SHARED)
        places = [self.recipes.index(name) for name in read]
        sampled = [self.recipes.index(name) for name in self.recipes if self._sampled(name)]
        inside = sampled or places
        return min(inside) + 0.06, max(inside) + 0.94

    def is_of_reference(self, one: Node, other: Node) -> bool:
        """Whether an edge is an evaluation's, from another lane."""
        return other[0] == "evaluate" and one[1] == self._graph.reference != other[1]

    @property
    def reference_readers(self) -> list[Node]:
        """Evaluations that read the reference recipe's results."""
        return sorted({b for a, b in self._graph.edges if self.is_of_reference(a, b)})

    @property
    def reference(self) -> Node:
        """What stands for the reference recipe's results."""
        return "threshold", self._graph.reference


def _box(axes: Axes, layout: _Layout, node: Node, jobs: int, theme: Theme) -> None:
    left, right = layout.span(node)
    row = layout.row(node)
    shared = node[1] in SHARED
    axes.add_patch(
        FancyBboxPatch(
            (left, row - _BOX + 0.08),
            right - left,
            2 * _BOX - 0.16,
            boxstyle="round,pad=0,rounding_size=0.06",
            mutation_aspect=_LANE / _ROW,
            facecolor=theme.regions[3] if shared else theme.stages[0],
            edgecolor=theme.muted if shared else theme.stages[1],
            linewidth=0.9,
            zorder=3,
        )
    )
    many = f"\n{jobs} jobs" if jobs > 1 else ""
    axes.text(
        (left + right) / 2,
        row,
        f"{node[0].replace('_', ' ')}{many}",
        ha="center",
        va="center",
        fontsize=8.5,
        linespacing=1.15,
        zorder=4,
    )


def _arrow(axes: Axes, layout: _Layout, one: Node, other: Node, theme: Theme) -> None:
    """Draw an arrow straight down, or to another lane through the gap above its end."""
    first, second = layout.span(one), layout.span(other)
    low, high = max(first[0], second[0]), min(first[1], second[1])
    down = layout.row(one) + _BOX - 0.08
    if low < high:
        middle = (low + high) / 2
        _end(axes, middle, down, layout.row(other), theme.muted)
        return
    to_right = first[1] <= second[0]
    # Beside the arrow of the lane itself.
    end = sum(second) / 2 + (-0.22 if to_right else 0.22)
    gap = layout.row(other) - 0.5
    if layout.row(other) - layout.row(one) > 1:
        # Between the lanes, so as to pass what stands below.
        side, outside = (first[1], 0.06) if to_right else (first[0], -0.06)
        way = [side, side + outside, side + outside, end]
        heights = [layout.row(one), layout.row(one), gap, gap]
    else:
        start = sum(first) / 2 + (0.22 if to_right else -0.22)
        way, heights = [start, start, end], [down, gap, gap]
    axes.plot(
        way,
        heights,
        color=theme.muted,
        linewidth=1.0,
        zorder=2,
    )
    _end(axes, end, gap, layout.row(other), theme.muted)


def _reference(axes: Axes, layout: _Layout, theme: Theme) -> None:
    """Draw what all evaluations read of the reference recipe: between the lanes, then down."""
    readers = layout.reference_readers
    if not readers:
        return
    colour = theme.series[1]
    left, _ = layout.span(layout.reference)
    gutter, start = left - 0.06, layout.row(layout.reference)
    bus = layout.row(readers[0]) - 0.5
    ends = [sum(layout.span(node)) / 2 + 0.22 for node in readers]
    for across, down in (
        ([left, gutter, gutter], [start, start, bus]),
        ([min(gutter, *ends), max(gutter, *ends)], [bus, bus]),
    ):
        axes.plot(across, down, color=colour, linestyle=(0, (3, 2)), linewidth=1.0, zorder=2)
    for end in ends:
        _end(axes, end, bus, layout.row(readers[0]), colour)


def _end(axes: Axes, across: float, start: float, row: float, colour: str) -> None:
    """Draw the last part of an arrow, down to the top of a box."""
    axes.annotate(
        "",
        (across, row - _BOX + 0.08),
        (across, start),
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": 1.0,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 8,
        },
        zorder=2,
    )


__all__ = ["graph_drawing"]
