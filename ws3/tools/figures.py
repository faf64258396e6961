"""A finished run -> its charts as SVG and PDF, its tables as CSV and LaTeX, and its methods."""

from __future__ import annotations

from pathlib import Path

from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.report.charts import all_charts, charts_by_split
from ws3.report.confidence import confidence_charts
from ws3.report.figures import LIGHT, save
from ws3.report.html import papers
from ws3.report.model import scores_of
from ws3.report.tables import all_tables
from ws3.run.folder import Run
from ws3.stages.report import facts


def write_figures(run: Run, folder: Path) -> list[Path]:
    """Write everything of a run's report that a paper takes, and return the files.

    Nothing in the run's folder changes, and no image, map or mask is read. The same run gives the
    same bytes on the same machine.

    Args:
        run: A run whose recipes are all evaluated.
        folder: Gets `figures/*.svg` and `*.pdf`, `tables/*.csv` and `*.tex`, `methods.txt`,
            `methods.tex`, `methods.bib` and `provenance.json`; files of these names are replaced.

    Raises:
        StaleResultError: If a recipe is not evaluated yet.
        Ws3Error: If the folder is the run's own or holds it, or a file of the run is damaged.
    """
    own, wanted = run.folder.resolve(), folder.resolve()
    if wanted == own or wanted in own.parents:
        raise Ws3Error(
            f"{folder}: this folder is the run's, or holds it; choose one of its own with --to"
        )
    report = facts(run)
    scores = scores_of(report.evaluations)
    files = []
    by_confidence = confidence_charts(report.evaluations)
    for chart in all_charts(report, charts_by_split(report, scores), by_confidence):
        figure = chart.draw(LIGHT)
        for ending in (".svg", ".pdf"):
            path = folder / "figures" / f"{chart.name}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(figure, path)
            files.append(path)
    texts = papers(report)
    for table in all_tables(report, scores):
        texts[f"tables/{table.name}.csv"] = table.as_csv()
        if table.grids:
            texts[f"tables/{table.name}.tex"] = table.as_latex()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())
        files.append(path)
    return files


__all__ = ["write_figures"]
