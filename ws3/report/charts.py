"""All charts of a report, by name: for the page in its themes, and as files for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ws3.report.confidence import ConfidenceCharts
from ws3.report.drawings import distance_drawing
from ws3.report.figures import (
    Chart,
    distance_chart,
    miou_chart,
    recall_chart,
    recalls,
    region_drawing,
    samples_histogram,
    sweep_chart,
)
from ws3.report.graph_drawing import graph_drawing
from ws3.report.model import Report, Score
from ws3.report.sanity import sanity_chart
from ws3.run.records import EVALUATED_STAGES, EvaluatedStage

_FILE_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class SplitCharts:
    """The charts of one split; None where there is nothing to draw.

    Attributes:
        split: Its name.
        miou: Each recipe's mIoU, stage by stage.
        sweep: mIoU of the maps by threshold.
        recall: NDR recall against DR recall.
        distances: By stage, the share of the objects found by distance from the reference's peak.
    """

    split: str
    miou: Chart
    sweep: Chart | None
    recall: Chart | None
    distances: Mapping[EvaluatedStage, Chart]

    def __iter__(self) -> Iterator[Chart]:
        """Return all of them, in the order of the page."""
        found = (self.miou, self.sweep, self.recall, *self.distances.values())
        return (chart for chart in found if chart is not None)


def charts_by_split(report: Report, scores: Sequence[Score]) -> list[SplitCharts]:
    """Return the charts of each split that has scores."""
    splits = list(dict.fromkeys(score.split for score in scores))
    # A split's name need not be fit for a file; its number is.
    named = len({name.lower() for name in splits if _FILE_NAME.fullmatch(name)}) == len(splits)
    return [
        _of_split(report, [score for score in scores if score.split == split], split, file)
        for file, split in (
            (split if named else str(number), split) for number, split in enumerate(splits)
        )
    ]


def _of_split(report: Report, here: Sequence[Score], split: str, file: str) -> SplitCharts:
    maps = [score for score in here if score.stage == "maps"]
    distances = {}
    for stage in EVALUATED_STAGES:
        known = {score.recipe: score.distances for score in here if score.stage == stage}
        if any(known.values()):
            found = {name: d.found if (d := known.get(name)) else () for name in report.recipes}
            distances[stage] = Chart(f"distance-{file}-{stage}", partial(distance_chart, found))
    has_sweep = any(score.sweep for score in maps)
    has_recall = any(recalls(score) for score in here)
    return SplitCharts(
        split=split,
        miou=Chart(f"miou-{file}", partial(miou_chart, here, report.reference)),
        sweep=Chart(f"sweep-{file}", partial(sweep_chart, maps)) if has_sweep else None,
        recall=Chart(f"recall-{file}", partial(recall_chart, here)) if has_recall else None,
        distances=distances,
    )


def all_charts(
    report: Report, by_split: Sequence[SplitCharts], by_confidence: Sequence[ConfidenceCharts]
) -> list[Chart]:
    """Return all charts that the page shows, in its order.

    Args:
        report: What the page shows.
        by_split: Its charts of each split.
        by_confidence: Those of the masks' confidence.
    """
    charts = [Chart("regions", region_drawing)]
    if any(found.distances for found in by_split):
        charts.append(Chart("distance", distance_drawing))
    charts += [chart for found in by_split for chart in found]
    for of_split in by_confidence:
        charts += of_split.charts
    if report.sample_counts:
        charts.append(Chart("samples", partial(samples_histogram, report.sample_counts)))
    if report.sanity is not None:
        checked = report.sanity
        charts.append(Chart("checks", partial(sanity_chart, checked.recipes, checked.depths)))
    if report.graph is not None:
        charts.append(Chart("jobs", partial(graph_drawing, report.graph)))
    return charts


__all__ = ["Chart", "SplitCharts", "all_charts", "charts_by_split"]
