"""Finished runs, one per seed -> means, deviations and two charts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from ws3.config.run import RunConfig
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import write_bytes
from ws3.report.comparison import as_csv, as_markdown, compare, recalls_chart, samples_chart
from ws3.report.figures import save
from ws3.report.model import Score, scores_of
from ws3.run.folder import Run
from ws3.run.records import Evaluation, read_record


def compare_runs(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write a table, as CSV and as Markdown, and charts; return the files.

    `samples.svg` is written if recipes differ in their number of samples only. The charts show the
    first split that the first run reports on.

    Raises:
        StaleResultError: If no recipe of a run is evaluated yet.
        Ws3Error: If the runs measure the regions against different recipes.
    """
    references = {run.config.reference_recipe for run in runs}
    if len(references) > 1:
        raise Ws3Error(
            f"the runs have different reference recipes ({', '.join(sorted(references))}), so "
            "their DR and NDR don't compare; choose runs with one reference_recipe"
        )
    first = runs[0].config
    rows = compare([_scores(run) for run in runs])
    shown = [row for row in rows if row.split == first.evaluation.splits[0]]
    tables = {
        "comparison.csv": as_csv(rows),
        "comparison.md": "\n".join([as_markdown(rows), _classifiers(runs)]),
    }
    charts = {"recalls.svg": recalls_chart(shown, first.reference_recipe)}
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


def _scores(run: Run) -> tuple[Score, ...]:
    evaluations = [run.evaluation_file(recipe) for recipe in run.config.evaluated]
    found = [read_record(path, Evaluation) for path in evaluations if path.exists()]
    if not found:
        raise StaleResultError(
            f"{run.folder}: none of its recipes is evaluated; run snakemake, or ws3 evaluate, first"
        )
    return scores_of(found)


def _classifiers(runs: Sequence[Run]) -> str:
    lines = ["| run | seed | classifier's mAP |", "|---|---|---|"]
    for run in runs:
        metrics = run.classifier.metrics
        shown = "" if metrics.mean_ap is None else f"{metrics.mean_ap:.3f} ({metrics.split})"
        lines.append(f"| {run.config.run} | {run.config.seed} | {shown} |")
    return "\n".join([*lines, ""])
