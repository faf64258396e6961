"""What all per-image stages have in common, and those whose results are groups of a store."""

from __future__ import annotations

from typing import ClassVar

from ws3.datasets.index import ImageRow
from ws3.run.folder import Run
from ws3.run.results import RecipeResults


class RecipeStage:
    """A per-image stage of one recipe.

    Attributes:
        stage: Its name in the table of stages.
        run: The run.
        recipe: The recipe, or `ground_truth`.
        results: Reads what the stages before have made.
        empty: Ids of the images seen that have labels, and whose result shows none of their
            classes.
    """

    stage: ClassVar[str]

    def __init__(self, run: Run, recipe: str) -> None:
        """Prepare; nothing is read yet.

        Raises:
            Ws3Error: If the run has no such recipe.
        """
        run.check_segmentation_name(recipe)
        self.run, self.recipe = run, recipe
        self.results = RecipeResults(run, recipe)
        self.empty: set[str] = set()

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's result is made from."""
        return self.results.fingerprints.of(self.stage, row)


class StoreStage(RecipeStage):
    """A stage that writes one group of a Zarr store per image, from samples of it.

    Attributes:
        settings: The recipe's.
        source: Name of the recipe whose samples it takes.
    """

    def __init__(self, run: Run, recipe: str) -> None:
        """Prepare; nothing is read yet.

        Raises:
            Ws3Error: If the run has no such recipe.
        """
        super().__init__(run, recipe)
        self.settings, self.source = run.recipe(recipe), run.config.sample_source(recipe)

    def attributes(self, row: ImageRow, fingerprint: str) -> dict[str, object]:
        """Return what an image's group says of itself."""
        return {
            "fingerprint": fingerprint,
            "image": row.image,
            "height": row.height,
            "width": row.width,
            "classes": list(row.labels),
            "class_values": self.run.class_values(row),
            "checkpoint": self.run.classifier.sha256,
            "recipe": self.recipe,
            "method": self.run.recipe(self.source).method,
            "seed": self.run.config.seed,
        }
