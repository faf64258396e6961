"""The images that a background score is tuned on."""

from __future__ import annotations

from pathlib import PurePosixPath

from ws3.config.masks import AutoBackground, Background, TunedBackground
from ws3.datasets import dataset_root
from ws3.datasets.index import ImageRow
from ws3.datasets.listing_files import read_lines
from ws3.datasets.names import without_suffix
from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.run.skips import skip_reason
from ws3.stage_table import stages_before


def tuning_rows(run: Run, background: TunedBackground) -> list[ImageRow]:
    """Return the images of the declared split, as far as the list and the number allow.

    Raises:
        Ws3Error: If the list is missing, or names none of them.
    """
    rows = run.mapped_rows([background.split])
    if background.list is not None:
        path = dataset_root(run.config.dataset, run.folder) / background.list
        lines = read_lines(path, "the images to tune masks.background on, one per line")
        named = {without_suffix(PurePosixPath(line).name) for line in lines}
        rows = [row for row in rows if {row.image, _stem(row)} & named]
        if not rows:
            raise Ws3Error(
                f"{path}: names no image of the {background.split} split; correct "
                "masks.background.list"
            )
    return rows[: background.images]


def share_rows(run: Run, recipe: str, background: AutoBackground) -> list[ImageRow]:
    """Return the training images whose maps choose a score without ground truth, evenly spaced.

    Those without labels have no maps; those that a stage before skipped are left out.
    """
    rows = [
        row
        for row in run.mapped_rows(["train"])
        if row.labels and not skip_reason(run, recipe, row, stages_before("masks"))
    ]
    count = len(rows) if background.images is None else min(background.images, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


def tuning_list(run: Run, background: Background) -> str:
    """Return what the list says, for what depends on it; "" without one."""
    if not isinstance(background, TunedBackground) or background.list is None:
        return ""
    path = dataset_root(run.config.dataset, run.folder) / background.list
    return "\n".join(read_lines(path, "the images to tune masks.background on, one per line"))


def _stem(row: ImageRow) -> str:
    return without_suffix(PurePosixPath(row.name).name)
