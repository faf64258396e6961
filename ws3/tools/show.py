"""One image through all recipes, as a figure."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ws3.errors import Ws3Error
from ws3.report.figures import image_panel, save
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth, sample_counts


def show(run: Run, image: str, output: Path) -> Path:
    """Draw an image, its maps and masks of every recipe that has them, and return the file.

    Raises:
        Ws3Error: If the run has no such image, nothing was made of it yet, or the file is a picture
            of the dataset.
    """
    row = run.row(image)
    if output.exists() and any(
        path and Path(path).exists() and output.samefile(path)
        for path in (row.path, row.mask, row.parts)
    ):
        raise Ws3Error(f"{output}: this is a picture of the dataset; give another file with -o")
    maps, masks, prediction, reasons = {}, {}, None, []
    for recipe in run.config.recipes:
        results = RecipeResults(run, recipe)
        try:
            maps[recipe] = results.maps(row)
            masks[recipe] = results.mask(row)
        except Ws3Error as error:
            reasons.append(str(error))
    if not maps:
        raise Ws3Error(reasons[0])
    for recipe in run.config.segmentation_names:
        with suppress(Ws3Error):
            prediction = RecipeResults(run, recipe).prediction(row)
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
            recipe: taken for recipe in maps for taken in sample_counts(run, recipe, [row]).values()
        },
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    save(figure, output)
    return output
