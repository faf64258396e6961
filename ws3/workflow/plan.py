"""What the Snakemake rules ask: which files, which batches, which parameters.

Snakemake evaluates this once per parse, also in every cluster job, so nothing here is heavy. A
job's parameters say what its result depends on; Snakemake reruns exactly the jobs whose
parameters changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ws3.config.load import resolve
from ws3.config.masks import TunedBackground
from ws3.config.run import GROUND_TRUTH, RunConfig, Stage
from ws3.datasets.files import stat_key
from ws3.datasets.index import ImageRow, Listing, rows_fingerprint
from ws3.errors import Ws3Error
from ws3.run.batches import Batches, mapped_rows, stage_recipes, stage_splits
from ws3.run.dataset_state import known_listing
from ws3.run.fingerprints import crf_part
from ws3.run.folder import Run


class Plan:
    """The jobs of a run."""

    def __init__(self, data: Mapping[str, Any], *, look: bool) -> None:
        """Resolve the configuration.

        Args:
            data: Snakemake's merged configuration.
            look: whether to look for changes of the dataset; a job's own parse need not.

        Raises:
            Ws3Error: if the configuration is not valid.
        """
        self.config: RunConfig = resolve(data, "config")
        self.run = Run.of(self.config)
        self.folder = self.run.folder.as_posix()
        self._look = look
        self._batches: dict[tuple[tuple[str, ...], int], Batches] = {}

    @cached_property
    def listing(self) -> Listing:
        """The images, as far as they are known without opening any.

        Raises:
            Ws3Error: if the dataset isn't there, or has no image of a split that is needed.
        """
        listing = known_listing(self.run, look=self._look)
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

    @property
    def gpu(self) -> int:
        """GPUs that a job of the networks' stages takes on this machine: 1, or 0 if it has none.

        A cluster profile sets it for its own nodes. The default profile lets at most as many such
        jobs run at once as it says that there are GPUs.
        """
        return int(self.config.device != "cpu" and Path("/dev/nvidia0").exists())

    def batches(self, stage: Stage) -> Batches:
        """Return the batches of a stage."""
        # Stages that divide the same images alike share the digests of their batches.
        division = (stage_splits(self.config, stage), self.config.batch_size(stage))
        if division not in self._batches:
            self._batches[division] = Batches(self.mapped, *division)
        return self._batches[division]

    def receipts(self, stage: Stage, recipe: str, splits: Sequence[str]) -> list[str]:
        """Return the receipts of all batches of a stage and recipe on some splits."""
        return [self._receipt(stage, recipe, name) for name in self.batches(stage).names(splits)]

    def upstream(self, stage: Stage, recipe: str, batch: str, source: Stage) -> list[str]:
        """Return the receipts of an earlier stage that hold a batch's images."""
        rows = self.batches(stage)[batch]
        if source == "saliency":
            recipe = self.config.sample_source(recipe)
        return [self._receipt(source, recipe, name) for name in self.batches(source).covering(rows)]

    def identity(self, stage: Stage, batch: str) -> str:
        """Return the digest of a batch's images, labels and files."""
        return self.batches(stage).identity(batch)

    def threshold_inputs(self, recipe: str) -> list[str]:
        """Return the receipts of the maps that a recipe's threshold is tuned on."""
        background = self.config.masks.background
        if not isinstance(background, TunedBackground):
            return []
        if background.split not in self.config.map_splits:
            raise Ws3Error(
                f"config: masks.background.split: no maps are made for the {background.split} "
                "split; add it to evaluation.splits"
            )
        names = self.batches("maps").names([background.split])
        if background.images is not None:
            names = names[: -(-background.images // self.config.batch_size("maps"))]
        return [self._receipt("maps", recipe, name) for name in names]

    def evaluation_inputs(self, recipe: str) -> list[str]:
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

    def training_masks(self, recipe: str) -> list[str]:
        """Return the receipts of the masks that a segmentation network learns from."""
        return [] if recipe == GROUND_TRUTH else self.receipts("masks", recipe, ["train"])

    def targets(self) -> list[str]:
        """Return what a run is to end with: the report, and all results that lead to it.

        All of them, because Snakemake does not miss a file that only files in between need: what a
        repair removed would stay away.
        """
        stages: tuple[Stage, ...] = ("saliency", "maps", "masks")
        batches = [
            file
            for stage in stages
            for recipe in stage_recipes(self.config, stage)
            for file in self.receipts(stage, recipe, self.config.map_splits)
        ]
        for recipe in self.config.segmentation_names:
            batches.append(self.run.receipt("segmentation", recipe).as_posix())
            batches += self.receipts("predictions", recipe, self.config.evaluation.splits)
        chosen = [self.run.threshold_file(recipe).as_posix() for recipe in self.config.recipes]
        files = [self.run.receipt("classifier"), self.run.summary_file, self.run.report_file]
        return [*(path.as_posix() for path in files), *chosen, *self.evaluations(), *batches]

    def evaluations(self) -> list[str]:
        """Return the figures of all recipes, and of the fully supervised network."""
        return [self.run.evaluation_file(name).as_posix() for name in self.config.evaluated]

    @cached_property
    def index_params(self) -> dict[str, Any]:
        """What dataset is indexed."""
        return {
            "dataset": self.config.dataset.model_dump(mode="json"),
            "on_bad_image": self.config.on_bad_image,
        }

    @cached_property
    def classifier_params(self) -> dict[str, Any]:
        """What the classifier depends on: the images it learns from, and how."""
        return {
            "train": rows_fingerprint([row for row in self.listing.rows if row.split == "train"]),
            "classes": list(self.listing.classes),
            "classifier": self.config.classifier.model_dump(mode="json"),
            "files": [stat_key(path) for path in self.run.classifier_inputs],
            "seed": self.config.seed,
            "threads": self.config.threads,
        }

    def saliency_params(self, recipe: str) -> dict[str, Any]:
        """What a recipe's sample chunks depend on."""
        dumped = self.config.recipes[recipe].model_dump(mode="json")
        aggregation = dumped.pop("aggregation")
        kept = {key: aggregation[key] for key in ("combine_samples", "weight", "normalise_samples")}
        return {**dumped, "aggregation": kept, "seed": self.config.seed}

    def maps_params(self, recipe: str) -> dict[str, Any]:
        """What a recipe's maps depend on, beyond the sample chunks."""
        settings = self.config.recipes[recipe]
        return {
            "samples_from": self.config.sample_source(recipe),
            "samples": settings.samples.total,
            "aggregation": settings.aggregation.model_dump(mode="json"),
        }

    @cached_property
    def threshold_params(self) -> dict[str, Any]:
        """What a recipe's threshold depends on, beyond the maps."""
        return self.config.masks.background.model_dump(mode="json")

    @cached_property
    def masks_params(self) -> dict[str, Any]:
        """What masks depend on, beyond the maps and the threshold."""
        masks = self.config.masks
        return {"crf": crf_part(masks.crf), "ignore_below": masks.ignore_below}

    def segmenter_params(self, recipe: str) -> dict[str, Any]:
        """What a segmentation network depends on, beyond its recipe's masks."""
        params = {
            **self.config.segmentation.training(),
            "seed": self.config.seed,
            "threads": self.config.threads,
        }
        if recipe == GROUND_TRUTH:
            params["train"] = rows_fingerprint([row for row in self.mapped if row.split == "train"])
        return params

    @cached_property
    def predict_params(self) -> dict[str, Any]:
        """What predictions depend on, beyond the network."""
        settings = self.config.segmentation
        return {
            "scales": list(settings.test_scales),
            "flip": settings.test_flip,
            "crf": crf_part(settings.crf),
        }

    @cached_property
    def evaluate_params(self) -> dict[str, Any]:
        """What the figures depend on, beyond what they are computed from."""
        splits, batches = self.config.evaluation.splits, self.batches("maps")
        return {
            "reference": self.config.reference_recipe,
            "splits": list(splits),
            "ids": [batches.identity(name) for name in batches.names(splits)],
        }

    def _receipt(self, stage: Stage, recipe: str, batch: str) -> str:
        return f"{self.folder}/receipts/{stage}/{recipe}/{batch}.json"


def as_text(params: Mapping[str, Any]) -> str:
    """Return parameters as one line of text, the same for the same parameters."""
    return json.dumps(params, sort_keys=True)
