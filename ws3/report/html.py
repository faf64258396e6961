"""The page: one HTML file with its pictures beside it, readable offline and without scripts."""

from __future__ import annotations

import base64
import math
import mimetypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.colors import to_hex

from ws3.files import json_bytes, write_bytes
from ws3.metrics.base import Metric
from ws3.report.charts import all_charts, charts_by_split
from ws3.report.confidence import confidence_charts
from ws3.report.confusions import Confusions, confusions, together
from ws3.report.figures import THEMES, save
from ws3.report.image_pictures import REGION_COLOURS
from ws3.report.model import DASH, Report, Score, best, scores_of
from ws3.report.pictures import class_hex
from ws3.report.sanity import area
from ws3.report.tables import measured_metrics
from ws3.run.records import EVALUATED_STAGES, EvaluatedStage

IMAGES_PAGE = "images.html"
"""The page of all images, beside `index.html`."""

SINGLE_PAGE = "report.html"
"""`index.html` with its pictures in it, beside it."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The scores of one split and stage."""

    split: str
    stage: EvaluatedStage
    title: str
    scores: tuple[Score, ...]
    best: Score | None
    confusions: tuple[Confusions, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that any of the scores knows."""
        return tuple(dict.fromkeys(name for score in self.scores for name in score.per_class))


def write_report(folder: Path, report: Report) -> Path:
    """Write `index.html` and the charts that it shows, and `report.html`, the same in one file.

    The pages name no date, so the same report gives the same bytes. They load nothing from outside
    their folder, and `report.html` nothing from outside itself: it can be mailed, and goes into
    `snakemake --report`. The page of all images isn't in it. Beside them lie `methods.txt`,
    `methods.tex`, `methods.bib` and `provenance.json`, if the report has these.

    Args:
        folder: Where to; created if need be. The gallery's pictures are already there.
        report: What to show.

    Returns:
        The path of the page.

    Raises:
        ValueError: If the report names a picture that is not in the folder.
    """
    for entry in report.gallery:
        for picture in entry.paths:
            if not (folder / picture).is_file():
                raise ValueError(f"gallery picture {picture} of {entry.image!r} is not in {folder}")
    scores = scores_of(report.evaluations)
    charts = charts_by_split(report, scores)
    by_confidence = confidence_charts(report.evaluations)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for chart in all_charts(report, charts, by_confidence):
        for theme in THEMES:
            save(chart.draw(theme), folder / "figures" / f"{chart.name}.{theme.name}.svg", theme)
    shown = {
        "report": report,
        "groups": _groups(report, scores),
        "highlights": _highlights(report, scores),
        "biased": [score for score in scores if score.chosen_on_reported_split],
        "undefined_splits": list(dict.fromkeys(s.split for s in scores if s.miou is None)),
        "metrics": measured_metrics(scores),
        "has_oracle": any(score.oracle for score in scores),
        "has_intervals": any(score.intervals for score in scores),
        "fully_supervised": next((s.title for s in scores if s.is_fully_supervised), None),
        "tuned_splits": sorted({s.threshold_split for s in scores if s.threshold_split}),
        "charts": charts,
        "by_confidence": by_confidence,
        "together": together(report.evaluations),
        "config_text": yaml.safe_dump(dict(report.config), sort_keys=False, allow_unicode=True),
        "total_seconds": sum(timing.seconds for timing in report.timings),
        "total_size": sum(timing.size for timing in report.timings),
    }
    if report.images:
        write_bytes(folder / IMAGES_PAGE, _images_page(report).encode())
    for name, text in papers(report).items():
        write_bytes(folder / name, text.encode())
    single = environment(lambda name: _as_data(folder / name)).get_template("index.html.j2")
    write_bytes(folder / SINGLE_PAGE, single.render(shown).encode())
    path = folder / "index.html"
    write_bytes(path, environment().get_template("index.html.j2").render(shown).encode())
    return path


def papers(report: Report) -> dict[str, str]:
    """Return what lies beside the page as files of text, by name."""
    files = {}
    if report.methods is not None:
        files["methods.txt"] = report.methods.plain()
        files["methods.tex"] = report.methods.latex()
        files["methods.bib"] = report.methods.bibtex()
    if report.provenance is not None:
        files["provenance.json"] = json_bytes(report.provenance.as_plain()).decode()
    return files


def _as_data(picture: Path) -> str:
    """Return a picture, or a file of text, as an address that holds it."""
    kind = mimetypes.guess_type(picture.name)[0] or "text/plain"
    return f"data:{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _images_page(report: Report) -> str:
    """Return the page of all images; its data are scripts beside it."""
    return (
        environment()
        .get_template("images.html.j2")
        .render(report=report, region_colours=REGION_COLOURS, heat=_heat_gradient())
    )


def _heat_gradient() -> str:
    """Return the colours of the maps from 0 to 1, for CSS."""
    colours = colormaps["inferno"](np.linspace(0, 1, 9))
    return ", ".join(to_hex(colour) for colour in colours)


def _groups(report: Report, scores: Sequence[Score]) -> list[_Group]:
    keys = dict.fromkeys((score.split, score.stage) for score in scores)
    evaluations = {evaluation.recipe: evaluation for evaluation in report.evaluations}
    return [
        _Group(
            split=split,
            stage=stage,
            title=report.stage_titles[stage],
            scores=tuple(s for s in scores if s.split == split and s.stage == stage),
            best=best(scores, split, stage),
            confusions=tuple(
                known
                for score in scores
                if (score.split, score.stage) == (split, stage)
                and (known := confusions(score, evaluations[score.recipe])) is not None
            ),
        )
        for split, stage in keys
    ]


def _highlights(report: Report, scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return the best recipe of each stage on the first split, and its lead on the reference."""
    if not scores:
        return []
    split = scores[0].split
    found = []
    for stage in EVALUATED_STAGES:
        top = best(scores, split, stage)
        if top is None or top.miou is None:
            continue
        base = [
            s for s in scores if (s.recipe, s.split, s.stage) == (report.reference, split, stage)
        ]
        lead = None
        if base and base[0].miou is not None and top.recipe != report.reference:
            lead = top.miou - base[0].miou
        found.append({"title": report.stage_titles[stage], "score": top, "lead": lead})
    return found


def environment(embedded: Callable[[str], str] | None = None) -> Environment:
    """Return what renders the templates: everything that is put into them is escaped.

    Args:
        embedded: What gives a picture's address by its name, for a page that stands alone.
    """
    made = Environment(
        loader=PackageLoader("ws3.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        cell=_cell,
        figure=_figure,
        percent=_percent,
        width=_width,
        duration=_duration,
        size=_size,
        rate=_rate,
        area=area,
        ends=_ends,
    )
    made.globals.update(class_hex=class_hex, dash=DASH)
    made.globals.update(picture=embedded or str, stands_alone=embedded is not None)
    return made


def _figure(value: float | None, metric: Metric[Any]) -> str:
    """Return a metric's value as the page shows it."""
    return DASH if value is None else metric.text(value)


def _ends(ends: tuple[float, float] | None, metric: Metric[Any]) -> str:
    """Return an interval as the page shows it, or nothing."""
    return "" if ends is None else f"[{metric.text(ends[0])}, {metric.text(ends[1])}]"


def _percent(share: float | None, digits: int = 1) -> str:
    return DASH if share is None else f"{100 * share:.{digits}f}"


def _cell(value: float, is_share: bool) -> str:
    """Return a matrix's cell: a share in whole percent, or a count; empty if it would be 0."""
    shown = f"{100 * value if is_share else value:.0f}"
    return "" if shown == "0" else shown


def _width(share: float | None) -> str:
    """Return a share as the length of a bar, for CSS."""
    return "0" if share is None else f"{100 * min(1.0, max(0.0, share)):.1f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    power = min(4, int(math.log10(count)) // 3)
    return f"{count / 1000**power:.1f} {('', 'kB', 'MB', 'GB', 'TB')[power]}"


def _rate(images: int, seconds: float) -> str:
    return f"{images / seconds:.3g}" if seconds > 0 and images else DASH
