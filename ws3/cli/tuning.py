"""The command that chooses the CRF's numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from ws3.cli.saying import say
from ws3.cli.stages import OpenRun, RecipeName

if TYPE_CHECKING:
    from ws3.tools.tune_crf import TunedCrf


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Choosing numbers")(tune_crf)


class By(StrEnum):
    """What chooses."""

    TRUTH = "truth"
    SEGMENTS = "segments"


def tune_crf(
    run: OpenRun,
    recipe: RecipeName,
    by: Annotated[
        By,
        typer.Option(
            help="What chooses. truth: mIoU; segments: how much outlines follow the image's "
            "segments, which needs no ground truth."
        ),
    ] = By.TRUTH,
    images: Annotated[
        int, typer.Option(min=2, help="Training images to choose by, evenly spaced.")
    ] = 40,
    trials: Annotated[
        int,
        typer.Option(
            min=1, help="Numbers to draw; each is looked at after several numbers of iterations."
        ),
    ] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other numbers.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that compute.")] = 1,
) -> None:
    """Choose the dense CRF's numbers on training images, with or without ground truth.

    Maps and threshold of the recipe must be there. What is measured is kept in the run's journal:
    after an interruption the same command goes on, and more trials or images add to it. The run
    itself is not changed; the numbers are printed, to be put into the configuration.
    """
    from ws3.tools.tune_crf import tune_crf

    found = tune_crf(
        run, recipe, by=by.value, images=images, trials=trials, seed=seed, workers=workers
    )
    for line in _said(run.config.masks.crf, found):
        say(line)


def _said(present: object, found: TunedCrf) -> list[str]:
    """Return the lines that say what was found."""
    name = present if isinstance(present, str) else "own numbers"
    lines = [
        f"{found.recipe}: {len(found.images)} training images, {found.candidates} numbers tried: "
        f"{found.table}",
        f"in force ({name}): {_figure(found, found.present_value)}",
    ]
    if found.best == found.present or found.best is None:
        return [*lines, "none of them is better; keep what is in force"]
    lines.append(f"best: {_figure(found, found.best_value)}, on the images that chose it")
    gain = found.gain
    if gain is not None and gain.ends is not None:
        low, high = (100 * end for end in gain.ends)
        chance = "" if gain.p is None else f", p = {gain.p:.2g}"
        lines.append(
            f"numbers chosen so, on images that did not choose them: {100 * gain.mean:+.1f} points "
            f"(95 % interval {low:+.1f} to {high:+.1f}{chance})"
        )
        if low <= 0:
            lines.append("that is no gain for sure: take more images, or keep what is in force")
    if found.by == "segments":
        lines.append("points of agreement with segments, not of mIoU: see docs/tune_crf.md")
    numbers = found.best.model_dump(mode="json")
    if numbers["unary"] == "softmax":
        del numbers["gt_prob"]
    text = yaml.safe_dump({"masks": {"crf": numbers}}, sort_keys=False)
    return [*lines, "for the configuration:", text.rstrip()]


def _figure(found: TunedCrf, value: float) -> str:
    return f"mIoU {value:.3f}" if found.by == "truth" else f"agreement {value:.4f}"
