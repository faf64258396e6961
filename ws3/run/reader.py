"""A finished run, read image by image: what `ws3.open_run` returns."""

from __future__ import annotations

import csv
import math
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ws3.aggregation.chunks import COVER_CHUNK, RawChunk, SampleChunk
from ws3.config.recipes import Recipe
from ws3.datasets.index import ImageRow, row_named
from ws3.errors import StaleResultError, Ws3Error
from ws3.messages import shown
from ws3.registry import load_object
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth, sample_counts
from ws3.store.saliency import SaliencyStore


class RunReader:
    """Reads the results of a run; `run["cam"]` reads those of one recipe.

    What is read must be intact and made from the run's present configuration and images, or else a
    `StaleResultError` names the command that makes it again.

    Args:
        folder: The run's folder, `results/<run>`.

    Raises:
        Ws3Error: If there is no run, or its configuration is not valid.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run = Run.open(folder)

    def __repr__(self) -> str:
        return f"ws3.open_run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        return str(load_object("ws3.report.notebook:run_html")(self))

    @property
    def name(self) -> str:
        """The run's name."""
        return self._run.config.run

    @property
    def recipes_and_networks(self) -> tuple[str, ...]:
        """Names of the recipes, and `ground_truth` if a network learned from it."""
        return self._run.config.evaluated

    @property
    def reported_splits(self) -> tuple[str, ...]:
        """The splits that figures are of."""
        return self._run.config.evaluation.splits

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The run's recipes by name, every default filled in."""
        return dict(self._run.config.recipes)

    @property
    def seed(self) -> int:
        """The seed of its random samples."""
        return self._run.config.seed

    @property
    def classifier_file(self) -> Path:
        """The classifier's checkpoint, for `ws3.load_classifier`."""
        return self._run.classifier_file

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; class i has the mask value i + 1."""
        return tuple(self._run.index.classes)

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the images that have maps and masks, in the index's order."""
        config = self._run.config
        return tuple(row.image for row in self._run.mapped_rows(config.map_splits))

    @property
    def names(self) -> dict[str, str]:
        """The name of each image in the dataset, '/' between folders, by its id."""
        return {row.image: row.name for row in self._run.index.rows}

    def image(self, image: str) -> NDArray[np.uint8]:
        """Return an image by its id or name, uint8 RGB (H, W, 3).

        Raises:
            Ws3Error: If there is none, it can't be read, or it changed after it was indexed.
        """
        return load_image(self._row(image))

    def split(self, image: str) -> str:
        """Return the split that an image belongs to, such as "val"."""
        return self._row(image).split

    def show(self, image: str) -> ImageReader:
        """Return one image, by its id or name, with all that the recipes made of it.

        As the last line of a notebook's cell it shows itself: photograph, ground truth, maps and
        masks.

        Raises:
            Ws3Error: If there is none.
        """
        return ImageReader(self, self._row(image))

    def labels(self, image: str) -> tuple[str, ...]:
        """Return the names of the classes that an image holds; its maps are in this order."""
        return tuple(self._row(image).labels)

    def class_values(self, image: str) -> list[int]:
        """Return the mask values of the classes that an image holds, in the order of its maps."""
        return self._run.class_values(self._row(image))

    def __getitem__(self, recipe: str) -> RecipeReader:
        """Return the reader of one recipe, or of `ground_truth`.

        Raises:
            Ws3Error: If the run has no such recipe.
        """
        self._run.check_segmentation_name(recipe)
        return RecipeReader(self, recipe)

    def summary(self) -> list[dict[str, str | float | None]]:
        """Return the rows of `evaluation/summary.csv`, one per recipe, split and stage.

        Numbers are floats, and what is undefined is None.

        Raises:
            StaleResultError: If the run has not been evaluated.
        """
        path = self._run.summary_file
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError:
            raise StaleResultError(
                f"{path}: the run has not been evaluated; run snakemake"
            ) from None
        return [{key: _value(text) for key, text in row.items()} for row in rows]

    @cached_property
    def _rows(self) -> dict[str, ImageRow]:
        return {row.image: row for row in self._run.index.rows}

    def _row(self, image: str) -> ImageRow:
        if image in self._rows:
            return self._rows[image]
        found = row_named(self._run.index.rows, image)
        if found is None:
            raise Ws3Error(
                f"{self.folder}: there is no image {shown(image)}; ids are the file names without "
                f"their suffix, such as {next(iter(self._rows), 'none')!r}"
            )
        return found


class RecipeReader:
    """Reads the results of one recipe of a run.

    Args:
        run: The run.
        name: The recipe's name, or `ground_truth`.
    """

    def __init__(self, run: RunReader, name: str) -> None:
        self.name, self.run = name, run
        self._reader, self._run = run, run._run
        self._results = RecipeResults(self._run, name)

    def __repr__(self) -> str:
        return f"{self.run!r}[{self.name!r}]"

    def _repr_html_(self) -> str:
        return str(load_object("ws3.report.notebook:recipe_reader_html")(self))

    @property
    def recipe(self) -> Recipe:
        """The recipe itself, for `ws3.score_maps`, with the precision that the run decided on."""
        recipe = self._run.recipe(self.name)
        with suppress(StaleResultError):
            precision = self._run.precision(self.name)
            return recipe.model_copy(update={"precision": precision})
        return recipe

    def maps(self, image: str) -> NDArray[np.float32]:
        """Return an image's final maps, float32 (classes of the image, H, W) in [0, 1].

        Raises:
            StaleResultError: If they are missing, damaged or made from other inputs.
        """
        return self._results.maps(self._reader._row(image))

    def mask(self, image: str) -> NDArray[np.uint8]:
        """Return an image's pseudo-mask, uint8 (H, W): 0 background, 255 ignored.

        Raises:
            StaleResultError: If it is missing, damaged or made from other inputs.
        """
        return self._results.mask(self._reader._row(image))

    def confidence(self, image: str) -> NDArray[np.uint8]:
        """Return how sure each pixel of an image's pseudo-mask is, uint8 (H, W).

        A pixel of value v has a confidence of v / 256 at least.

        Raises:
            Ws3Error: If the run stores none of this recipe (`masks.confidence`).
            StaleResultError: If it is missing, damaged or made from other inputs.
        """
        return self._results.confidence(self._reader._row(image))

    def prediction(self, image: str) -> NDArray[np.uint8]:
        """Return the segmentation network's mask of an image, uint8 (H, W).

        Raises:
            StaleResultError: If it is missing, damaged or made from other inputs.
        """
        return self._results.prediction(self._reader._row(image))

    def samples(self, image: str) -> list[SampleChunk | RawChunk]:
        """Return an image's sample chunks, in the order of their samples.

        Each holds the sum over some samples, or with `keep_samples` every sample's own maps. Where
        the recipe's count is adaptive, they end where the image stopped.

        Raises:
            StaleResultError: If they are missing, damaged or made from other inputs.
            Ws3Error: If the recipe is imported.
        """
        row = self._reader._row(image)
        if self.recipe.imported is not None:
            raise Ws3Error(f"{self._run.folder}: recipe {self.name} is imported and has no samples")
        store = SaliencyStore(self._run.results("saliency", self.name))
        image = row.image
        fault = store.fault(image, self._results.fingerprints.of("saliency", row))
        if fault:
            raise StaleResultError(
                f"{store.path}: the sample chunks of image {image} are {fault}; make them with: "
                f"{self._results.command('saliency', row)}"
            )
        names = sorted(
            store.chunk_samples(image), key=lambda name: (not name.isdigit(), len(name), name)
        )
        used = sample_counts(self._run, self.name, [row]).get(image, math.inf)
        per_chunk = self.recipe.samples.per_chunk
        return [
            store.read(image, name)
            for name in names
            if name == COVER_CHUNK or int(name) * per_chunk < used
        ]


class ImageReader:
    """One image of a run, and what the recipes made of it; Jupyter shows it.

    Args:
        run: The run.
        row: The image's row of the index.
    """

    def __init__(self, run: RunReader, row: ImageRow) -> None:
        self.run, self._row = run, row

    def __repr__(self) -> str:
        return f"{self.run!r}.show({self.image!r})"

    def _repr_html_(self) -> str:
        return str(load_object("ws3.report.notebook:image_html")(self))

    @property
    def image(self) -> str:
        """The image's id."""
        return self._row.image

    @property
    def name(self) -> str:
        """Its name in the dataset."""
        return self._row.name

    @property
    def split(self) -> str:
        """The split that it belongs to."""
        return self._row.split

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that it holds; its maps are in this order."""
        return tuple(self._row.labels)

    @property
    def class_values(self) -> list[int]:
        """Mask values of these classes."""
        return self.run.class_values(self.image)

    @property
    def photo(self) -> NDArray[np.uint8]:
        """The photograph, uint8 RGB (H, W, 3).

        Raises:
            Ws3Error: If it can't be read, or changed after it was indexed.
        """
        return load_image(self._row)

    @property
    def truth(self) -> NDArray[np.uint8] | None:
        """The ground truth, uint8 (H, W): 0 background, 255 ignored; None if there is none.

        Raises:
            Ws3Error: If it can't be read, or changed after it was indexed.
        """
        return load_truth(self.run._run, self._row) if self._row.mask else None

    def maps(self, recipe: str) -> NDArray[np.float32]:
        """Return a recipe's final maps; see `RecipeReader.maps`."""
        return self.run[recipe].maps(self.image)

    def mask(self, recipe: str) -> NDArray[np.uint8]:
        """Return a recipe's pseudo-mask; see `RecipeReader.mask`."""
        return self.run[recipe].mask(self.image)

    def prediction(self, recipe: str) -> NDArray[np.uint8]:
        """Return the mask of a recipe's segmentation network; see `RecipeReader.prediction`."""
        return self.run[recipe].prediction(self.image)


def _value(text: str | None) -> str | float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text
