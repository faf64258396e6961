"""masks/<recipe> -> a folder that other programs train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ws3.datasets.images import read_label_mask
from ws3.errors import Ws3Error
from ws3.exports.formats import FORMATS
from ws3.exports.item import Item
from ws3.files import atomic_folder
from ws3.jobs.progress import ProgressReport
from ws3.messages import shown
from ws3.run.folder import Run
from ws3.run.results import RecipeResults, rows_with_masks


def export(run: Run, recipe: str, format_name: str, folder: Path) -> dict[str, int]:
    """Write a recipe's pseudo-masks of the train split, and the ground truth of the val split.

    A network that is trained elsewhere thus learns from the former and is measured on the latter;
    images of the val split without ground truth are left out. The folder appears whole or not at
    all.

    Args:
        run: The run.
        recipe: Whose masks.
        format_name: A name in `ws3.exports.formats.FORMATS`.
        folder: Where to; must be empty or not there yet.

    Returns:
        How many images of each split were written.

    Raises:
        StaleResultError: If a mask is missing, damaged or made from other inputs.
        Ws3Error: If the run has no such recipe, there is no such format, or the folder isn't empty.
    """
    run.recipe(recipe)
    if format_name not in FORMATS:
        raise Ws3Error(f"--format: {shown(format_name)} is unknown; {FORMATS.choice(format_name)}")
    write = FORMATS[format_name].write
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Ws3Error(f"{folder}: something is there already; choose a folder that is empty")
    counts = Counter[str]()
    # A link to an empty folder stays a link to it.
    with atomic_folder(folder.resolve()) as temporary:
        temporary.mkdir()
        write(temporary, _items(run, recipe, counts), run.index.classes)
    return dict(counts)


def _items(run: Run, recipe: str, counts: Counter[str]) -> Iterator[Item]:
    rows = [
        row
        for row in rows_with_masks(run, recipe, ["train", "val"])
        if row.split == "train" or row.mask
    ]
    results = RecipeResults(run, recipe)
    with ProgressReport(f"export {recipe}", len(rows)) as progress:
        for row in rows:
            is_train = row.split == "train"
            mask = results.mask(row) if is_train else read_label_mask(row.mask)
            yield Item(row.image, row.split, tuple(run.class_values(row)), Path(row.path), mask)
            counts[row.split] += 1
            progress.advance()
