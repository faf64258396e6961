"""Several runs side by side: seeds of one configuration become a mean and a deviation."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from ws3.report.figures import LIGHT, Theme, styled
from ws3.report.model import STAGES, Score

METRICS = (
    *("miou", "precision", "recall", "pxap", "dr_recall", "ndr_recall"),
    *("fpr_region_rate", "tn_region_rate", "boundary_iou"),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs.

    Attributes:
        mean: Their mean.
        deviation: Their sample standard deviation; None of a single run.
        runs: How many have it.
    """

    mean: float
    deviation: float | None
    runs: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of those values that are defined, or None."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        deviation = statistics.stdev(known) if len(known) > 1 else None
        return cls(statistics.fmean(known), deviation, len(known))

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
        stage: maps, masks or segmentation.
        runs: Number of runs that have it.
        spreads: By metric; what no run has is missing.
    """

    recipe: str
    split: str
    stage: str
    runs: int
    spreads: Mapping[str, Spread]


def compare(scores: Sequence[Sequence[Score]]) -> list[Row]:
    """Return a row per recipe, split and stage that any run has, in the order of the first one.

    Args:
        scores: The scores of each run.
    """
    keys = dict.fromkeys((s.split, s.stage, s.recipe) for run in scores for s in run)
    rows = []
    for split, stage, recipe in keys:
        same = [
            s
            for run in scores
            for s in run
            if (s.split, s.stage, s.recipe) == (split, stage, recipe)
        ]
        spreads = {
            metric: spread
            for metric in METRICS
            if (spread := Spread.of(getattr(score, metric) for score in same)) is not None
        }
        rows.append(Row(recipe, split, stage, len(same), spreads))
    return rows


def as_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV: for each metric its mean, deviation and number of runs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["recipe", "split", "stage", "runs", *(f"{m}{end}" for m in METRICS for end in ("", "_sd"))]
    )
    for row in rows:
        cells: list[object] = []
        for metric in METRICS:
            spread = row.spreads.get(metric)
            cells += ["", ""] if spread is None else [spread.mean, _blank(spread.deviation)]
        writer.writerow([row.recipe, row.split, row.stage, row.runs, *cells])
    return text.getvalue()


def as_markdown(rows: Sequence[Row]) -> str:
    """Return a table a split: a line a recipe, its stages side by side."""
    lines = []
    for split in dict.fromkeys(row.split for row in rows):
        found = {(row.recipe, row.stage): row for row in rows if row.split == split}
        lines += [
            f"Split: {split}",
            "",
            "| recipe | runs | mIoU maps | mIoU masks | mIoU network | PxAP "
            "| DR / NDR recall, maps | DR / NDR recall, masks |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for recipe in dict.fromkeys(row.recipe for row in rows if row.split == split):
            maps, masks, network = (found.get((recipe, stage)) for stage in STAGES)
            cells = [
                _cell(maps, "miou"),
                _cell(masks, "miou"),
                _cell(network, "miou"),
                _cell(maps, "pxap"),
                f"{_cell(maps, 'dr_recall')} / {_cell(maps, 'ndr_recall')}",
                f"{_cell(masks, 'dr_recall')} / {_cell(masks, 'ndr_recall')}",
            ]
            runs = max(row.runs for row in (maps, masks, network) if row is not None)
            lines.append(f"| {recipe} | {runs} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


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
    found = {(row.recipe, row.stage): row.spreads.get("miou") for row in rows}
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
        axes.set_xlabel("samples an image")
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
        shown = [row for row in rows if row.stage == "masks" and "ndr_recall" in row.spreads]
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
        figure.legend(loc="outside right upper")
    return figure


def _cell(row: Row | None, metric: str) -> str:
    spread = None if row is None else row.spreads.get(metric)
    return "" if spread is None else str(spread)


def _blank(value: float | None) -> object:
    return "" if value is None else value
