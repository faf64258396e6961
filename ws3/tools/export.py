"""masks/<recipe> -> a folder that other programs train on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from ws3.datasets.images import read_label_mask
from ws3.errors import Ws3Error
from ws3.exports.item import Item
from ws3.files import atomic_folder
from ws3.jobs.progress import ProgressReport
from ws3.run.folder import Run
from ws3.run.results import read_pseudo_mask, rows_with_masks

Format = Literal["voc", "coco", "mmseg"]


def export(run: Run, recipe: str, layout: str, folder: Path) -> dict[str, int]:
    """Write a recipe's pseudo-masks of the train split, and the ground truth of the val split.

    So a network that is trained elsewhere learns from the former and is measured on the latter;
    images of the val split without ground truth are left out. The folder appears whole or not at
    all.

    Args:
        run: The run.
        recipe: Whose masks.
        layout: voc, coco or mmseg.
        folder: Where to; must be empty or not there yet.

    Returns:
        How many images of each split were written.

    Raises:
        StaleResultError: If a mask is missing, damaged or made from other inputs.
        Ws3Error: If the run has no such recipe, there is no such format, or the folder isn't empty.
    """
    run.recipe(recipe)
    if layout not in get_args(Format):
        raise Ws3Error(
            f"--format: {layout!r} is unknown; choose from: {', '.join(get_args(Format))}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Ws3Error(f"{folder}: something is there already; choose a folder that is empty")
    counts: dict[str, int] = {}
    with atomic_folder(folder) as temporary:
        temporary.mkdir()
        items = _counted(_items(run, recipe), counts)
        match layout:
            case "voc":
                from ws3.exports.voc import write_voc as write
            case "coco":
                from ws3.exports.coco import write_coco as write
            case _:
                from ws3.exports.mmseg import write_mmseg as write
        write(temporary, items, run.index.classes)
    return counts


def _items(run: Run, recipe: str) -> Iterator[Item]:
    rows = [
        row
        for row in rows_with_masks(run, recipe, ["train", "val"])
        if row.split == "train" or row.mask
    ]
    with ProgressReport(f"export {recipe}", len(rows)) as progress:
        for row in rows:
            is_train = row.split == "train"
            mask = read_pseudo_mask(run, recipe, row) if is_train else read_label_mask(row.mask)
            yield Item(row.image, row.split, tuple(run.class_values(row)), Path(row.path), mask)
            progress.advance()


def _counted(items: Iterator[Item], counts: dict[str, int]) -> Iterator[Item]:
    for item in items:
        counts[item.split] = counts.get(item.split, 0) + 1
        yield item
