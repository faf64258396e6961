"""Finished runs, one per seed -> means, deviations, intervals, differences and charts."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from ws3.config.run import RunConfig
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import write_bytes
from ws3.report.comparison import (
    NOTE,
    as_csv,
    as_latex,
    as_markdown,
    compare,
    contrasts_as_csv,
    contrasts_as_markdown,
    distances_chart,
    recalls_chart,
    samples_chart,
)
from ws3.report.figures import save
from ws3.report.model import scores_of
from ws3.run.folder import Run
from ws3.run.records import Evaluation, read_record
from ws3.tools.significance import RunsCounts, baselines

_log = logging.getLogger(__name__)


def compare_runs(runs: Sequence[Run], folder: Path, against: str | None = None) -> list[Path]:
    """Write a table, as CSV, Markdown and LaTeX, the differences, and charts; return the files.

    Where the counts of each image are there, means have intervals, and each recipe is compared with
    another one on the same images. Where they are not, a warning says what to run.

    `samples.svg` is written if recipes differ in their number of samples only, `distances.svg` if
    the runs measured by distance from the peak of the reference's map. The charts show the
    first split that the first run reports on.

    Args:
        runs: The runs, one per seed.
        folder: Where to.
        against: Recipe that the others are compared with; None: the best that weighs the last
            features channel by channel, such as CAM, at each split and stage.

    Raises:
        StaleResultError: If no recipe of a run is evaluated yet, or `against` is given and the
            counts of some images are not there.
        Ws3Error: If the runs measure the regions against different recipes, or none of them has
            the recipe `against`.
    """
    references = {run.config.reference_recipe for run in runs}
    if len(references) > 1:
        raise Ws3Error(
            f"the runs have different reference recipes ({', '.join(sorted(references))}), so "
            "their DR and NDR don't compare; choose runs with one reference_recipe"
        )
    first = runs[0].config
    evaluations = [evaluations_of(run) for run in runs]
    counts = RunsCounts.read(runs, evaluations)
    if counts.faults and against is not None:
        raise StaleResultError(counts.faults[0])
    rows = compare([scores_of(made) for made in evaluations], counts.intervals())
    contrasts = counts.contrasts(rows, baselines(runs, rows, against))
    if counts.faults:
        more = f" ({len(counts.faults)} recipes in all)" if len(counts.faults) > 1 else ""
        _log.warning("without intervals and differences: %s%s", counts.faults[0], more)
    shown = [row for row in rows if row.split == first.evaluation.splits[0]]
    tables = {
        "comparison.csv": as_csv(rows),
        "comparison.md": "\n".join(
            filter(
                None,
                [
                    NOTE if any(row.intervals for row in rows) else "",
                    as_markdown(rows),
                    contrasts_as_markdown(contrasts),
                    _classifiers(runs),
                ],
            )
        ),
        "comparison.tex": as_latex(rows, contrasts),
        "differences.csv": contrasts_as_csv(contrasts),
    }
    charts = {"recalls.svg": recalls_chart(shown, first.reference_recipe)}
    distances = distances_chart(shown)
    if distances is not None:
        charts["distances.svg"] = distances
    families = sample_families(first, {row.recipe for row in shown})
    if families:
        charts["samples.svg"] = samples_chart(families, shown, first.reference_recipe)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        write_bytes(folder / name, text.encode())
    for name, chart in charts.items():
        save(chart, folder / name)
    return [folder / name for name in (*tables, *charts)]


def sample_families(config: RunConfig, measured: Collection[str]) -> dict[str, dict[int, str]]:
    """Return measured recipes that differ in their number of samples only, three or more of a kind.

    Returns:
        The name of the first -> number of samples -> recipe.
    """
    alike: dict[str, dict[int, str]] = defaultdict(dict)
    for name, recipe in config.recipes.items():
        rest = recipe.model_dump_json(
            exclude={"samples_from": True, "samples": {"count", "samples_per_chunk"}}
        )
        count = recipe.samples.count
        random = recipe.samples.kind not in ("full", "scales")
        if name in measured and random and isinstance(count, int):
            alike[rest].setdefault(count, name)
    return {next(iter(members.values())): members for members in alike.values() if len(members) > 2}


def evaluations_of(run: Run) -> list[Evaluation]:
    """Return the evaluations that a run has so far, in the order of its recipes.

    Raises:
        StaleResultError: If it has none.
    """
    evaluations = [run.evaluation_file(recipe) for recipe in run.config.evaluated]
    found = [read_record(path, Evaluation) for path in evaluations if path.exists()]
    if not found:
        raise StaleResultError(
            f"{run.folder}: none of its recipes is evaluated; run snakemake, or ws3 evaluate, first"
        )
    return found


def _classifiers(runs: Sequence[Run]) -> str:
    lines = ["| run | seed | classifier's mAP |", "|---|---|---|"]
    for run in runs:
        if not run.config.needs_classifier:
            continue
        metrics = run.classifier.metrics
        shown = "" if metrics.mean_ap is None else f"{metrics.mean_ap:.3f} ({metrics.split})"
        lines.append(f"| {run.config.run} | {run.config.seed} | {shown} |")
    return "\n".join([*lines, ""])
