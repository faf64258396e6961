"""maps, masks, predictions + ground truth -> figures of each recipe, and summary.csv."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ws3.config.masks import ConstantBackground, PowerBackground
from ws3.config.run import GROUND_TRUTH
from ws3.datasets.index import ImageRow
from ws3.datasets.masks import read_label_mask
from ws3.files import sha256, write_csv
from ws3.jobs.progress import ProgressReport
from ws3.masks.background import add_background, hard_labels
from ws3.metrics.base import EvaluatedImage
from ws3.metrics.bootstrap import intervals
from ws3.metrics.confidence import ConfidenceCounts
from ws3.metrics.confusion import Confusion
from ws3.metrics.distance import DistanceRecall, tenths_of_objects
from ws3.metrics.image_counts import POOLED_FIGURES
from ws3.metrics.measurement import Measurement
from ws3.metrics.pairs import images_together
from ws3.metrics.registry import all_metrics
from ws3.metrics.sweep import ThresholdSweep
from ws3.removal import remove_file
from ws3.run.confidence import write_confidence_curves
from ws3.run.folder import Run
from ws3.run.image_counts import read_image_counts, writing_image_counts
from ws3.run.records import (
    ClassFigures,
    ConfidencePixels,
    DistanceProfile,
    EvaluatedStage,
    Evaluation,
    Matrix,
    Oracle,
    StageFigures,
    read_record,
    write_record,
)
from ws3.run.results import RecipeResults
from ws3.run.samples import load_truth
from ws3.run.skips import skip_reason
from ws3.stage_table import stages_before

EVALUATED_FROM = (*stages_before("masks"), "masks", "predictions")
"""The per-image stages that figures come from: an image that one of them skipped counts nowhere."""

_log = logging.getLogger(__name__)
_KEYS = ("recipe", "seed", "split", "stage")
_INTERVAL_COLUMNS = tuple(f"{name}_{end}" for name in POOLED_FIGURES for end in ("low", "high"))
_ORACLE_COLUMNS = ("oracle_miou", "oracle_threshold")
_LAST_COLUMNS = ("threshold", "threshold_split", "ignored_share")
_FIRST_COLUMNS = (
    *("miou", "pxap", "precision", "recall", "dr_recall", "ndr_recall"),
    *("fp_share", "fn_share", "boundary_iou"),
)


def evaluate(run: Run, recipe: str) -> None:
    """Measure one recipe, or `ground_truth`, on every split that the configuration reports on.

    Images without ground truth are left out; a split without any gets no figures. Beside the
    figures, the counts of each image are written (`ws3.run.image_counts`), from which the
    intervals are formed.

    Raises:
        StaleResultError: If a map, mask or prediction is missing or made from other inputs.
        Ws3Error: If the run has no such recipe, or a metric can't be used.
    """
    run.check_segmentation_name(recipe)
    splits, together = {}, {}
    path = run.image_counts_file(recipe)
    with writing_image_counts(path) as write_counts:
        for split in run.config.evaluation.splits:
            rows = [
                row
                for row in run.mapped_rows([split])
                if row.mask
                and not skip_reason(run, recipe, row, EVALUATED_FROM)
                and not skip_reason(run, run.config.reference_recipe, row, stages_before("masks"))
            ]
            if rows:
                splits[split] = _evaluate_split(run, recipe, rows, partial(write_counts, split))
                labels = (run.class_values(row) for row in rows)
                together[split] = _matrix(images_together(labels, len(run.index.classes)))
    evaluation = Evaluation(
        recipe=recipe,
        seed=run.config.seed,
        reference=run.config.reference_recipe,
        classes=run.index.classes,
        splits=splits,
        together=together,
        image_counts=sha256(path),
    )
    curves = run.confidence_curve_file(recipe)
    if run.config.keeps_confidence(recipe):
        write_confidence_curves(curves, evaluation)
    else:
        remove_file(curves)  # of an earlier configuration
    write_record(run.evaluation_file(recipe), _with_intervals(run, evaluation))


def _with_intervals(run: Run, evaluation: Evaluation) -> Evaluation:
    """Return an evaluation with the intervals that its images' counts give."""
    counts = read_image_counts(run, evaluation)
    splits = {
        split: {
            stage: figures.model_copy(
                update={"intervals": intervals([counts[split, stage]], run.config.seed)}
            )
            for stage, figures in stages.items()
        }
        for split, stages in evaluation.splits.items()
    }
    return evaluation.model_copy(update={"splits": splits})


def summary_columns(metrics: Sequence[str]) -> list[str]:
    """Return the columns of `summary.csv`, for the names of all metrics.

    Example:
        >>> print(*summary_columns(["miou", "dice"]))
        recipe seed split stage miou dice miou_low miou_high dr_recall_low dr_recall_high \
ndr_recall_low ndr_recall_high pxap_low pxap_high oracle_miou oracle_threshold threshold \
threshold_split ignored_share
    """
    first = [name for name in _FIRST_COLUMNS if name in metrics]
    rest = [name for name in metrics if name not in first]
    return [*_KEYS, *first, *rest, *_INTERVAL_COLUMNS, *_ORACLE_COLUMNS, *_LAST_COLUMNS]


def summarise_run(run: Run) -> None:
    """Write `summary.csv`: one row per recipe, split and stage, `ground_truth` included.

    Raises:
        StaleResultError: If a recipe is not evaluated yet.
        Ws3Error: If an evaluation is damaged, or a metric can't be used.
    """
    lines = []
    for recipe in run.config.evaluated:
        evaluation = read_record(run.evaluation_file(recipe), Evaluation)
        for split, stages in evaluation.splits.items():
            for stage, found in stages.items():
                row = {"recipe": recipe, "seed": evaluation.seed, "split": split, "stage": stage}
                ends = {
                    f"{name}_{end}": value
                    for name, both in found.intervals.items()
                    for end, value in zip(("low", "high"), both, strict=True)
                }
                if found.oracle is not None:
                    row |= {f"oracle_{key}": value for key, value in dict(found.oracle).items()}
                lines.append({**dict(found), **found.figures, **ends, **row})
    write_csv(run.summary_file, summary_columns([metric.name for metric in all_metrics()]), lines)


def _evaluate_split(
    run: Run,
    recipe: str,
    rows: Sequence[ImageRow],
    write_counts: Callable[[str, str, NDArray[np.int64]], None],
) -> dict[EvaluatedStage, StageFigures]:
    stages: list[EvaluatedStage] = [] if recipe == GROUND_TRUTH else ["maps", "masks"]
    if recipe in run.config.segmentation_names:
        stages.append("segmentation")
    classes, metrics = len(run.index.classes), all_metrics()
    measured = {stage: Measurement(classes, metrics) for stage in stages}
    sweep, confidence = ThresholdSweep(classes), ConfidenceCounts(classes)
    keeps_confidence = run.config.keeps_confidence(recipe)
    reference_recipe = run.config.reference_recipe
    results, reference = RecipeResults(run, recipe), RecipeResults(run, reference_recipe)
    reference_background = run.threshold(reference_recipe).background
    chosen = run.threshold(recipe) if "maps" in measured else None
    with ProgressReport(f"evaluate {recipe}", len(rows)) as progress:
        for row in rows:
            truth, values = load_truth(run, row), run.class_values(row)
            reference_maps = reference.maps(row)
            image = partial(
                EvaluatedImage,
                truth=truth,
                reference=cut_maps(reference_maps, values, reference_background),
                class_values=tuple(values),
                parts=read_label_mask(row.parts) if row.parts else None,
                tenths=tenths_of_objects(truth, reference_maps, values),
            )
            masks = {}
            if chosen is not None:
                maps = reference_maps if recipe == reference_recipe else results.maps(row)
                sweep.update(truth, maps, values)
                cut = cut_maps(maps, values, chosen.background)
                masks["maps"] = image(mask=cut, maps=maps)
                masks["masks"] = image(mask=results.mask(row))
                if keeps_confidence:
                    confidence.update(truth, masks["masks"].mask, results.confidence(row))
            if "segmentation" in measured:
                masks["segmentation"] = image(mask=results.prediction(row))
            for stage, measurement in measured.items():
                write_counts(stage, row.image, measurement.add_counting(masks[stage]))
            progress.advance()
    if not sweep.has_objects and chosen is not None:
        _log.warning(
            "%s: the ground truth of %s has no object pixel, so there is no mIoU",
            recipe,
            rows[0].split,
        )
    curve = tuple(
        (point, miou if sweep.has_objects and not math.isnan(miou) else None)
        for point, miou in sweep.curve()
    )
    oracle = None
    if sweep.has_objects:
        score, miou = sweep.best()
        oracle = Oracle(threshold=score, miou=miou)
    figures = {}
    for stage, measurement in measured.items():
        threshold = None if stage == "segmentation" else chosen
        sees_masks = stage == "masks" and keeps_confidence
        cut_at = None if threshold is None else threshold.score_of(stage)
        figures[stage] = StageFigures(
            images=len(rows),
            threshold=cut_at,
            threshold_kind="" if threshold is None else threshold.kind,
            threshold_split="" if threshold is None else threshold.split,
            ignored_share=measurement.ignored_share(),
            figures=measurement.means(),
            per_class={
                name: ClassFigures(images=sum(name in row.labels for row in rows), figures=of_class)
                for name, of_class in zip(run.index.classes, measurement.per_class(), strict=True)
            },
            sweep=curve if stage == "maps" else None,
            distances=_distances(measurement, run.index.classes),
            confusion=_confusion(measurement),
            oracle=oracle if stage == "maps" else None,
            confidence=_by_confidence(confidence) if sees_masks else None,
        )
    return figures


def _distances(measurement: Measurement, classes: Sequence[str]) -> DistanceProfile | None:
    counts = measurement.counts(DistanceRecall)
    if counts is None:
        return None
    return DistanceProfile(
        found=_defined(counts.mean_shares()),
        per_class=dict(zip(classes, map(_defined, counts.shares()), strict=True)),
        pixels=dict(zip(classes, _matrix(counts.pixels), strict=True)),
    )


def _confusion(measurement: Measurement) -> Matrix | None:
    counts = measurement.counts(Confusion)
    return None if counts is None else _matrix(counts.matrix)


def _by_confidence(counts: ConfidenceCounts) -> ConfidencePixels:
    wrong, right = counts.pixels
    return ConfidencePixels(wrong=_matrix(wrong), right=_matrix(right), objects=counts.objects)


def _defined(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in values.tolist())


def _matrix(counts: NDArray[np.int64]) -> Matrix:
    return tuple(map(tuple, counts.tolist()))


def cut_maps(
    maps: NDArray[np.float32],
    class_values: Sequence[int],
    background: ConstantBackground | PowerBackground,
) -> NDArray[np.uint8]:
    """Return the mask that an image's maps give without a CRF.

    Args:
        maps: float32 (C, H, W) in [0, 1].
        class_values: The C mask values of the maps.
        background: The background score.

    Returns:
        uint8 (H, W), 0 or one of the class values.
    """
    labels = hard_labels(add_background(maps, background))
    return np.array([0, *class_values], np.uint8)[labels]
