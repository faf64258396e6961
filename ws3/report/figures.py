"""Charts and pictures, drawn without matplotlib's global state: equal input gives equal bytes."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from ws3.config.run import GROUND_TRUTH
from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.report.model import Score
from ws3.report.pictures import PICTURE_SIDE, UInt8, class_hex, fit, heat_overlay, mask_overlay
from ws3.run.records import EVALUATED_STAGES

_RECIPES_A_ROW = 5


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a chart that lies on a page of its own background.

    Attributes:
        name: Ending of the chart's file name.
        page: The page itself, around what lies on a colour.
        text: Titles and values.
        muted: Axes and notes.
        grid: Grid lines.
        stages: One colour for each evaluated stage.
        series: Colours of recipes, told apart by colour-blind readers (after Okabe and Ito).
        regions: Colours of DR, NDR, FPR-region and TN-region.
    """

    name: str
    page: str
    text: str
    muted: str
    grid: str
    stages: tuple[str, str, str]
    series: tuple[str, ...]
    regions: tuple[str, str, str, str]


LIGHT = Theme(
    name="light",
    page="#ffffff",
    text="#1b1f27",
    muted="#586173",
    grid="#dfe3ea",
    stages=("#a9c5ee", "#3f7fd6", "#173f7c"),
    series=("#0b6bb8", "#c8501b", "#0a8a66", "#a4478a", "#8f6d00", "#2f9ccb", "#4b5160", "#d1495b"),
    regions=("#3f7fd6", "#f0a12b", "#d65b5b", "#e6e9ef"),
)
DARK = Theme(
    name="dark",
    page="#191e27",
    text="#e8ebf1",
    muted="#a3adbd",
    grid="#323a48",
    stages=("#3d5680", "#6ea8f7", "#cfe1ff"),
    series=("#5eb3f5", "#ff9260", "#3dd1a4", "#e08fc8", "#e0bd3f", "#8fdcff", "#b9c0cd", "#ff8593"),
    regions=("#5b97ea", "#f2ae45", "#df6f6f", "#333b49"),
)
THEMES = (LIGHT, DARK)


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        name: Of its file, without ending.
        draw: Draws it in the colours of a theme.
    """

    name: str
    draw: Callable[[Theme], Figure]


# Recipes differ in shape as well as in colour, for print and for colour-blind readers.
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

_STAGE_LABELS = {"maps": "score maps", "masks": "pseudo-masks", "segmentation": "segmentation"}
_LONGEST_NAME = 22

_UNDATED: Mapping[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib would note of itself in a file, by its ending."""


@contextmanager
def styled(theme: Theme) -> Iterator[None]:
    """Give matplotlib the theme's colours and equal bytes for equal figures, for a while."""
    settings = {
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": theme.text,
        # A class or recipe may be called "$x$"; that is a name, not a formula.
        "text.parse_math": False,
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.muted,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "figure.constrained_layout.h_pad": 0.08,
        "legend.frameon": False,
        "svg.fonttype": "none",
        # TrueType, so that words in a PDF stay words: to search, to copy, to edit.
        "pdf.fonttype": 42,
        "svg.hashsalt": "ws3",
    }
    with style.context(["default", settings]):
        yield


def save(figure: Figure, path: Path, theme: Theme = LIGHT) -> None:
    """Write a figure as PNG, SVG or PDF, by the path's ending, with no date in it.

    Words stay text: a PDF has the letters of their fonts in it, an SVG names fonts.

    Args:
        figure: What to write; its background is transparent in SVG and PDF, and white in PNG.
        path: Where to; replaced atomically.
        theme: The theme that the figure was drawn with.

    Raises:
        Ws3Error: If the path has another ending.
    """
    undated = _UNDATED.get(path.suffix)
    if undated is None:
        raise Ws3Error(
            f"{path}: figures are PNG, SVG or PDF; choose a name that ends in .png, .svg or .pdf"
        )
    buffer = io.BytesIO()
    with styled(theme), _quiet("fontTools"):
        figure.savefig(
            buffer,
            format=path.suffix[1:],
            metadata=undated,
            transparent=path.suffix != ".png",
            dpi=150,
        )
    write_bytes(path, buffer.getvalue())


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library, which tells each step of cutting out letters, from logging it as news."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def miou_chart(scores: Sequence[Score], reference: str, theme: Theme = LIGHT) -> Figure:
    """Draw each recipe's mIoU at each stage, as horizontal bars, with a line for the interval.

    Args:
        scores: Scores of one split.
        reference: The reference recipe, marked as such.
        theme: Colours.
    """
    recipes = list(dict.fromkeys(score.recipe for score in scores))
    stages = [stage for stage in EVALUATED_STAGES if any(score.stage == stage for score in scores)]
    thickness = 0.8 / max(1, len(stages))
    with styled(theme):
        figure = Figure(
            figsize=(5.6, 1.2 + len(recipes) * (0.24 + 0.27 * len(stages))), layout="constrained"
        )
        axes = figure.add_subplot()
        for score in scores:
            if score.miou is None:
                continue
            row, place = recipes.index(score.recipe), stages.index(score.stage)
            y = row + (place - (len(stages) - 1) / 2) * thickness
            axes.barh(
                y,
                score.miou,
                thickness * 0.9,
                color=theme.stages[EVALUATED_STAGES.index(score.stage)],
            )
            ends = score.intervals.get("miou", (score.miou, score.miou))
            if ends[0] < ends[1]:
                halo = withStroke(linewidth=2.8, foreground=theme.page)
                axes.plot(ends, (y, y), color=theme.text, linewidth=1.1, path_effects=[halo])
            axes.annotate(
                f"{100 * score.miou:.1f}",
                (max(score.miou, ends[1]), y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
            )
        axes.set_yticks(
            range(len(recipes)),
            [label_of(name) + ("\n(reference)" if name == reference else "") for name in recipes],
            color=theme.text,
        )
        axes.set_ylim(len(recipes) - 0.45, -0.55)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("mIoU")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        figure.legend(
            handles=[
                Patch(color=theme.stages[EVALUATED_STAGES.index(stage)], label=_STAGE_LABELS[stage])
                for stage in stages
            ],
            loc="outside upper left",
            ncols=len(stages),
            handlelength=1.0,
        )
    return figure


def sweep_chart(scores: Sequence[Score], theme: Theme = LIGHT) -> Figure:
    """Draw mIoU against the background threshold, with a dot at the threshold in use.

    Args:
        scores: Scores of the maps of one split; those without a sweep are left out.
        theme: Colours.
    """
    with styled(theme):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.add_subplot()
        for number, score in enumerate(scores):
            if not score.sweep:
                continue
            thresholds, mious = zip(*sorted(score.sweep), strict=True)
            colour = theme.series[number % len(theme.series)]
            axes.plot(
                thresholds,
                mious,
                _DASHES[number % len(_DASHES)],
                color=colour,
                linewidth=1.9,
                label=short(score.recipe),
            )
            if score.threshold is not None and score.miou is not None:
                axes.plot(
                    [score.threshold],
                    [score.miou],
                    "o",
                    color=colour,
                    markersize=8,
                    markeredgecolor=theme.text,
                    zorder=3,
                )
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_label_text("background threshold")
        axes.yaxis.set_label_text("mIoU")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.legend(loc="outside upper left", ncols=3)
    return figure


def recall_chart(scores: Sequence[Score], theme: Theme = LIGHT) -> Figure:
    """Draw NDR recall against DR recall: maps hollow, masks filled, an arrow in between.

    Args:
        scores: Scores of one split; those without the two recalls are left out.
        theme: Colours.
    """
    recipes = list(dict.fromkeys(score.recipe for score in scores))
    with styled(theme):
        figure = Figure(figsize=(5.6, 4.1), layout="constrained")
        axes = figure.add_subplot()
        for number, recipe in enumerate(recipes):
            colour = theme.series[number % len(theme.series)]
            points = {
                score.stage: both
                for score in scores
                if score.recipe == recipe and (both := recalls(score)) is not None
            }
            look: dict[str, Any] = {
                "color": colour,
                "marker": _MARKERS[number % len(_MARKERS)],
                "markersize": 9,
            }
            maps, masks = points.get("maps"), points.get("masks")
            if maps:
                axes.plot(*maps, **look, fillstyle="none", markeredgewidth=1.8)
            if masks:
                axes.plot(*masks, **look)
            if maps and masks:
                axes.annotate(
                    "",
                    masks,
                    maps,
                    arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": 6, "shrinkB": 6},
                )
            if maps or masks:
                axes.plot([], [], **look, linestyle="none", label=short(recipe))
        axes.margins(0.12)
        axes.set_xlabel("DR recall: of the object that the reference finds")
        axes.set_ylabel("NDR recall: of the object\nthat the reference misses")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.legend(loc="outside upper left", ncols=3)
    return figure


def samples_histogram(counts: Mapping[str, Sequence[int]], theme: Theme = LIGHT) -> Figure:
    """Draw how many images took how many samples, a row of bars per recipe.

    Args:
        counts: By recipe, how many samples each image took.
        theme: Colours.
    """
    with styled(theme):
        figure = Figure(figsize=(5.6, 0.6 + 1.25 * len(counts)), layout="constrained")
        rows = figure.subplots(len(counts), 1, sharex=True, squeeze=False)[:, 0]
        for number, (axes, (recipe, taken)) in enumerate(zip(rows, counts.items(), strict=True)):
            values, images = np.unique(np.asarray(taken), return_counts=True)
            steps = np.diff(values)
            axes.bar(
                values,
                images,
                0.8 * (steps.min() if len(steps) else 1),
                color=theme.series[number % len(theme.series)],
            )
            axes.set_title(short(recipe), loc="left", fontsize=10)
            axes.set_xlim(left=0)
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.grid(visible=False, axis="x")
        rows[-1].set_xlabel("samples of an image")
        figure.supylabel("images", fontsize=10, color=theme.muted)
    return figure


def recalls(score: Score) -> tuple[float, float] | None:
    """Return DR and NDR recall, or None if either is undefined."""
    hit, missed = score.figures.get("dr_recall"), score.figures.get("ndr_recall")
    return None if hit is None or missed is None else (hit, missed)


def distance_chart(
    found: Mapping[str, Sequence[float | None]],
    theme: Theme = LIGHT,
    *,
    deviations: Mapping[str, Sequence[float | None]] | None = None,
) -> Figure:
    """Draw the share of the objects' pixels found against their distance from the peak.

    Args:
        found: For each recipe ten shares in [0, 1], the tenth of the way nearest to the peak of
            the reference's map first; None is undefined. One without any is left out, and the
            others keep their looks.
        theme: Colours.
        deviations: For each recipe as many deviations over runs, drawn as bars.
    """
    with styled(theme):
        figure = Figure(figsize=(5.6, 4.1), layout="constrained")
        axes = figure.add_subplot()
        for number, (recipe, shares) in enumerate(found.items()):
            if not shares:
                continue
            spread = (deviations or {}).get(recipe)
            axes.errorbar(
                (np.arange(len(shares)) + 0.5) / len(shares),
                np.array(shares, np.float64),
                yerr=None if spread is None else np.nan_to_num(np.array(spread, np.float64)),
                **series_look(number, theme),
                markersize=5.5,
                linewidth=1.9,
                capsize=2,
                label=label_of(recipe),
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.set_xlabel("way from the peak to the farthest pixel of the object")
        axes.set_ylabel("share of the pixels found")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if any(found.values()):
            figure.legend(loc="outside upper left", ncols=3)
    return figure


def series_look(number: int, theme: Theme) -> dict[str, Any]:
    """Return what tells the curve of a recipe from others: colour, dashes and marker."""
    return {
        "color": theme.series[number % len(theme.series)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def drawing_grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y, each float64 (240, 400), of the drawings' 10 by 6 units."""
    x, y = np.meshgrid(np.linspace(0, 10, 400), np.linspace(0, 6, 240))
    return x, y


def creature_at(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a height that is 1 along the outline of the drawings' creature, and higher inside."""
    blobs = (
        (4.9, 3.0, 2.2, 1.05),
        (7.1, 4.1, 0.95, 0.85),
        (6.75, 5.05, 0.28, 0.5),
        (7.5, 5.05, 0.28, 0.5),
        (3.4, 1.6, 0.36, 1.05),
        (6.2, 1.6, 0.36, 1.05),
        (2.5, 3.9, 0.3, 0.95),
    )
    return sum((_blob(x, y, *blob) for blob in blobs), start=np.zeros_like(x))


def head_at(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the reference's map in the drawings: highest at the creature's head, 1 at its cut."""
    return _blob(x, y, 7.4, 4.0, 1.75, 1.6)


def _blob(
    x: NDArray[np.float64], y: NDArray[np.float64], cx: float, cy: float, rx: float, ry: float
) -> NDArray[np.float64]:
    distance = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
    return np.asarray(np.exp(-2.0 * (distance - 1.0)), dtype=np.float64)


def region_drawing(theme: Theme = LIGHT) -> Figure:
    """Draw the four regions that an object and the reference recipe's mask cut an image into."""
    x, y = drawing_grid()
    creature = creature_at(x, y)
    hit = head_at(x, y)
    dr, ndr, fpr, tn = theme.regions
    with styled(theme):
        figure = Figure(figsize=(5.8, 2.55), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_xlim(-2.9, 12.9)
        axes.set_ylim(-0.15, 6.15)
        axes.fill([0, 10, 10, 0], [0, 0, 6, 6], color=tn)
        top = 1e9
        axes.contourf(x, y, creature, levels=[1, top], colors=[ndr])
        axes.contourf(x, y, hit, levels=[1, top], colors=[fpr])
        axes.contourf(x, y, np.minimum(creature, hit), levels=[1, top], colors=[dr])
        axes.contour(x, y, creature, levels=[1], colors=[theme.text], linewidths=1.6)
        axes.contour(
            x, y, hit, levels=[1], colors=[theme.text], linewidths=1.6, linestyles="dashed"
        )
        notes = (
            ("NDR", "object,\nmissed by\nthe reference", (3.6, 3.1), (-0.25, 5.0), "right"),
            (
                "TN-region",
                "background,\nmissed by\nthe reference",
                (1.0, 1.0),
                (-0.25, 2.0),
                "right",
            ),
            ("DR", "object,\nhit by\nthe reference", (7.1, 4.0), (10.25, 5.0), "left"),
            ("FPR-region", "background,\nhit by\nthe reference", (8.55, 3.6), (10.25, 2.0), "left"),
        )
        for name, meaning, target, (left, base), side in notes:
            axes.annotate(
                "",
                target,
                (left, base + 0.2),
                arrowprops={"arrowstyle": "-|>", "color": theme.text, "shrinkA": 2, "shrinkB": 0},
            )
            axes.text(left, base, name, ha=side, va="bottom", weight="bold", fontsize=10.5)
            axes.text(left, base, meaning, ha=side, va="top", color=theme.muted, fontsize=8.5)
    return figure


def image_panel(
    image: UInt8,
    maps: Mapping[str, NDArray[np.floating[Any]]],
    class_names: Sequence[str],
    masks: Mapping[str, UInt8],
    truth: UInt8 | None,
    prediction: UInt8 | None,
    *,
    class_ids: Sequence[int],
    samples: Mapping[str, int] = MappingProxyType({}),
) -> Figure:
    """Draw one image through all recipes: a column per recipe, its heat above its pseudo-mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: For each recipe (classes present, H, W), in [0, 1].
        class_names: Names of the classes present.
        masks: For each recipe (H, W) uint8; a recipe without a mask gets an empty place.
        truth: (H, W) uint8, None if there is none.
        prediction: Of a segmentation network, (H, W) uint8, None if there is none.
        class_ids: Positions of the classes in the class list, counted from 0.
        samples: By recipe, of how many samples its maps are made; shown where it is given.

    Raises:
        ValueError: If names, ids, maps and image do not fit each other.
    """
    if len(class_names) != len(class_ids):
        raise ValueError(f"{len(class_names)} class names but {len(class_ids)} class ids")
    for recipe, scores in maps.items():
        if len(scores) != len(class_names):
            raise ValueError(f"{recipe!r} has {len(scores)} maps for {len(class_names)} classes")
    recipes = list(maps)
    bands = [recipes[i : i + _RECIPES_A_ROW] for i in range(0, len(recipes), _RECIPES_A_ROW)] or [
        []
    ]
    columns = 1 + max(len(band) for band in bands) + (prediction is not None)
    rows = len(class_names) + 1
    height, width = image.shape[:2]
    photo = fit(image, PICTURE_SIDE, smooth=True)
    with styled(LIGHT):
        side = 2.1
        figure = Figure(
            figsize=(
                columns * side + 0.3,
                len(bands) * rows * (side * height / width + 0.3) + 0.4,
            ),
            layout="constrained",
        )
        grid = figure.subplots(rows * len(bands), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for number, band in enumerate(bands):
            top = number * rows
            if number == 0:
                _picture(grid[0, 0], photo, "image")
                if truth is not None:
                    _picture(grid[rows - 1, 0], _mask(photo, truth), "ground truth")
                if prediction is not None:
                    _picture(grid[rows - 1, -1], _mask(photo, prediction), "segmentation network")
            for column, recipe in enumerate(band, start=1):
                for row, (name, score) in enumerate(zip(class_names, maps[recipe], strict=True)):
                    title = f"{recipe}: {name}" if len(class_names) > 1 else recipe
                    if recipe in samples and row == 0:
                        title += f"\n{samples[recipe]} samples"
                    _picture(grid[top + row, column], _heat(photo, score), title)
                if recipe in masks:
                    below = grid[top + rows - 1, column]
                    _picture(below, _mask(photo, masks[recipe]), "pseudo-mask")
        figure.legend(
            handles=[
                Patch(color=class_hex(class_id), label=name)
                for class_id, name in zip(class_ids, class_names, strict=True)
            ],
            loc="outside lower center",
            ncols=max(1, min(len(class_names), 6)),
            handlelength=1.0,
        )
    return figure


def label_of(recipe: str) -> str:
    """Return what to call a recipe, or the network that learned from ground truth, in a chart."""
    return "fully supervised" if recipe == GROUND_TRUTH else short(recipe)


def short(name: str) -> str:
    """Return a name as a legend has room for it."""
    return (
        name
        if len(name) <= _LONGEST_NAME
        else f"{name[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    )


def _heat(photo: UInt8, scores: NDArray[np.floating[Any]]) -> UInt8:
    return heat_overlay(photo, fit(scores.astype(np.float32), PICTURE_SIDE, smooth=True))


def _mask(photo: UInt8, mask: UInt8) -> UInt8:
    return mask_overlay(photo, fit(mask, PICTURE_SIDE, smooth=False))


def _picture(axes: Axes, pixels: UInt8, title: str) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_title(title, fontsize=10)
