"""One image through all recipes, as a figure."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ws3.errors import StaleResultError, Ws3Error
from ws3.report.figures import image_panel, save
from ws3.report.pictures import heat_overlay, mask_overlay
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth, sample_counts


def panels(run: Run, image: str, recipe: str) -> dict[str, NDArray[np.uint8]]:
    """Return an image's photograph, a recipe's maps and its mask as pictures.

    Args:
        run: The run.
        image: The image's id, or its name.
        recipe: Name of the recipe.

    Returns:
        What a picture shows -> (H, W, 3) uint8 RGB, all of one size.

    Raises:
        Ws3Error: If the run has no such image or recipe, or its maps aren't there.
    """
    run.recipe(recipe)
    row = run.row(image)
    results = RecipeResults(run, recipe)
    photograph = load_image(row)
    found = {"photograph": photograph}
    for name, scores in zip(row.labels, results.maps(row), strict=True):
        found[name] = heat_overlay(photograph, scores)
    # The mask comes later than the maps.
    with suppress(StaleResultError):
        found["mask"] = mask_overlay(photograph, results.mask(row))
    return found


def show(run: Run, image: str, output: Path, recipe: str | None = None) -> Path:
    """Draw an image, its maps and masks of every recipe that has them, and return the file.

    Args:
        run: The run.
        image: The image's id, or its name.
        output: The file, a PNG or SVG.
        recipe: Draw this recipe alone.

    Raises:
        Ws3Error: If the run has no such image, nothing was made of it yet, or the file is a picture
            of the dataset.
    """
    if recipe is not None:
        run.recipe(recipe)
    row = run.row(image)
    if output.exists() and any(
        path and Path(path).exists() and output.samefile(path)
        for path in (row.path, row.mask, row.parts)
    ):
        raise Ws3Error(f"{output}: this is a picture of the dataset; give another file with -o")
    maps, masks, prediction, reasons = {}, {}, None, []
    chosen = run.config.recipes if recipe is None else [recipe]
    for name in chosen:
        results = RecipeResults(run, name)
        try:
            maps[name] = results.maps(row)
            masks[name] = results.mask(row)
        except Ws3Error as error:
            reasons.append(str(error))
    if not maps:
        raise Ws3Error(reasons[0])
    for name in run.config.segmentation_names:
        with suppress(Ws3Error):
            prediction = RecipeResults(run, name).prediction(row)
            break
    figure = image_panel(
        load_image(row),
        maps,
        row.labels,
        masks,
        load_truth(run, row) if row.mask else None,
        prediction,
        class_ids=[value - 1 for value in run.class_values(row)],
        samples={
            name: taken for name in maps for taken in sample_counts(run, name, [row]).values()
        },
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    save(figure, output)
    return output
