"""Masks of a run -> a folder that other programs train on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from ws3.datasets.index import ImageRow
from ws3.datasets.names import without_suffix
from ws3.errors import Ws3Error
from ws3.exports.formats import FORMATS
from ws3.exports.item import Item
from ws3.files import atomic_folder
from ws3.jobs.progress import ProgressReport
from ws3.messages import shown
from ws3.run.batches import stage_splits
from ws3.run.folder import Run
from ws3.run.results import RecipeResults, rows_with_masks
from ws3.run.samples import load_truth
from ws3.run.skips import skip_reason

_FIT = re.compile(r"[^\W][\w.()\[\]+=@~,-]*")

What = Literal["training", "pseudo-masks", "predictions"]
"""Which masks are exported; see `export`."""


def export(
    run: Run,
    recipe: str,
    format_name: str,
    folder: Path,
    *,
    what: What = "training",
    **options: Any,
) -> dict[str, int]:
    """Write masks of a recipe for other programs. The folder appears whole or not at all.

    Args:
        run: The run.
        recipe: Whose masks; for predictions also `ground_truth`.
        format_name: A name in `ws3.exports.formats.FORMATS`.
        folder: Where to; must be empty or not there yet.
        what: `training`: the pseudo-masks of the train split, and the ground truth of the val
            split, so that a network trained elsewhere learns from the former and is measured on the
            latter; images of the val split without ground truth are left out. `pseudo-masks`: those
            of all splits that get any. `predictions`: the segmentation network's masks.
        **options: What the format takes beside these; see `ExportFormat.options`.

    Returns:
        How many images of each split were written.

    Raises:
        StaleResultError: If a mask is missing, damaged or made from other inputs.
        Ws3Error: If the run has no such recipe, there is no such format, it doesn't take an option,
            there is nothing to write, or the folder isn't empty.
    """
    if what == "predictions":
        _check_predicted(run, recipe)
    else:
        run.recipe(recipe)
    if format_name not in FORMATS:
        raise Ws3Error(f"--format: {shown(format_name)} is unknown; {FORMATS.choice(format_name)}")
    _check_options(format_name, options)
    write, needs_maps = FORMATS[format_name].write, FORMATS[format_name].needs_maps
    if needs_maps and what == "predictions":
        raise Ws3Error(f"--what predictions does not go with --format {format_name}: it takes maps")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Ws3Error(f"{folder}: something is there already; choose a folder that is empty")
    counts = Counter[str]()
    # A link to an empty folder stays a link to it.
    with atomic_folder(folder.resolve()) as temporary:
        temporary.mkdir()
        write(
            temporary, _items(run, recipe, what, counts, needs_maps), run.index.classes, **options
        )
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


def _check_predicted(run: Run, recipe: str) -> None:
    run.check_segmentation_name(recipe)
    names = run.config.segmentation_names
    if recipe not in names:
        raise Ws3Error(
            f"--what predictions: no segmentation network of this run is called {recipe!r}; "
            f"there are: {', '.join(names) or 'none (see segmentation.recipes)'}"
        )


def _check_options(format_name: str, options: dict[str, Any]) -> None:
    for name in options:
        if name not in FORMATS[format_name].options:
            takes = [other for other in FORMATS if name in FORMATS[other].options]
            raise Ws3Error(
                f"--{name.replace('_', '-')} does not go with --format {format_name}; it goes "
                f"with: {', '.join(takes)}"
            )


def _items(
    run: Run, recipe: str, what: What, counts: Counter[str], needs_maps: bool
) -> Iterator[Item]:
    rows = _rows(run, recipe, what)
    results = RecipeResults(run, recipe)
    names = export_names(run.index.rows)
    with ProgressReport(f"export {recipe}", len(rows)) as progress:
        for row in rows:
            if what == "predictions":
                mask = results.prediction(row)
            elif what == "training" and row.split != "train":
                mask = load_truth(run, row)
            else:
                mask = results.mask(row)
            is_pseudo = what == "pseudo-masks" or (what == "training" and row.split == "train")
            kept = is_pseudo and run.config.keeps_confidence(recipe)
            yield Item(
                image=names[row.image],
                split=row.split,
                class_values=tuple(run.class_values(row)),
                photograph=Path(row.path),
                mask=mask,
                coding=row.coding,
                maps=results.maps(row) if needs_maps else None,
                confidence=results.confidence(row) if kept else None,
            )
            counts[row.split] += 1
            progress.advance()


def _rows(run: Run, recipe: str, what: What) -> list[ImageRow]:
    """Return the images that are exported, in the index's order."""
    if what == "predictions":
        rows = run.mapped_rows(stage_splits(run.config, "predictions"))
        return [row for row in rows if not skip_reason(run, recipe, row, ["predictions"])]
    if what == "pseudo-masks":
        return rows_with_masks(run, recipe, run.config.map_splits)
    rows = rows_with_masks(run, recipe, ["train", "val"])
    return [row for row in rows if row.split == "train" or row.mask]
