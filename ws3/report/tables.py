"""The tables of a report as CSV, all digits kept, and as LaTeX, as the page shows them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ws3.metrics.base import Metric
from ws3.metrics.pairs import shares_of_truth
from ws3.metrics.registry import all_metrics
from ws3.report.confidence import confidence_charts
from ws3.report.confusions import confusions, together
from ws3.report.latex import ends_of, escaped, tabular
from ws3.report.model import Report, Score, best
from ws3.report.sanity import area
from ws3.run.records import EvaluatedStage

_NONE = "--"
_ARROWS = {"higher": "", "lower": r" $\downarrow$"}


@dataclass(frozen=True, slots=True)
class Grid:
    """One `tabular`.

    Attributes:
        title: What it shows, in plain words.
        heads: Of the columns, in LaTeX.
        rows: Cells, in LaTeX.
        words: How many of the first columns hold words.
        notes: What a reader of the file should know, line by line.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the page.

    Attributes:
        name: Of its files, without ending.
        about: What it shows, and in which unit.
        columns: Heads of the CSV.
        rows: Rows of the CSV; None is undefined.
        grids: The same for LaTeX; none of a table that the page shows as a chart only.
    """

    name: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    grids: Sequence[Grid] = ()

    def as_csv(self) -> str:
        """Return the table as CSV; what is undefined is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def as_latex(self) -> str:
        r"""Return the table as LaTeX, to be read with `\input` inside a `table`."""
        lines = [f"% {self.about}", r"% Needs \usepackage[T1]{fontenc} and \usepackage{booktabs}."]
        for grid in self.grids:
            lines += ["" if grid is self.grids[0] else "\n\\medskip\n"]
            lines += tabular(grid.heads, grid.rows, grid.words, escaped(grid.title))
            lines += [f"% {' '.join(note.split())}" for note in grid.notes]
        return "\n".join([*lines, ""])


def measured_metrics(scores: Sequence[Score]) -> dict[str, list[Metric[Any]]]:
    """Return the metrics that any score has, by the table that shows them."""
    measured = {name for score in scores for name in score.figures}
    tables: dict[str, list[Metric[Any]]] = {"scores": [], "regions": []}
    for metric in all_metrics():
        if metric.name in measured:
            tables[metric.table].append(metric)
    return tables


def all_tables(report: Report, scores: Sequence[Score]) -> list[Table]:
    """Return all tables that the page shows, in its order; those without a row are left out.

    The numbers behind its curves are tables too, of CSV alone.

    Args:
        report: What the page shows.
        scores: Its scores.
    """
    metrics = measured_metrics(scores)
    found = [
        _figures(report, scores, "scores", metrics["scores"]),
        _figures(report, scores, "regions", metrics["regions"]),
        _sweep(scores),
        _distances(scores),
        _confidence(report),
        _classes(report, scores),
        _confusions(report, scores),
        _together(report),
        _dataset(report),
        _skipped(report),
        _times(report),
        _samples(report),
        _checks(report),
        _check_curves(report),
        _made(report),
    ]
    return [table for table in found if table.rows]


def _figures(
    report: Report, scores: Sequence[Score], name: str, metrics: Sequence[Metric[Any]]
) -> Table:
    """Return the figures of every recipe, with intervals, threshold and ignored pixels."""
    with_ends = {metric for score in scores for metric in score.intervals}
    has_oracle = name == "scores" and any(score.oracle for score in scores)
    columns = ["split", "stage", "recipe", "images"]
    for metric in metrics:
        ends = ("_low", "_high") if metric.name in with_ends else ()
        columns += [metric.name, *(f"{metric.name}{end}" for end in ends)]
    columns += ["threshold", "threshold_kind", "threshold_split", "ignored_share"]
    columns += ["oracle_miou", "oracle_threshold"] * has_oracle
    rows: list[list[object]] = []
    for score in scores:
        cells: list[object] = [score.split, score.stage, score.recipe, score.images]
        for metric in metrics:
            cells.append(score.figures.get(metric.name))
            if metric.name in with_ends:
                cells += score.intervals.get(metric.name, (None, None))
        cells += [score.threshold, score.threshold_kind, score.threshold_split]
        cells.append(score.ignored_share)
        if has_oracle:
            oracle = score.oracle
            cells += (None, None) if oracle is None else (oracle.miou, oracle.threshold)
        rows.append(cells)
    grids = []
    for (split, stage), here in _groups(scores).items():
        shown = [m for m in metrics if any(score.figures.get(m.name) is not None for score in here)]
        top = best(scores, split, stage)
        heads = ["recipe", *(_head(metric) for metric in shown)]
        heads += ["threshold", r"ignored, \%"] * (name == "scores")
        lines = [
            [
                escaped(score.title),
                *(_figure(score, m, bold=score is top and m.name == "miou") for m in shown),
                *([_threshold(score), _percent(score.ignored_share, 2)] * (name == "scores")),
            ]
            for score in here
        ]
        notes = [
            f"{score.title}: threshold {score.threshold_text}, {score.provenance}" for score in here
        ]
        grids.append(Grid(f"{report.stage_titles[stage]}, {split}", heads, lines, notes=notes))
    about = "Means over the classes, shares in percent; in brackets 95 % intervals (bootstrap)."
    return Table(name, about, columns, rows if metrics else [], grids)


def _sweep(scores: Sequence[Score]) -> Table:
    rows = [
        (score.split, score.recipe, threshold, miou)
        for score in scores
        for threshold, miou in score.sweep
    ]
    about = "mIoU of the maps at every constant threshold."
    return Table("sweep", about, ("split", "recipe", "threshold", "miou"), rows)


def _distances(scores: Sequence[Score]) -> Table:
    rows = [
        (score.split, score.stage, score.recipe, tenth / 10, found)
        for score in scores
        for tenth, found in enumerate(score.distances.found if score.distances else (), start=1)
    ]
    columns = ("split", "stage", "recipe", "way_from_peak_to", "found")
    about = "Share of the objects' pixels found, by tenths of the way from the reference's peak."
    return Table("distances", about, columns, rows)


def _confidence(report: Report) -> Table:
    rows, grids = [], []
    columns = ("confidence_from", "mean_coverage", "mean_precision", "coverage", "precision")
    heads = [
        *("confidence from", r"coverage, \%", r"precision, \%"),
        *(r"coverage, all pixels, \%", r"precision, all pixels, \%"),
    ]
    for found in confidence_charts(report.evaluations):
        for recipe, cuts in found.tables.items():
            rows += [(found.split, recipe, *cut) for cut in cuts]
            lines = [[f"{cut[0] or 0:.2f}", *map(_percent, cut[1:])] for cut in cuts]
            grids.append(Grid(f"{recipe}, {found.split}", heads, lines, words=0))
    about = "What cuts of the masks' confidence keep and is right; the first two are label means."
    return Table("confidence", about, ("split", "recipe", *columns), rows, grids)


def _classes(report: Report, scores: Sequence[Score]) -> Table:
    figures = dict.fromkeys(
        key for score in scores for found in score.per_class.values() for key in found.figures
    )
    rows = [
        (
            *(score.split, score.stage, score.recipe, name, found.images),
            *(found.figures.get(key) for key in figures),
        )
        for score in scores
        for name, found in score.per_class.items()
    ]
    grids = []
    for (split, stage), here in _groups(scores).items():
        names = dict.fromkeys(name for score in here for name in score.per_class)
        lines = [
            [
                escaped(name),
                *(
                    _percent(found.figures.get("iou") if (found := s.per_class.get(name)) else None)
                    for s in here
                ),
            ]
            for name in names
        ]
        if lines:
            heads = ["class", *(escaped(score.title) for score in here)]
            grids.append(Grid(f"{report.stage_titles[stage]}, {split}", heads, lines))
    columns = ("split", "stage", "recipe", "class", "images", *figures)
    return Table("classes", "IoU of each class in percent.", columns, rows, grids)


def _confusions(report: Report, scores: Sequence[Score]) -> Table:
    evaluations = {evaluation.recipe: evaluation for evaluation in report.evaluations}
    rows, grids = [], []
    for score in scores:
        if score.confusion is None:
            continue
        names = ("background", *evaluations[score.recipe].classes)
        shares = shares_of_truth(score.confusion)
        rows += [
            (
                *(score.split, score.stage, score.recipe, names[truth], names[called], pixels),
                None if shares[truth][called] != shares[truth][called] else shares[truth][called],
            )
            for truth, line in enumerate(score.confusion)
            for called, pixels in enumerate(line)
        ]
        known = confusions(score, evaluations[score.recipe])
        title = f"{score.title}, {report.stage_titles[score.stage]}, {score.split}"
        if known is not None and known.names:
            lines = [
                [escaped(name), *(_NONE if s is None else f"{100 * s:.0f}" for s in line)]
                for name, line in zip(known.names, known.matrix, strict=True)
            ]
            heads = ["is / called", *map(escaped, known.names)]
            grids.append(Grid(f"{title}. In percent of the row's pixels.", heads, lines))
        for kind, pairs in ({} if known is None else known.tables).items():
            lines = [
                [escaped(p.first), escaped(p.second), _percent(p.share), str(p.count)]
                for p in pairs
            ]
            heads = ["pixels that are", "are called", r"share, \%", "pixels"]
            grids.append(Grid(f"{title}. {kind}.", heads, lines, words=2))
    columns = ("split", "stage", "recipe", "class", "called", "pixels", "share")
    about = "Pixels by class in the ground truth and in the mask."
    return Table("confusions", about, columns, rows, grids)


def _together(report: Report) -> Table:
    rows: dict[str, list[tuple[object, ...]]] = {}
    for evaluation in report.evaluations:
        for split, matrix in evaluation.together.items():
            if split not in rows:
                rows[split] = [
                    (split, evaluation.classes[first], evaluation.classes[second], images)
                    for first, line in enumerate(matrix)
                    for second, images in enumerate(line)
                ]
    heads = ["images with", "that also show", r"share, \%", "images"]
    grids = [
        Grid(
            f"The pairs that most images show, {found.split}",
            heads,
            [
                [escaped(p.first), escaped(p.second), _percent(p.share), str(p.count)]
                for p in found.pairs
            ],
            words=2,
        )
        for found in together(report.evaluations)
        if found.pairs
    ]
    about = "Measured images that are labelled with both classes; with the same twice, with it."
    columns = ("split", "class", "with", "images")
    return Table("together", about, columns, [row for of in rows.values() for row in of], grids)


def _dataset(report: Report) -> Table:
    data, classifier = report.dataset, report.classifier
    precisions = {} if classifier is None else classifier.metrics.per_class_ap
    counts = [
        (name, *(data.class_images.get(split, {}).get(name, 0) for split in data.images))
        for name in data.classes
    ]
    rows: list[tuple[object, ...]] = [(*row, precisions.get(str(row[0]))) for row in counts]
    heads = ["class", *map(escaped, data.images), *([r"AP, \%"] if classifier else [])]
    lines = [
        [escaped(str(row[0])), *map(str, row[1:]), *([_percent(ap)] if classifier else [])]
        for row, ap in zip(counts, map(precisions.get, data.classes), strict=True)
    ]
    whole = [] if classifier is None else [_percent(classifier.metrics.mean_ap)]
    lines.append(["images in all", *map(str, data.images.values()), *whole])
    about = "Images that contain each class, and the classifier's average precision (last: mean)."
    columns = ("class", *data.images, "classifier_ap")
    return Table("dataset", about, columns, rows, [Grid(data.name, heads, lines)])


def _skipped(report: Report) -> Table:
    rows = [(one.image, one.split, one.reason) for one in report.dataset.skipped]
    lines = [[escaped(cell) for cell in row] for row in rows]
    grid = Grid("Skipped images", ["image", "split", "reason"], lines, words=3)
    about = "Images that the run left out, and why."
    return Table("skipped", about, ("image", "split", "reason"), rows, [grid])


def _times(report: Report) -> Table:
    rows = [(one.stage, one.recipe, one.images, one.seconds, one.size) for one in report.timings]
    lines = [
        [
            *(escaped(one.stage), escaped(one.recipe), str(one.images)),
            *(f"{one.seconds:.1f}", f"{one.size / 1e6:.1f}"),
        ]
        for one in report.timings
    ]
    heads = ["stage", "recipe", "images", "seconds", "MB"]
    columns = ("stage", "recipe", "images", "seconds", "bytes")
    about = "Seconds summed over the jobs, and what was written."
    return Table("time", about, columns, rows, [Grid("Time and space", heads, lines, words=2)])


def _samples(report: Report) -> Table:
    rows = [
        (recipe, len(taken), sum(taken) / len(taken), min(taken), max(taken))
        for recipe, taken in report.sample_counts.items()
    ]
    lines = [
        [escaped(recipe), str(images), f"{mean:.1f}", str(least), str(most)]
        for recipe, images, mean, least, most in rows
    ]
    heads = ["recipe", "images", "mean", "least", "most"]
    about = "Samples that images took, of recipes with an adaptive count."
    return Table("samples", about, heads, rows, [Grid("Samples per image", heads, lines)])


def _checks(report: Report) -> Table:
    """Return what `ws3 recipes --check` found, a row per recipe."""
    found = report.sanity
    depths = () if found is None else found.depths
    rows, lines = [], []
    for one in () if found is None else found.recipes:
        likeness = one.likeness or (None,) * len(depths)
        areas = area(one.deletion), area(one.insertion)
        rows.append((one.recipe, *likeness, *areas))
        shown = [_NONE if value is None else f"${value:.2f}$" for value in likeness]
        lines.append([escaped(one.recipe), *shown, *(f"{value:.3f}" for value in areas)])
    shares = [f"{100 * depth:.0f}" for depth in depths]
    heads = ["recipe", *(f"{share} \\%" for share in shares), "deletion", "insertion"]
    columns = ["recipe", *(f"likeness_{share}" for share in shares)]
    about = (
        "Rank correlation of the maps with those of shuffled weights, by the share of layers below "
        "the last that are shuffled too; areas under the curves of deletion (less) and insertion."
    )
    grid = Grid("Checks of the recipes", heads, lines)
    return Table("checks", about, [*columns, "deletion_area", "insertion_area"], rows, [grid])


def _check_curves(report: Report) -> Table:
    rows = [
        (one.recipe, step / (len(one.deletion) - 1), gone, there)
        for one in (() if report.sanity is None else report.sanity.recipes)
        for step, (gone, there) in enumerate(zip(one.deletion, one.insertion, strict=True))
    ]
    about = "Probability of the class by the share of pixels deleted, or inserted."
    return Table("check_curves", about, ("recipe", "pixels", "deletion", "insertion"), rows)


def _made(report: Report) -> Table:
    """Return what each stage made, with fingerprints."""
    stages = () if report.provenance is None else report.provenance.stages
    rows = [
        (
            *(one.stage, one.recipe, one.jobs, one.images, one.version),
            *(one.fingerprint, one.sha256, " ".join(one.hosts)),
        )
        for one in stages
    ]
    lines = [
        [
            *(escaped(one.stage), escaped(one.recipe), str(one.jobs)),
            *(_NONE if number is None else str(number) for number in (one.images, one.version)),
            f"\\texttt{{{one.fingerprint[:12]}}}",
        ]
        for one in stages
    ]
    heads = ["stage", "recipe", "jobs", "images", "version", "fingerprint"]
    columns = ("stage", "recipe", "jobs", "images", "version", "fingerprint", "sha256", "hosts")
    about = "What each stage made, and a digest of all that it was made from."
    grid = Grid("Provenance", heads, lines, words=2)
    return Table("provenance", about, columns, rows, [grid])


def _groups(scores: Iterable[Score]) -> Mapping[tuple[str, EvaluatedStage], list[Score]]:
    found: dict[tuple[str, EvaluatedStage], list[Score]] = {}
    for score in scores:
        found.setdefault((score.split, score.stage), []).append(score)
    return found


def _threshold(score: Score) -> str:
    return _NONE if score.threshold is None else score.threshold_text


def _head(metric: Metric[Any]) -> str:
    unit = "" if metric.unit == "share" else f", {escaped(metric.unit)}"
    return f"{escaped(metric.title)}{unit}{_ARROWS[metric.direction]}"


def _figure(score: Score, metric: Metric[Any], *, bold: bool) -> str:
    value = score.figures.get(metric.name)
    if value is None:
        return _NONE
    text = f"\\textbf{{{metric.text(value)}}}" if bold else metric.text(value)
    ends = score.intervals.get(metric.name) if metric.unit == "share" else None
    return f"{text}{ends_of(ends, '.1f')}"


def _percent(share: float | None, digits: int = 1) -> str:
    return _NONE if share is None else f"{100 * share:.{digits}f}"


__all__ = ["Grid", "Table", "all_tables", "measured_metrics"]
