"""The jobs of a run: which batches there are, what each reads, and what its result depends on.

Snakemake evaluates this once per parse, also in every cluster job, so nothing here is heavy. A
job's parameters say what its result depends on; Snakemake reruns exactly the jobs whose
parameters changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from ws3.config.load import resolve
from ws3.config.masks import AutoBackground, TunedBackground
from ws3.config.run import GROUND_TRUTH, RunConfig
from ws3.config.segmentation import OWN_CLASSIFIER, PrecisionCut
from ws3.datasets.index import ImageRow, Listing, rows_fingerprint
from ws3.datasets.listing_files import stat_key
from ws3.errors import Ws3Error
from ws3.run.batches import Batches, mapped_rows, stage_splits
from ws3.run.dataset_state import known_listing
from ws3.run.folder import Run, check_format
from ws3.run.imports import sources, stat_keys
from ws3.run.memory import memory_mb, sizes_of
from ws3.run.tuning import tuning_list
from ws3.stage_table import STAGES


class Plan:
    """The jobs of a run."""

    def __init__(
        self,
        data: Mapping[str, Any] | RunConfig,
        *,
        check_files: bool,
        first: Plan | None = None,
    ) -> None:
        """Resolve the configuration.

        Args:
            data: Snakemake's merged configuration, or that of a run with one seed.
            check_files: Whether to look for changes of the dataset; a job's own parse need not.
            first: Plan of the run with the first seed, whose images and batches are the same.

        Raises:
            Ws3Error: If the configuration is not valid, the list that a threshold is tuned on is
                missing, or the run's folder is of an older ws3.
        """
        self.config = data if isinstance(data, RunConfig) else resolve(data, "config")
        self.run = Run.of(self.config)
        check_format(self.run.folder)
        self.folder = self.run.folder.as_posix()
        self._check_files = check_files
        # Stages that divide the same images alike share the fingerprints of their batches.
        self._batches = cache(lambda splits, size: Batches(self.mapped, splits, size))
        self._imports: dict[str, dict[str, str]] = {}
        if first is not None:
            self.listing, self.mapped = first.listing, first.mapped
            self._batches, self._imports = first._batches, first._imports
        # Read here, where what is wrong ends in one sentence.
        self._tuning_list = tuning_list(self.run, self.config.masks.background)

    @cached_property
    def listing(self) -> Listing:
        """The images, as far as they are known without opening any.

        Raises:
            Ws3Error: If the dataset isn't there, or has no image of a split that is needed.
        """
        listing = known_listing(self.run, look=self._check_files)
        splits = {row.split for row in listing.rows}
        for split in self.config.map_splits:
            if split not in splits:
                raise Ws3Error(
                    f"config: evaluation.splits: the dataset has no image in the {split} split; "
                    f"it has: {', '.join(sorted(splits)) or 'none'}"
                )
        return listing

    @cached_property
    def mapped(self) -> list[ImageRow]:
        """The images that get maps and masks."""
        return mapped_rows(self.config, self.listing.rows, self.config.map_splits)

    def batches(self, stage: str) -> Batches:
        """Return the batches of a stage."""
        return self._batches(stage_splits(self.config, stage), self.config.batch_size(stage))

    @cached_property
    def _sizes(self) -> set[tuple[int, int]]:
        return sizes_of(self.listing.rows)

    def memory_mb(self, job: str) -> int:
        """Return the memory of a job's first attempt in MB; the pictures' sizes are the index's."""
        return memory_mb(self.config, job, self._sizes)

    def settings(self, stage: str, recipe: str) -> str:
        """Return what a stage's jobs depend on, beyond their images and the stages before."""
        spec = STAGES[stage]
        files = [stat_key(path) for path in self.run.map_inputs(recipe)] if stage == "maps" else []
        return as_text(
            **spec.settings(self.config, recipe),
            **spec.amount(self.config, recipe),
            **({"files": files} if files else {}),
        )

    def receipts(self, stage: str, recipe: str, splits: Sequence[str]) -> list[str]:
        """Return the receipts of all batches of a stage and recipe on some splits."""
        return [self._receipt(stage, recipe, name) for name in self.batches(stage).names(splits)]

    def input_receipts(self, stage: str, recipe: str, batch: str, source: str) -> list[str]:
        """Return the receipts of an earlier stage, `source`, that hold a batch's images.

        Where that stage does nothing for the recipe there are none. If no other does either, they
        are the index's, as maps are then made of files, or a segmentation network's.
        """
        working = [name for name in STAGES[stage].built_on if self._works(name, recipe)]
        if source not in working:
            network = self.config.recipes[recipe].network
            made_of = ("index",) if network is None else ("train_segmentation", network)
            return [] if working else [self.run.receipt(*made_of).as_posix()]
        rows = self.batches(stage)[batch]
        owner = STAGES[source].owner(self.config, recipe)
        names = self.batches(source).names_holding(rows)
        return [self._receipt(source, owner, name) for name in names]

    def look_at_files(self) -> None:
        """List the dataset and the files of imported recipes now.

        Raises:
            Ws3Error: If any isn't as it must be.
        """
        _ = self.listing
        for name in sources(self.config):
            self._import_keys(name)

    def batch_state(self, stage: str, recipe: str, batch: str) -> str:
        """Return what a batch's images are, and the files that an imported recipe takes."""
        rows = self.batches(stage)[batch]
        keys = self._import_keys(recipe) if stage in ("maps", "regions") else {}
        if not keys:
            return rows.fingerprint
        text = as_text(files=[keys.get(row.image, "") for row in rows.rows])
        return f"{rows.fingerprint}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def _works(self, stage: str, recipe: str) -> bool:
        return STAGES[stage].works_on(self.config, recipe)

    def _import_keys(self, recipe: str) -> dict[str, str]:
        if recipe not in self._imports:
            source = sources(self.config).get(recipe)
            self._imports[recipe] = {} if source is None else stat_keys(source, self.listing.rows)
        return self._imports[recipe]

    def threshold_input(self, recipe: str) -> list[str]:
        """Return the receipts of the maps, and of the regions, that a threshold is chosen by."""
        background = self.config.masks.background
        if isinstance(background, AutoBackground):
            return self.receipts("maps", recipe, ["train"])
        if not isinstance(background, TunedBackground):
            return []
        files = []
        for stage in ("maps", "regions") if self.config.cuts_means(recipe) else ("maps",):
            names = self.batches(stage).names([background.split])
            if background.images is not None and background.list is None:
                names = names[: -(-background.images // self.config.batch_size(stage))]
            owner = STAGES[stage].owner(self.config, recipe)
            files += [self._receipt(stage, owner, name) for name in names]
        return files

    def train_segmentation_input(self, recipe: str) -> list[str]:
        """Return the receipts of the masks, and of the classifier, that a network is made from."""
        own = self.config.segmentation.weights == OWN_CLASSIFIER
        start = [self.run.receipt("train_classifier").as_posix()] if own else []
        masks = [] if recipe == GROUND_TRUTH else self.receipts("masks", recipe, ["train"])
        return [*start, *masks]

    def evaluate_input(self, recipe: str) -> list[str]:
        """Return all that the figures of a recipe, or of `ground_truth`, are computed from."""
        splits, reference = self.config.evaluation.splits, self.config.reference_recipe
        files = []
        for name in dict.fromkeys((recipe, reference)):
            if name != GROUND_TRUTH:
                files += self.receipts("maps", name, splits)
                files.append(self.run.threshold_file(name).as_posix())
        if recipe != GROUND_TRUTH:
            files += self.receipts("masks", recipe, splits)
        if recipe in self.config.segmentation_names:
            files += self.receipts("predictions", recipe, splits)
        return files

    def evaluations(self) -> list[str]:
        """Return the figures of all recipes, and of `ground_truth` if it is trained."""
        return [self.run.evaluation_file(name).as_posix() for name in self.config.evaluated]

    def image_counts(self) -> list[str]:
        """Return the counts of each image, of all recipes, and of `ground_truth` if it is trained.

        They come with the figures; as targets of their own they are made for older figures, too.
        """
        return [self.run.image_counts_file(name).as_posix() for name in self.config.evaluated]

    def targets(self) -> list[str]:
        """Return what a run is to end with: the report, and all results that lead to it.

        Intermediate receipts are listed too: Snakemake does not recreate a missing intermediate
        file whose consumers exist, so a repaired image would never be computed again.
        """
        run = self.run
        files = [run.summary_file, run.report_file]
        if self.config.needs_classifier:
            files.append(run.receipt("train_classifier"))
        files += [run.threshold_file(recipe) for recipe in self.config.recipes]
        files += [
            run.receipt("train_segmentation", name) for name in self.config.segmentation_names
        ]
        batches = [
            receipt
            for stage, spec in STAGES.items()
            for recipe in spec.recipes(self.config)
            for receipt in self.receipts(stage, recipe, stage_splits(self.config, stage))
        ]
        return [
            *(path.as_posix() for path in files),
            *self.evaluations(),
            *self.image_counts(),
            *batches,
        ]

    @cached_property
    def index_params(self) -> str:
        """What dataset is indexed."""
        dataset = self.config.dataset.model_dump(mode="json")
        return as_text(dataset=dataset, on_bad_image=self.config.on_bad_image)

    @cached_property
    def train_classifier_params(self) -> str:
        """What the classifier depends on: the images it learns from, and how."""
        return as_text(
            train=rows_fingerprint([row for row in self.listing.rows if row.split == "train"]),
            classes=list(self.listing.classes),
            classifier=self.config.classifier.model_dump(mode="json"),
            files=[stat_key(path) for path in self.run.classifier_inputs],
            seed=self.config.seed,
            threads=self.config.threads,
        )

    @cached_property
    def threshold_params(self) -> str:
        """What a threshold depends on, beyond the maps."""
        background = self.config.masks.background
        regions = self.config.masks.regions
        voted = {} if regions is None or not regions.cuts_means else {"regions": True}
        return as_text(
            background=background.model_dump(mode="json"), listed=self._tuning_list, **voted
        )

    def train_segmentation_params(self, recipe: str) -> str:
        """What a segmentation network depends on, beyond the masks that it learns from."""
        train = [row for row in self.mapped if row.split == "train"]
        chosen = isinstance(self.config.segmentation.ignore_below, PrecisionCut)
        looks_at_truth = recipe == GROUND_TRUTH or chosen
        return as_text(
            **self.config.segmentation.training(),
            seed=self.config.seed,
            threads=self.config.threads,
            train=rows_fingerprint(train) if looks_at_truth else "",
        )

    @cached_property
    def evaluate_params(self) -> str:
        """What the figures depend on, beyond what they are computed from."""
        splits, batches = self.config.evaluation.splits, self.batches("maps")
        return as_text(
            reference=self.config.reference_recipe,
            splits=list(splits),
            batches=[batches[name].fingerprint for name in batches.names(splits)],
        )

    def _receipt(self, stage: str, recipe: str, batch: str) -> str:
        # For each of tens of thousands of batches: as text, which is faster than a Path.
        return f"{self.folder}/receipts/{stage}/{recipe}/{batch}.json"


def as_text(**params: Any) -> str:
    """Return parameters as one line of text, the same for the same parameters."""
    return json.dumps(params, sort_keys=True)
