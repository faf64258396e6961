"""maps + a declared split's ground truth -> thresholds/<recipe>.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ws3.config.masks import ConstantBackground, PowerBackground, TunedBackground
from ws3.datasets.images import read_label_mask
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import write_json
from ws3.jobs.progress import ProgressReport
from ws3.metrics.sweep import ThresholdSweep
from ws3.run.folder import Run, read_json
from ws3.run.results import read_maps
from ws3.run.skips import skip_reason
from ws3.stage_table import stages_before


def threshold(run: Run, recipe: str) -> None:
    """Write down which background score a recipe's maps are cut with, and how it was chosen.

    A tuned score is the one of 257 with the highest mIoU on the declared split.

    Raises:
        Ws3Error: if the split that it must be tuned on has no ground truth.
        StaleResultError: if maps are missing or made from other inputs.
    """
    run.recipe(recipe)
    background = run.config.masks.background
    if isinstance(background, TunedBackground):
        chosen = _tuned(run, recipe, background)
    else:
        chosen = {
            "background": background.model_dump(mode="json"),
            "kind": background.kind,
            "split": "",
        }
    write_json(run.threshold_file(recipe), {"recipe": recipe, **chosen})


def chosen_background(path: Path) -> ConstantBackground | PowerBackground:
    """Return the background that `threshold` wrote down.

    Raises:
        StaleResultError: if there is none yet.
    """
    data = read_json(path)["background"]
    if data["kind"] == "power":
        return PowerBackground.model_validate(data)
    return ConstantBackground.model_validate(data)


def tuning_rows(run: Run, background: TunedBackground) -> list[ImageRow]:
    """Return the images that a threshold is tuned on."""
    return run.mapped_rows([background.split])[: background.images]


def _tuned(run: Run, recipe: str, background: TunedBackground) -> dict[str, Any]:
    rows = [
        row
        for row in tuning_rows(run, background)
        if row.mask and not skip_reason(run, recipe, row, stages_before("masks"))
    ]
    if not rows:
        raise Ws3Error(
            f"masks.background: there is no ground truth in the {background.split} split to tune "
            "the threshold on; set masks.background: {kind: constant, score: 0.3}"
        )
    sweep = ThresholdSweep(len(run.index.classes))
    with ProgressReport(f"threshold {recipe}", len(rows)) as progress:
        for row in rows:
            truth = read_label_mask(row.mask)
            sweep.update(truth, read_maps(run, recipe, row), run.class_values(row))
            progress.advance()
    score, miou = sweep.best()
    return {
        "background": {"kind": "constant", "score": score},
        "kind": "tuned",
        "split": background.split,
        "images": len(rows),
        "miou": miou,
    }
