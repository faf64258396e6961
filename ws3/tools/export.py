"""masks/<recipe> -> a folder that other programs train on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ws3.datasets.index import ImageRow
from ws3.datasets.names import without_suffix
from ws3.errors import Ws3Error
from ws3.exports.formats import FORMATS
from ws3.exports.item import Item
from ws3.files import atomic_folder
from ws3.jobs.progress import ProgressReport
from ws3.run.folder import Run
from ws3.run.results import RecipeResults, rows_with_masks
from ws3.run.samples import load_truth

_FIT = re.compile(r"[^\W][\w.()\[\]+=@~,-]*")


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
        raise Ws3Error(f"--format: {format_name!r} is unknown; {FORMATS.choice(format_name)}")
    write = FORMATS[format_name].write
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Ws3Error(f"{folder}: something is there already; choose a folder that is empty")
    counts = Counter[str]()
    # A link to an empty folder stays a link to it.
    with atomic_folder(folder.resolve()) as temporary:
        temporary.mkdir()
        write(temporary, _items(run, recipe, counts), run.index.classes)
    return dict(counts)


def export_names(rows: Sequence[ImageRow]) -> dict[str, str]:
    """Return what the files of each image are called, by id.

    That is the picture's own name without folders and ending, if no other picture's files would be
    called so, and it has no blanks, which lists of other programs divide lines at; else its id.
    """
    stems = {row.image: without_suffix(row.name.rpartition("/")[2]) for row in rows}
    bearers = Counter(stem.casefold() for stem in stems.values())
    bearers.update(row.image.casefold() for row in rows if row.image != stems[row.image])
    return {
        image: stem if stem and bearers[stem.casefold()] == 1 and _FIT.fullmatch(stem) else image
        for image, stem in stems.items()
    }


def _items(run: Run, recipe: str, counts: Counter[str]) -> Iterator[Item]:
    rows = [
        row
        for row in rows_with_masks(run, recipe, ["train", "val"])
        if row.split == "train" or row.mask
    ]
    results = RecipeResults(run, recipe)
    names = export_names(run.index.rows)
    with ProgressReport(f"export {recipe}", len(rows)) as progress:
        for row in rows:
            is_train = row.split == "train"
            mask = results.mask(row) if is_train else load_truth(run, row)
            values = tuple(run.class_values(row))
            yield Item(names[row.image], row.split, values, Path(row.path), mask, row.coding)
            counts[row.split] += 1
            progress.advance()
