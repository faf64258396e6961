"""maps, masks, predictions + ground truth -> evaluation/<recipe>.json and summary.csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ws3.config.run import GROUND_TRUTH
from ws3.datasets.images import read_label_mask
from ws3.datasets.index import ImageRow
from ws3.files import atomic_file, write_json
from ws3.jobs.progress import ProgressReport
from ws3.masks.background import add_background, hard_labels
from ws3.metrics.boundary import BoundaryIou
from ws3.metrics.confusion import Confusion
from ws3.metrics.pixel_ap import PixelAveragePrecision
from ws3.metrics.regions import PartRecall, RegionProfile
from ws3.metrics.summary import summarise
from ws3.metrics.sweep import ThresholdSweep
from ws3.run.folder import Run, read_json
from ws3.run.results import read_maps, read_prediction, read_pseudo_mask
from ws3.run.skips import skip_reason
from ws3.stage_table import STAGES, stages_before
from ws3.stages.threshold import chosen_background

Mask = NDArray[np.uint8]

COLUMNS = (
    *("recipe", "seed", "split", "stage"),
    *("miou", "pxap", "precision", "recall", "dr_recall", "ndr_recall"),
    *("fp_share", "fn_share", "boundary_iou"),
    *("threshold", "threshold_split", "ignored_share"),
)
"""Columns of `summary.csv`."""


class _StageScores:
    """Counts of one stage's masks against the ground truth."""

    def __init__(self, classes: int) -> None:
        self.confusion = Confusion(classes)
        self.boundary = BoundaryIou(classes)
        self.regions = RegionProfile(classes)
        self.parts = PartRecall(classes)

    def update(
        self, truth: Mask, reference: Mask, mask: Mask, values: list[int], parts: Mask | None
    ) -> None:
        self.confusion.update(truth, mask)
        self.boundary.update(truth, mask)
        self.regions.update(truth, reference, mask, values)
        if parts is not None:
            self.parts.update(truth, parts, mask)


def evaluate(run: Run, recipe: str) -> None:
    """Measure one recipe, or `ground_truth`, on every split that the configuration reports on.

    Images without ground truth are left out; a split without any gets no figures.

    Raises:
        StaleResultError: if a map, mask or prediction is missing or made from other inputs.
        Ws3Error: if the run has no such recipe.
    """
    run.check_segmentation_name(recipe)
    splits = {}
    for split in run.config.evaluation.splits:
        rows = [
            row
            for row in run.mapped_rows([split])
            if row.mask
            and not skip_reason(run, recipe, row, STAGES)
            and not skip_reason(run, run.config.reference_recipe, row, stages_before("masks"))
        ]
        if rows:
            splits[split] = _evaluate_split(run, recipe, rows)
    write_json(
        run.evaluation_file(recipe),
        {
            "recipe": recipe,
            "seed": run.config.seed,
            "reference": run.config.reference_recipe,
            "classes": list(run.index.classes),
            "splits": splits,
        },
    )


def summarise_run(run: Run) -> None:
    """Write `summary.csv`: one row per recipe, split and stage, `ground_truth` included.

    Raises:
        StaleResultError: if a recipe is not evaluated yet.
    """
    with (
        atomic_file(run.summary_file) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for recipe in run.config.evaluated:
            evaluation = read_json(run.evaluation_file(recipe))
            for split, stages in evaluation["splits"].items():
                for stage, figures in stages.items():
                    row = {"recipe": recipe, "seed": evaluation["seed"], "split": split}
                    writer.writerow({**figures, **row, "stage": stage})


def _evaluate_split(run: Run, recipe: str, rows: list[ImageRow]) -> dict[str, Any]:
    classes = run.index.classes
    stages = [] if recipe == GROUND_TRUTH else ["maps", "masks"]
    if recipe in run.config.segmentation_names:
        stages.append("segmentation")
    scores = {stage: _StageScores(len(classes)) for stage in stages}
    sweep, pixel_ap = ThresholdSweep(len(classes)), PixelAveragePrecision(len(classes))
    with ProgressReport(f"evaluate {recipe}", len(rows)) as progress:
        for row in rows:
            truth, values = read_label_mask(row.mask), run.class_values(row)
            reference = cut_maps(run, run.config.reference_recipe, row)
            masks = {}
            if "maps" in scores:
                maps = read_maps(run, recipe, row)
                sweep.update(truth, maps, values)
                pixel_ap.update(truth, maps, values)
                masks["maps"] = _cut(run, recipe, maps, values)
                masks["masks"] = read_pseudo_mask(run, recipe, row)
            if "segmentation" in scores:
                masks["segmentation"] = read_prediction(run, recipe, row)
            parts = _known_parts(run, row)
            for stage, mask in masks.items():
                scores[stage].update(truth, reference, mask, values, parts)
            progress.advance()
    result: dict[str, Any] = {}
    for stage, score in scores.items():
        from_maps = stage == "maps"
        has_threshold = stage != "segmentation"
        chosen = read_json(run.threshold_file(recipe)) if has_threshold else {}
        result[stage] = summarise(
            classes,
            score.confusion,
            images=len(rows),
            class_images=[sum(name in row.labels for row in rows) for name in classes],
            threshold=chosen["background"].get("score") if has_threshold else None,
            threshold_kind=chosen["kind"] if has_threshold else "",
            threshold_split=chosen["split"] if has_threshold else "",
            boundary=score.boundary,
            regions=score.regions,
            pixel_ap=pixel_ap if from_maps else None,
            sweep=sweep if from_maps else None,
        )
        known = score.parts.mean_recall()
        if not any(np.isnan(value) for value in known.values()):
            result[stage]["known_parts"] = known
    return result


def cut_maps(run: Run, recipe: str, row: ImageRow) -> Mask:
    """Return the mask that a recipe's maps give without a CRF, uint8 (H, W)."""
    return _cut(run, recipe, read_maps(run, recipe, row), run.class_values(row))


def _cut(run: Run, recipe: str, maps: NDArray[np.float32], values: list[int]) -> Mask:
    background = chosen_background(run.threshold_file(recipe))
    labels = hard_labels(add_background(maps, background))
    return np.array([0, *values], np.uint8)[labels]


def _known_parts(run: Run, row: ImageRow) -> Mask | None:
    """Return the part mask of an image of the built-in dataset, or None."""
    if run.config.dataset.kind != "synthetic":
        return None
    return read_label_mask(str(Path(row.mask).parent.parent / "parts" / Path(row.mask).name))
