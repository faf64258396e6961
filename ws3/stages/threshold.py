"""maps + a declared split's ground truth -> thresholds/<recipe>.json."""

from __future__ import annotations

from ws3.config.masks import AutoBackground, ConstantBackground, TunedBackground
from ws3.errors import Ws3Error
from ws3.jobs.progress import ProgressReport
from ws3.labels import IGNORED
from ws3.masks.object_share import ObjectShares
from ws3.masks.regions import vote
from ws3.metrics.sweep import ThresholdSweep
from ws3.run.folder import Run
from ws3.run.records import Threshold, write_record
from ws3.run.results import RecipeResults
from ws3.run.samples import load_truth
from ws3.run.skips import skip_reason
from ws3.run.tuning import share_rows, tuning_rows
from ws3.stage_table import stages_before


def threshold(run: Run, recipe: str) -> None:
    """Choose the background score that cuts a recipe's maps, and write it down.

    A tuned score is the one of 257 with the highest mIoU on the declared split; where regions vote
    on the maps, another is tuned so for the means that the masks are cut from. An automatic score
    is that of 256 at which the maps mark the expected share of the training images.

    Raises:
        Ws3Error: If the split that it must be tuned on has no ground truth, or no object in it; or
            no training image has maps.
        StaleResultError: If maps are missing or made from other inputs.
    """
    run.recipe(recipe)
    background = run.config.masks.background
    if isinstance(background, TunedBackground):
        chosen = _tuned(run, recipe, background)
    elif isinstance(background, AutoBackground):
        chosen = _automatic(run, recipe, background)
    else:
        chosen = Threshold(recipe=recipe, background=background, kind=background.kind)
    write_record(run.threshold_file(recipe), chosen)


def _automatic(run: Run, recipe: str, background: AutoBackground) -> Threshold:
    rows = share_rows(run, recipe, background)
    if not rows:
        raise Ws3Error(
            f"masks.background: no training image has maps of {recipe} to choose the threshold by; "
            "set masks.background: {kind: constant, score: 0.3}"
        )
    results, shares = RecipeResults(run, recipe), ObjectShares()
    with ProgressReport(f"threshold {recipe}", len(rows)) as progress:
        for row in rows:
            shares.update(results.maps(row))
            progress.advance()
    score, reached = shares.nearest(background.object_share)
    return Threshold(
        recipe=recipe,
        background=ConstantBackground(kind="constant", score=score),
        kind="auto",
        images=len(rows),
        object_share=reached,
    )


def _tuned(run: Run, recipe: str, background: TunedBackground) -> Threshold:
    votes = run.config.cuts_means(recipe)
    # What the masks alone need is not asked for: whether it is there yet would depend on the order.
    before = stages_before("masks") if votes else (*stages_before("maps"), "maps")
    rows = [
        row
        for row in tuning_rows(run, background)
        if row.mask and not skip_reason(run, recipe, row, before)
    ]
    if not rows:
        raise Ws3Error(
            f"masks.background: there is no ground truth in the {background.split} split to tune "
            "the threshold on; set masks.background: {kind: auto}"
        )
    results = RecipeResults(run, recipe)
    sweep, voted = (ThresholdSweep(len(run.index.classes)) for _ in range(2))
    with ProgressReport(f"threshold {recipe}", len(rows)) as progress:
        for row in rows:
            truth, maps, values = load_truth(run, row), results.maps(row), run.class_values(row)
            sweep.update(truth, maps, values)
            if votes:
                voted.update(truth, vote(maps, results.segments(row), "mean"), values)
            progress.advance()
    if not sweep.has_objects:
        raise Ws3Error(
            f"masks.background: the {len(rows)} ground-truth masks of the {background.split} split "
            f"that the threshold is tuned on hold no object, but background or {IGNORED} (ignored) "
            "alone; check them, or set masks.background: {kind: auto}"
        )
    score, miou = sweep.best()
    return Threshold(
        recipe=recipe,
        background=ConstantBackground(kind="constant", score=score),
        kind="tuned",
        split=background.split,
        images=len(rows),
        miou=miou,
        voted=ConstantBackground(kind="constant", score=voted.best()[0]) if votes else None,
    )
