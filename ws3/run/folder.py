"""A run's folder: where everything of it lies, its configuration and its index."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ws3.config.load import load
from ws3.config.recipes import Precision, Recipe
from ws3.config.run import GROUND_TRUTH, RunConfig
from ws3.datasets import dataset_root
from ws3.datasets.colors import mask_colors
from ws3.datasets.index import Color, ImageRow, Index, read_index, row_named
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import sha256
from ws3.messages import reason, shortened, shown
from ws3.outside import TEXT_BYTES, read_regular
from ws3.run.batches import mapped_rows
from ws3.run.records import (
    ClassifierFacts,
    ImportFacts,
    PrecisionFacts,
    SegmentationFacts,
    Threshold,
    read_record,
)
from ws3.stage_table import FORMAT, STAGES


@dataclass(frozen=True)
class Run:
    """One run: `results/<run>` and the configuration that is in force there."""

    folder: Path
    config: RunConfig

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run by its folder, which holds `config.yaml`.

        Raises:
            Ws3Error: If there is no run, or its configuration is not valid.
        """
        path = folder / "config.yaml"
        if not path.exists():
            raise Ws3Error(
                f"{folder}: there is no run here (no config.yaml); begin one with: "
                "ws3 index --config FILE"
            )
        # First: an older ws3 wrote other keys into its configuration.
        check_format(folder)
        config = load(path, check_methods=False)
        if config.seeds is not None:
            raise Ws3Error(
                f"{path}: a run has one seed; put seeds into a configuration for snakemake "
                "(--configfile FILE), which makes a run of each"
            )
        return cls(folder, config)

    @classmethod
    def of(cls, config: RunConfig) -> Run:
        """Return the run that a configuration of one seed names; nothing need be there yet."""
        return cls(Path(config.results) / config.run, config)

    @classmethod
    def all_of(cls, config: RunConfig) -> list[Run]:
        """Return the runs that a configuration names: one, or one per seed."""
        return [cls.of(one) for one in config.of_seeds()]

    @property
    def index_file(self) -> Path:
        """The index of all images; `classes.txt` lies beside it."""
        return self.folder / "index.csv"

    @property
    def index_facts(self) -> Path:
        """What the index was made from, and the problems it found."""
        return self.folder / "index.json"

    @cached_property
    def index(self) -> Index:
        """The index of all images.

        Raises:
            StaleResultError: If the images have not been indexed.
        """
        if not self.index_file.exists():
            raise StaleResultError(
                f"{self.index_file}: the images are not indexed; run: ws3 index {self.folder}"
            )
        return read_index(self.index_file)

    @cached_property
    def classifier(self) -> ClassifierFacts:
        """The facts of the run's classifier, from `receipts/train_classifier.json`.

        Raises:
            StaleResultError: If there is no classifier yet.
            Ws3Error: If the file is damaged.
        """
        path = self.receipt("train_classifier")
        if not path.exists():
            raise StaleResultError(
                f"{path}: there is no classifier; run: ws3 train-classifier {self.folder}"
            )
        return read_record(path, ClassifierFacts)

    def threshold(self, recipe: str) -> Threshold:
        """The background score that a recipe's maps are cut with, from `thresholds/<recipe>.json`.

        Raises:
            StaleResultError: If it is not chosen yet.
            Ws3Error: If the file is damaged.
        """
        return read_record(self.threshold_file(recipe), Threshold)

    def segmentation(self, recipe: str) -> SegmentationFacts:
        """The facts of a segmentation network, from `receipts/train_segmentation/<recipe>.json`.

        Raises:
            StaleResultError: If it is not trained yet.
            Ws3Error: If the file is damaged.
        """
        return read_record(self.receipt("train_segmentation", recipe), SegmentationFacts)

    def recipe(self, name: str) -> Recipe:
        """Return a recipe of this run.

        Raises:
            Ws3Error: If the run has none of that name.
        """
        if name not in self.config.recipes:
            known = ", ".join(self.config.recipes)
            raise Ws3Error(
                f"{self.folder}: {shown(name)} is not a recipe of this run; it has: "
                f"{shortened(known)}"
            )
        return self.config.recipes[name]

    def check_segmentation_name(self, name: str) -> None:
        """Check that a segmentation network can be of this name.

        Raises:
            Ws3Error: If it is neither a recipe of this run nor `ground_truth`.
        """
        if name != GROUND_TRUTH:
            self.recipe(name)

    def rows(self, splits: Iterable[str]) -> list[ImageRow]:
        """Return the index rows of some splits, in the index's order."""
        wanted = set(splits)
        return [row for row in self.index.rows if row.split in wanted]

    def row(self, image: str) -> ImageRow:
        """Return the index row of an image by its id, or by its name in the dataset.

        Raises:
            Ws3Error: If there is none, or several end in that name.
        """
        found = row_named(self.index.rows, image)
        if found is None:
            raise Ws3Error(f"{self.index_file}: there is no image {image!r}")
        return found

    def mapped_rows(self, splits: Iterable[str]) -> list[ImageRow]:
        """Return the index rows of some splits that get maps and masks."""
        return mapped_rows(self.config, self.index.rows, splits)

    def class_values(self, row: ImageRow) -> list[int]:
        """Return the mask values of the classes that an image holds."""
        return [self.index.classes.index(label) + 1 for label in row.labels]

    @cached_property
    def colors(self) -> dict[Color, int] | None:
        """The class value of each colour of the ground-truth masks; None if they hold values.

        Raises:
            Ws3Error: If the table of colours is missing or malformed.
        """
        root = dataset_root(self.config.dataset, self.folder)
        return mask_colors(self.config.dataset, root, self.index.classes)

    @property
    def classifier_inputs(self) -> list[Path]:
        """The user's files that the classifier is made from."""
        config = self.config.classifier
        named = [config.checkpoint, None if config.weights == "imagenet" else config.weights]
        return [Path(name) for name in named if name is not None]

    def map_inputs(self, recipe: str) -> list[Path]:
        """The user's files that a recipe's maps are made from, beside images and imports."""
        walk = self.recipe(recipe).aggregation.random_walk
        return [] if walk is None or walk.weights is None else [Path(walk.weights)]

    def map_digests(self, recipe: str) -> list[str]:
        """Return the SHA-256 of each of `map_inputs`.

        Raises:
            StaleResultError: If one can't be read.
        """
        found = []
        for path in self.map_inputs(recipe):
            try:
                found.append(sha256(path))
            except OSError as error:
                raise StaleResultError(
                    f"recipes.{recipe}.aggregation.random_walk.affinity.weights: {path} can't be "
                    f"read ({reason(error)}); put it there, or name another file"
                ) from error
        return found

    @property
    def classifier_file(self) -> Path:
        """The classifier's checkpoint."""
        return self.folder / "classifier.pt"

    @property
    def precision_file(self) -> Path:
        """What `precision: auto` means with the run's classifier.

        Raises:
            StaleResultError: If there is no classifier yet.
        """
        return self.folder / "precision" / f"{self.classifier.sha256}.json"

    def precision(self, recipe: str) -> Precision:
        """Return the arithmetic that a recipe's samples are computed with.

        Raises:
            StaleResultError: If it is for the first job to decide, and there was none yet.
            Ws3Error: If the run has no such recipe, or what was decided is damaged.
        """
        settings = self.recipe(self.config.sample_source(recipe))
        if settings.precision != "auto":
            return settings.precision
        if not settings.averages:
            return "fp32"
        return read_record(self.precision_file, PrecisionFacts).precision

    def imports_file(self, recipe: str) -> Path:
        """Which files an imported recipe takes, and what the index found in them."""
        return self.folder / "imports" / f"{recipe}.json"

    def imported(self, recipe: str) -> ImportFacts:
        """The files of an imported recipe, as they were indexed; read once.

        Raises:
            StaleResultError: If they have not been indexed.
            Ws3Error: If what was written down is damaged.
        """
        if recipe not in self._imports:
            path = self.imports_file(recipe)
            if not path.exists():
                raise StaleResultError(
                    f"{path}: the files of {recipe} are not indexed; run: ws3 index {self.folder}"
                )
            self._imports[recipe] = read_record(path, ImportFacts)
        return self._imports[recipe]

    def forget_imported(self, recipe: str) -> None:
        """Read again what was written down of an imported recipe when it is next asked for."""
        self._imports.pop(recipe, None)

    @cached_property
    def _imports(self) -> dict[str, ImportFacts]:
        return {}

    def threshold_file(self, recipe: str) -> Path:
        """The background threshold of a recipe and how it was chosen."""
        return self.folder / "thresholds" / f"{recipe}.json"

    def results(self, stage: str, recipe: str) -> Path:
        """The folder of a per-image stage's results: a Zarr store, or a folder of PNGs."""
        spec = STAGES[stage]
        return self.folder / spec.results.format(recipe=spec.owner(self.config, recipe))

    def result(self, stage: str, recipe: str, image: str) -> Path:
        """An image's result of a per-image stage: a store's group, or a PNG."""
        name = image if STAGES[stage].is_store else f"{image}.png"
        return self.results(stage, recipe) / name

    def confidence_file(self, recipe: str, image: str) -> Path:
        """The confidence of each pixel of an image's pseudo-mask, where the run stores it."""
        return self.folder / "confidence" / recipe / f"{image}.png"

    def model_file(self, recipe: str) -> Path:
        """The segmentation network trained on a recipe's masks."""
        return self.folder / "segmentation" / recipe / "model.pt"

    def evaluation_file(self, recipe: str) -> Path:
        """The figures of a recipe."""
        return self.folder / "evaluation" / f"{recipe}.json"

    def confidence_curve_file(self, recipe: str) -> Path:
        """Coverage and precision of a recipe's masks at every cut of their confidence."""
        return self.folder / "evaluation" / f"{recipe}.confidence.csv"

    def image_counts_file(self, recipe: str) -> Path:
        """What each image adds to the figures of a recipe."""
        return self.folder / "evaluation" / f"{recipe}.images.csv"

    @property
    def summary_file(self) -> Path:
        """The figures of all recipes, a row each."""
        return self.folder / "evaluation" / "summary.csv"

    @property
    def sanity_file(self) -> Path:
        """What the checks of the recipes found; there only if somebody made them."""
        return self.folder / "sanity" / "check.json"

    @property
    def report_file(self) -> Path:
        """The report's page."""
        return self.folder / "report" / "index.html"

    @property
    def single_page_file(self) -> Path:
        """The report's page with its pictures in it."""
        return self.report_file.with_name("report.html")

    @property
    def charts(self) -> Path:
        """The folder of the report's charts, each for light and for dark pages."""
        return self.report_file.with_name("figures")

    def receipt(self, *parts: str) -> Path:
        """A receipt: `receipts/<job>[/<recipe>[/<batch>]].json`."""
        return self.file_of("receipts", *parts, suffix=".json")

    def file_of(self, kind: str, *parts: str, suffix: str) -> Path:
        """What is kept per job: `<kind>/<job>[/<recipe>[/<batch>]]<suffix>`."""
        *folders, name = parts
        return self.folder.joinpath(kind, *folders, f"{name}{suffix}")

    def failure_file(self, stage: str, recipe: str, image: str) -> Path:
        """Why an image failed in a stage; there only while it does."""
        owner = STAGES[stage].owner(self.config, recipe)
        return self.folder / "failed" / stage / owner / f"{image}.json"

    def journal_file(self, stage: str) -> Path:
        """What was done in a stage, one line per image, only ever appended to."""
        return self.folder / "journal" / f"{stage}.jsonl"


def check_format(folder: Path) -> None:
    """Refuse a run's folder whose results an older or newer ws3 made.

    Raises:
        Ws3Error: Naming the folder and what to do.
    """
    try:
        found = json.loads(read_regular(folder / "index.json", TEXT_BYTES)).get("format", 1)
    except (OSError, ValueError, AttributeError, RecursionError):
        return  # nothing is there yet, or whoever reads it says that it is damaged
    if found != FORMAT:
        raise Ws3Error(
            f"{folder}: these results have format {shown(found)}, and this ws3 makes format "
            f"{FORMAT}; give the run another name (run: ...), or remove this folder"
        )
