"""everything -> report/index.html."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ws3 import __version__
from ws3.datasets.index import ImageRow
from ws3.report.gallery import write_gallery_entry
from ws3.report.html import write_report
from ws3.report.model import DatasetFacts, GalleryEntry, Report, SkippedImage, Timing
from ws3.run.folder import Run
from ws3.run.records import Evaluation, IndexFacts, read_record
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth, sample_counts
from ws3.run.skips import skip_reason
from ws3.run.status import folder_bytes, receipts_of, seconds_of
from ws3.stage_table import STAGES
from ws3.stages.evaluate import EVALUATED_FROM
from ws3.stages.report_images import write_images

_GALLERY = 8
PROGRAMS = ("torch", "torchvision", "zarr", "numpy", "pydensecrf2", "captum", "lightning")


def report(run: Run) -> Path:
    """Write the report, and return its page.

    Raises:
        StaleResultError: If a result that it shows is missing or made from other inputs.
    """
    folder = run.report_file.parent
    folder.mkdir(parents=True, exist_ok=True)
    return write_report(
        folder,
        Report(
            run=run.config.run,
            config=run.config.model_dump(mode="json"),
            evaluations=[
                read_record(run.evaluation_file(name), Evaluation) for name in run.config.evaluated
            ],
            dataset=_dataset(run),
            classifier=run.classifier if run.config.needs_classifier else None,
            gallery=tuple(_gallery(run)),
            timings=tuple(_timings(run)),
            empty_masks=_empty_masks(run),
            sample_counts=_sample_counts(run),
            images=write_images(run),
            versions={"ws3": __version__, **{name: version(name) for name in PROGRAMS}},
        ),
    )


def _dataset(run: Run) -> DatasetFacts:
    good = [row for row in run.index.rows if not row.problem]
    splits = list(dict.fromkeys(row.split for row in run.index.rows))
    skipped = {row.image: SkippedImage(row.title, row.split, row.problem) for row in run.index.rows}
    seen = read_record(run.index_facts, IndexFacts)
    left_out = [
        SkippedImage(row.title, row.split, f"{recipe}, {reason}")
        for row in good
        for recipe in run.config.evaluated
        if (reason := skip_reason(run, recipe, row, EVALUATED_FROM))
    ]
    return DatasetFacts(
        name=run.config.dataset.kind,
        classes=run.index.classes,
        images={split: sum(row.split == split for row in good) for split in splits},
        class_images={
            split: {
                name: sum(row.split == split and name in row.labels for row in good)
                for name in run.index.classes
            }
            for split in splits
        },
        skipped=(*(entry for entry in skipped.values() if entry.reason), *left_out),
        facts=seen.facts,
        warnings=seen.warnings,
    )


def _empty_masks(run: Run) -> dict[str, tuple[int, int]]:
    labelled = {row.image for row in run.index.rows if row.labels}
    found = {}
    for recipe in run.config.recipes:
        receipts = receipts_of(run, "masks", recipe)
        empty = {image for receipt in receipts for image in receipt.empty} & labelled
        made = {image for receipt in receipts for image in receipt.images} & labelled
        if empty:
            found[recipe] = (len(empty), len(made))
    return found


def _sample_counts(run: Run) -> dict[str, tuple[int, ...]]:
    rows = run.mapped_rows(run.config.map_splits)
    counts = {
        recipe: tuple(sample_counts(run, recipe, rows).values()) for recipe in run.config.recipes
    }
    return {recipe: taken for recipe, taken in counts.items() if taken}


def _gallery(run: Run) -> Iterator[GalleryEntry]:
    rows = [
        row
        for row in run.mapped_rows([run.config.evaluation.splits[0]])
        if not any(skip_reason(run, name, row, EVALUATED_FROM) for name in run.config.evaluated)
    ]
    readers = {name: RecipeResults(run, name) for name in run.config.evaluated}
    for row in _spread(rows, _GALLERY):
        yield write_gallery_entry(
            run.report_file.parent,
            row.image,
            row.split,
            load_image(row),
            row.labels,
            [value - 1 for value in run.class_values(row)],
            {recipe: readers[recipe].maps(row) for recipe in run.config.recipes},
            {recipe: readers[recipe].mask(row) for recipe in run.config.recipes},
            title=row.title,
            truth=load_truth(run, row) if row.mask else None,
            predictions={
                recipe: readers[recipe].prediction(row) for recipe in run.config.segmentation_names
            },
        )


def _spread(rows: list[ImageRow], count: int) -> list[ImageRow]:
    """Return some rows, evenly spread; those with several labels show most."""
    several = [row for row in rows if len(row.labels) > 1]
    chosen = several if len(several) >= count else rows
    places = np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)
    return [chosen[place] for place in places]


def _timings(run: Run) -> Iterator[Timing]:
    for stage in STAGES:
        seconds = seconds_of(run, stage)
        for recipe in dict.fromkeys((*STAGES[stage].recipes(run.config), *run.config.evaluated)):
            found = receipts_of(run, stage, recipe)
            if found:
                yield Timing(
                    stage=stage,
                    recipe=recipe,
                    images=sum(len(receipt.images) for receipt in found),
                    seconds=seconds.get(recipe, 0.0),
                    size=folder_bytes(run.results(stage, recipe)),
                )
