"""Several runs side by side: seeds of one configuration become a mean and a deviation."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from ws3.metrics.bootstrap import Interval
from ws3.metrics.image_counts import POOLED_FIGURES
from ws3.metrics.registry import METRICS, all_metrics
from ws3.report.figures import LIGHT, Theme, distance_chart, styled
from ws3.report.latex import ends_of, escaped, tabular
from ws3.report.model import Score
from ws3.run.records import EVALUATED_STAGES, EvaluatedStage

_STAGE_TITLES = {"maps": "score maps", "masks": "pseudo-masks", "segmentation": "network"}


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs.

    Attributes:
        mean: Their mean.
        deviation: Their sample standard deviation; None of a single run.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of those values that are defined, or None."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        deviation = statistics.stdev(known) if len(known) > 1 else None
        return cls(statistics.fmean(known), deviation)

    def __str__(self) -> str:
        """Return `mean ± deviation`, with three digits."""
        tail = "" if self.deviation is None else f" ± {self.deviation:.3f}"
        return f"{self.mean:.3f}{tail}"


@dataclass(frozen=True, slots=True)
class Row:
    """One recipe at one stage on one split, over all runs.

    Attributes:
        recipe: Its name.
        split: Split that was measured.
        stage: What was measured.
        runs: Number of runs that have it.
        spreads: By the metric's name; what no run has is absent.
        distances: Share found in each tenth of the way from the peak of the reference's map; None
            where no run has it. Empty if no run measured it.
        intervals: 95 % interval of the mean, by the metric's name; not every metric has one.
    """

    recipe: str
    split: str
    stage: EvaluatedStage
    runs: int
    spreads: Mapping[str, Spread]
    distances: tuple[Spread | None, ...] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contrast:
    """How far a recipe is above another one, on the same images of the same runs.

    Attributes:
        recipe: Its name.
        against: The other one.
        split: Split that was measured.
        stage: What was measured.
        metric: Name of the metric.
        runs: Number of runs that have both.
        images: Number of images that all of them measured.
        mean: Difference of the figures, the mean over the runs.
        ends: Its 95 % interval; None if it is undefined.
        p: P value of the paired permutation test.
        p_holm: The same, adjusted for the number of recipes that are compared.
    """

    recipe: str
    against: str
    split: str
    stage: str
    metric: str
    runs: int
    images: int
    mean: float
    ends: Interval | None
    p: float
    p_holm: float


def compare(
    scores: Sequence[Sequence[Score]],
    intervals: Mapping[tuple[str, str, str], Mapping[str, Interval]] | None = None,
) -> list[Row]:
    """Return a row per recipe, split and stage that any run has, in the order of the first one.

    Args:
        scores: The scores of each run.
        intervals: Intervals by the metric's name, of each split, stage and recipe that has some.
    """
    keys = dict.fromkeys((s.split, s.stage, s.recipe) for run in scores for s in run)
    rows, metrics = [], all_metrics()
    for split, stage, recipe in keys:
        same = [
            s
            for run in scores
            for s in run
            if (s.split, s.stage, s.recipe) == (split, stage, recipe)
        ]
        spreads = {
            metric.name: spread
            for metric in metrics
            if (spread := Spread.of(score.figures.get(metric.name) for score in same)) is not None
        }
        profiles = [score.distances.found for score in same if score.distances]
        distances = tuple(map(Spread.of, zip(*profiles, strict=True)))
        ends = (intervals or {}).get((split, stage, recipe), {})
        rows.append(Row(recipe, split, stage, len(same), spreads, distances, ends))
    return rows


def as_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV: the number of runs; each metric's mean, deviation and interval."""
    text, names = io.StringIO(), [metric.name for metric in all_metrics()]
    writer = csv.writer(text, lineterminator="\n")
    heads = [
        f"{name}{ending}"
        for name in names
        for ending in ("", "_sd", *(("_low", "_high") if name in POOLED_FIGURES else ()))
    ]
    writer.writerow(["recipe", "split", "stage", "runs", *heads])
    for row in rows:
        cells: list[object] = []
        for name in names:
            spread = row.spreads.get(name)
            cells += ["", ""] if spread is None else [spread.mean, _blank(spread.deviation)]
            if name in POOLED_FIGURES:
                cells += row.intervals.get(name, ("", ""))
        writer.writerow([row.recipe, row.split, row.stage, row.runs, *cells])
    return text.getvalue()


def contrasts_as_csv(contrasts: Sequence[Contrast]) -> str:
    """Return the differences as CSV, one per row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("recipe", "against", "split", "stage", "metric", "runs", "images"),
            *("difference", "low", "high", "p", "p_holm"),
        ]
    )
    for c in contrasts:
        low, high = c.ends or ("", "")
        row = [c.recipe, c.against, c.split, c.stage, c.metric, c.runs, c.images]
        writer.writerow([*row, c.mean, low, high, c.p, c.p_holm])
    return text.getvalue()


def as_markdown(rows: Sequence[Row]) -> str:
    """Return Markdown: per split mIoU with the stages side by side, then all else per stage.

    An arrow in a column's head says whether a higher or a lower value is better.
    """
    lines = []
    for split in dict.fromkeys(row.split for row in rows):
        here = [row for row in rows if row.split == split]
        lines += [f"Split: {split}", "", *_miou_table(here), ""]
        for stage in EVALUATED_STAGES:
            measured = [row for row in here if row.stage == stage]
            if measured:
                lines += [f"{_STAGE_TITLES[stage].capitalize()}:", "", *_stage_table(measured), ""]
            if any(row.distances for row in measured):
                lines += [
                    f"{_STAGE_TITLES[stage].capitalize()}, share of the objects' pixels found, by "
                    "% of the way from the peak of the reference's map to the far end:",
                    "",
                    *_distance_table(measured),
                    "",
                ]
    return "\n".join(lines)


NOTE = """\
In brackets: 95 % interval, of a mean over draws of runs and images with replacement (hierarchical
bootstrap). p: paired permutation test, recipes swapped image by image; after Holm's correction for
the recipes that are compared at one stage.
"""
"""What the tables' brackets and p values are."""


def contrasts_as_markdown(contrasts: Sequence[Contrast]) -> str:
    """Return Markdown: a table of differences per split and metric."""
    lines = []
    for split, name in dict.fromkeys((c.split, c.metric) for c in contrasts):
        title = METRICS[name].title
        lines += [f"Differences of {title}, split {split}:", ""]
        lines += _head(
            *("recipe", "against", "stage", "runs", "images", f"{title}, difference"),
            *("p", "p after Holm"),
        )
        for c in contrasts:
            if (c.split, c.metric) == (split, name):
                numbers = (f"{c.mean:+.3f}{_ends(c.ends, '+.3f')}", f"{c.p:.4f}", f"{c.p_holm:.4f}")
                stage = _STAGE_TITLES[c.stage]
                lines.append(
                    _line(c.recipe, c.against, stage, str(c.runs), str(c.images), *numbers)
                )
        lines.append("")
    return "\n".join(lines)


def as_latex(rows: Sequence[Row], contrasts: Sequence[Contrast]) -> str:
    """Return tables for a paper, in percent, with the commands of the package booktabs.

    Per split: mIoU with the stages side by side, the score maps' PxAP, and the differences of mIoU.
    """
    lines = [
        "% In percent: mean over the runs, their standard deviation if there are several, and",
        "% the 95 % interval of the mean in brackets (bootstrap over images, and over runs).",
        "% p: paired permutation test over images; adjusted by Holm's procedure for the recipes",
        "% that are compared at one stage. Needs \\usepackage{booktabs}.",
    ]
    for split in dict.fromkeys(row.split for row in rows):
        here = [row for row in rows if row.split == split]
        stages = [s for s in EVALUATED_STAGES if any(row.stage == s for row in here)]
        found = {(row.recipe, row.stage): row for row in here}
        ranked = any("pxap" in row.spreads for row in here)
        heads = ["recipe", "runs", *(f"mIoU, {_STAGE_TITLES[stage]}" for stage in stages)]
        heads += ["PxAP"] * ranked
        table = []
        for recipe in dict.fromkeys(row.recipe for row in here):
            of_recipe = [found.get((recipe, stage)) for stage in stages]
            runs = max(row.runs for row in of_recipe if row is not None)
            cells = [_latex_cell(row, "miou") for row in of_recipe]
            if ranked:
                cells.append(_latex_cell(found.get((recipe, "maps")), "pxap"))
            table.append([escaped(recipe), str(runs), *cells])
        lines += ["", f"% Split: {split}", *tabular(heads, table)]
        differences = [
            [
                *(escaped(c.recipe), escaped(c.against), _STAGE_TITLES[c.stage]),
                f"${100 * c.mean:+.1f}$" + ends_of(c.ends, "+.1f"),
                *(f"{c.p:.4f}", f"{c.p_holm:.4f}"),
            ]
            for c in contrasts
            if (c.split, c.metric) == (split, "miou")
        ]
        if differences:
            heads = ["recipe", "against", "stage", "difference of mIoU", "$p$", "$p$ (Holm)"]
            lines += ["", *tabular(heads, differences)]
    return "\n".join([*lines, ""])


def _latex_cell(row: Row | None, name: str) -> str:
    spread = None if row is None else row.spreads.get(name)
    if row is None or spread is None:
        return "--"
    deviation = "" if spread.deviation is None else f" $\\pm$ {100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}{ends_of(row.intervals.get(name), '.1f')}"


def _miou_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of one split's table of mIoU: a recipe per row, a stage per column."""
    yield from _head(
        "recipe", "runs", *(f"mIoU \u2191, {_STAGE_TITLES[s]}" for s in EVALUATED_STAGES)
    )
    found = {(row.recipe, row.stage): row for row in rows}
    for recipe in dict.fromkeys(row.recipe for row in rows):
        stages = [found.get((recipe, stage)) for stage in EVALUATED_STAGES]
        runs = max(row.runs for row in stages if row is not None)
        yield _line(recipe, str(runs), *(_cell(row, "miou") for row in stages))


def _stage_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of one stage's table: a recipe per row, a metric per column."""
    measured = {name for row in rows for name in row.spreads} - {"miou"}
    metrics = [metric for metric in all_metrics() if metric.name in measured]
    arrows = {"higher": "\u2191", "lower": "\u2193"}
    yield from _head("recipe", "runs", *(f"{m.title} {arrows[m.direction]}" for m in metrics))
    for row in rows:
        yield _line(row.recipe, str(row.runs), *(_cell(row, metric.name) for metric in metrics))


def _distance_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of one stage's table: a recipe per row, a tenth of the way per column."""
    measured = [row for row in rows if row.distances]
    width = 100 // len(measured[0].distances)
    yield from _head("recipe", "runs", *(f"{at}-{at + width}" for at in range(0, 100, width)))
    for row in measured:
        cells = ("" if spread is None else str(spread) for spread in row.distances)
        yield _line(row.recipe, str(row.runs), *cells)


def _head(*cells: str) -> Iterator[str]:
    yield _line(*cells)
    yield f"|{'---|' * len(cells)}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def samples_chart(
    families: Mapping[str, Mapping[int, str]],
    rows: Sequence[Row],
    reference: str,
    theme: Theme = LIGHT,
) -> Figure:
    """Draw mIoU against the number of samples: maps dashed, masks solid, the reference level.

    Args:
        families: Recipes that differ in their number of samples only: name -> samples -> recipe.
        rows: Rows of one split.
        reference: Recipe drawn as horizontal lines.
        theme: Colours.
    """
    found: dict[tuple[str, str], Spread | None] = {
        (row.recipe, row.stage): row.spreads.get("miou") for row in rows
    }
    with styled(theme):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, members) in enumerate(families.items()):
            colour = theme.series[number % len(theme.series)]
            for stage, dashes in (("maps", "--"), ("masks", "-")):
                points = [
                    (count, spread)
                    for count, recipe in sorted(members.items())
                    if (spread := found.get((recipe, stage))) is not None
                ]
                axes.errorbar(
                    [count for count, _ in points],
                    [spread.mean for _, spread in points],
                    yerr=[spread.deviation or 0.0 for _, spread in points],
                    color=colour,
                    linestyle=dashes,
                    marker="o",
                    markersize=5,
                    capsize=3,
                    label=f"{name}, {stage}",
                )
        for stage, dashes in (("maps", "--"), ("masks", "-")):
            level = found.get((reference, stage))
            if level is not None:
                axes.axhline(
                    level.mean, color=theme.muted, linestyle=dashes, label=f"{reference}, {stage}"
                )
        axes.set_xscale("log")
        axes.set_xticks(sorted({count for members in families.values() for count in members}))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()
        axes.set_xlabel("samples per image")
        axes.set_ylabel("mIoU")
        figure.legend(loc="outside upper left", ncols=2)
    return figure


def recalls_chart(rows: Sequence[Row], reference: str, theme: Theme = LIGHT) -> Figure:
    """Draw NDR recall against DR recall of the masks, with the deviations over the runs.

    Args:
        rows: Rows of one split; those without the two recalls are left out.
        reference: Recipe whose maps divide the object, drawn in grey.
        theme: Colours.
    """
    with styled(theme):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        both = {"dr_recall", "ndr_recall"}  # one of them may be undefined
        shown = [row for row in rows if row.stage == "masks" and both <= row.spreads.keys()]
        for number, row in enumerate(shown):
            hit, rest = row.spreads["dr_recall"], row.spreads["ndr_recall"]
            is_reference = row.recipe == reference
            axes.errorbar(
                hit.mean,
                rest.mean,
                xerr=hit.deviation,
                yerr=rest.deviation,
                color=theme.muted if is_reference else theme.series[number % len(theme.series)],
                marker="os^DvPX"[number // len(theme.series) % 7],
                markersize=7,
                capsize=2,
                linestyle="none",
                label=row.recipe,
            )
        axes.margins(0.12)
        axes.set_xlabel("DR recall of the masks")
        axes.set_ylabel("NDR recall of the masks")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside right upper")
    return figure


def distances_chart(rows: Sequence[Row], theme: Theme = LIGHT) -> Figure | None:
    """Draw the share of the objects' pixels that the masks hold, by distance from the peak.

    Args:
        rows: Rows of one split.
        theme: Colours.

    Returns:
        None if no run measured it.
    """
    shown = {row.recipe: row.distances for row in rows if row.stage == "masks" and row.distances}
    if not shown:
        return None
    means = {
        recipe: [None if spread is None else spread.mean for spread in spreads]
        for recipe, spreads in shown.items()
    }
    deviations = {
        recipe: [None if spread is None else spread.deviation for spread in spreads]
        for recipe, spreads in shown.items()
        if any(spread is not None and spread.deviation is not None for spread in spreads)
    }
    return distance_chart(means, theme, deviations=deviations)


def _cell(row: Row | None, name: str) -> str:
    spread = None if row is None else row.spreads.get(name)
    if row is None or spread is None:
        return ""
    return f"{spread}{_ends(row.intervals.get(name), '.3f')}"


def _ends(ends: Interval | None, digits: str) -> str:
    return "" if ends is None else f" [{ends[0]:{digits}}, {ends[1]:{digits}}]"


def _blank(value: float | None) -> object:
    return "" if value is None else value
