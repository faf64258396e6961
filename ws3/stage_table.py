"""The table of stages: what each job of a run is called, depends on, and needs.

Everything that must know what stages there are follows from this table: batch sizes in the
configuration, rules, commands, receipts, fingerprints, `ws3 status`, `ws3 verify`, the plan of the
workflow. `docs/extending/stage.md` adds a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ws3.config.masks import CrfParameters
    from ws3.config.run import RunConfig
    from ws3.datasets.index import ImageRow
    from ws3.run.folder import Run

Settings = dict[str, Any]
"""Plain data that `json.dumps` accepts."""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A kind of job: one rule of the workflow and one command.

    Attributes:
        name: Of the rule, the receipts' and the logs' folder; the command, with "-" for "_".
        memory_mb: Memory of its first attempt, in MB; each further attempt gets as much more. Large
            pictures need more, which `ws3.run.memory` says.
        minutes: Run time of its first attempt, and of each further one as much more; only a queue
            asks for it.
        gpus: Whether a job uses no GPU, one, or all that it can get.
    """

    name: str
    memory_mb: int
    minutes: int
    gpus: Literal["none", "one", "all"] = "none"

    @property
    def command(self) -> str:
        """Name of the command."""
        return self.name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class StageSpec(JobSpec):
    """A per-image stage: a result for each image and recipe, made batch by batch.

    Attributes:
        summary: What it does; the command's help.
        worker: `module:class` of its `ws3.jobs.runner.ImageStage`, imported when it runs.
        built_on: The per-image stages whose results of the same image it reads, where they work on
            the recipe.
        settings: (configuration, recipe) -> the settings that decide a result, beyond those of the
            stages that it is built on. They are part of its fingerprint.
        amount: (configuration, recipe) -> settings that decide how much is made but not what: a
            change runs the jobs again, and results stay valid.
        shared: (run, recipe) -> what files that all images share are, such as the classifier.
        of_image: (run, recipe, image) -> what the image itself is; only where it reads more of the
            image than the results of other stages.
        results: Where results lie in the run's folder: a Zarr store, or a folder of PNGs.
        images_per_job: Default size of a batch.
        splits: Whether it works on all splits that get maps, or on those reported on.
        recipes: Configuration -> the names that it works on.
        owner: (configuration, recipe) -> the recipe under whose name results lie.
        version: Raised when the program comes to compute something else from the same inputs.
    """

    summary: str
    worker: str
    built_on: tuple[str, ...] = ()
    settings: Callable[[RunConfig, str], Settings]
    amount: Callable[[RunConfig, str], Settings] = lambda config, recipe: {}
    shared: Callable[[Run, str], Settings] = lambda run, recipe: {}
    of_image: Callable[[Run, str, ImageRow], Settings] = lambda run, recipe, row: {}
    results: str
    images_per_job: int = 512
    splits: Literal["mapped", "reported"] = "mapped"
    recipes: Callable[[RunConfig], list[str]] = lambda config: list(config.recipes)
    owner: Callable[[RunConfig, str], str] = lambda config, recipe: recipe
    version: int = 1

    @property
    def is_store(self) -> bool:
        """Whether results are groups of a Zarr store; else they are PNGs."""
        return self.results.endswith(".zarr")

    def works_on(self, config: RunConfig, recipe: str) -> bool:
        """Whether it makes anything for a recipe; of some recipes there are no samples."""
        return self.owner(config, recipe) in self.recipes(config)


FORMAT = 2
"""Format of a run's folder and its stores; raised when older results can't be continued."""

ALL_RECIPES = "all_recipes"
"""In a recipe's place: what all recipes share, such as the regions of an image."""

SUMMED = ("combine_samples", "weight", "normalise_samples")
"""Keys of `aggregation` that stored sums depend on; the others only concern the maps."""


def _saliency_settings(config: RunConfig, recipe: str) -> Settings:
    source = config.sample_source(recipe)
    settings = config.recipes[source]
    count = {"count", "samples_per_chunk"}
    return {
        "recipe": source,
        "seed": config.seed,
        **settings.model_dump(mode="json", exclude={"samples_from", "samples", "aggregation"}),
        "samples": settings.samples.model_dump(mode="json", exclude=count),
        "per_chunk": settings.samples.samples_per_chunk,
        "aggregation": settings.aggregation.model_dump(mode="json", include=set(SUMMED)),
    }


def _saliency_amount(config: RunConfig, recipe: str) -> Settings:
    settings = config.recipes[recipe]
    return {"count": settings.stopping or settings.samples.total}


def _saliency_shared(run: Run, recipe: str) -> Settings:
    shared = {"classifier": run.classifier.sha256}
    if run.recipe(run.config.sample_source(recipe)).precision == "auto":
        shared["precision"] = run.precision(recipe)
    return shared


def _saliency_image(run: Run, recipe: str, row: ImageRow) -> Settings:
    return {"image": row.sha256, "name": row.image, "classes": run.class_values(row)}


def _maps_settings(config: RunConfig, recipe: str) -> Settings:
    imported = config.recipes[recipe].imported
    if imported is not None:
        kind = "maps" if imported.masks is None else "masks"
        # Not the folder: the files' own digests say what is read.
        return {"import": kind, **imported.model_dump(exclude={"maps", "masks", "refine"})}
    if config.recipes[recipe].network is not None:
        return {"network": _views(config)}
    settings, source = config.recipes[recipe], config.sample_source(recipe)
    stopping = config.recipes[source].stopping
    # As of imports, not the path of a network's weights: their digest is in `_maps_shared`.
    path = {"random_walk": {"affinity": {"weights"}}}
    walk = settings.aggregation.random_walk
    exclude = path if walk is not None and walk.weights is not None else None
    return {
        "samples_from": source,
        "samples": settings.samples.total,
        "aggregation": settings.aggregation.model_dump(mode="json", exclude=exclude),
        **({} if stopping is None else {"stopping": stopping}),
    }


def _maps_shared(run: Run, recipe: str) -> Settings:
    network = run.recipe(recipe).network
    if network is not None:
        return {"model": run.segmentation(network).sha256}
    digests = run.map_digests(recipe)
    return {"files": digests} if digests else {}


def _maps_image(run: Run, recipe: str, row: ImageRow) -> Settings:
    settings = run.recipe(recipe)
    if settings.network is not None:
        return {"image": row.sha256, "classes": run.class_values(row)}
    if settings.imported is None:
        return {}
    return {
        "file": run.imported(recipe).digest(row.image),
        "size": [row.height, row.width],
        "labels": {name: run.index.classes.index(name) + 1 for name in row.labels},
        "classes": list(run.index.classes),
    }


def _regions_settings(config: RunConfig, recipe: str) -> Settings:
    regions = config.masks.regions
    return {} if regions is None else regions.segments()


def _regions_image(run: Run, recipe: str, row: ImageRow) -> Settings:
    regions = run.config.masks.regions
    if regions is not None and regions.kind == "files":
        return {
            "file": run.imported(ALL_RECIPES).digest(row.image),
            "size": [row.height, row.width],
        }
    return {"image": row.sha256}


def _regions_owner(config: RunConfig, recipe: str) -> str:
    """Return whose regions a recipe's masks take: those of all, or its own, which there are not."""
    settings = config.recipes.get(recipe)
    imported = None if settings is None else settings.imported
    return recipe if imported is not None and imported.as_they_are else ALL_RECIPES


def _masks_settings(config: RunConfig, recipe: str) -> Settings:
    imported = config.recipes[recipe].imported
    if imported is not None and imported.as_they_are:
        return {"as_they_are": True}
    regions = config.masks.regions
    if regions is not None:
        voting = {"vote": regions.vote, "place": regions.place}
        crf = "none" if regions.place == "instead" else crf_settings(config.masks.crf)
        return {"crf": crf, "ignore_below": config.masks.ignore_below, "regions": voting}
    return {"crf": crf_settings(config.masks.crf), "ignore_below": config.masks.ignore_below}


def _predictions_settings(config: RunConfig, recipe: str) -> Settings:
    return {**_views(config), "crf": crf_settings(config.segmentation.crf)}


def _views(config: RunConfig) -> Settings:
    """Return at which sizes, and whether mirrored, a segmentation network sees an image."""
    settings = config.segmentation
    return {"scales": list(settings.test_scales), "flip": settings.test_flip}


def crf_settings(crf: str | CrfParameters) -> Any:
    """Return a CRF setting as plain data."""
    return crf if isinstance(crf, str) else crf.model_dump(mode="json")


STAGES: Mapping[str, StageSpec] = {
    spec.name: spec
    for spec in (
        StageSpec(
            name="saliency",
            summary="Attribute random samples and store their partial sums.",
            worker="ws3.stages.saliency:SaliencyStage",
            settings=_saliency_settings,
            amount=_saliency_amount,
            shared=_saliency_shared,
            of_image=_saliency_image,
            results="saliency/{recipe}.zarr",
            version=2,  # a whole image, or it and its mirror image, is a batch of its own
            # An image takes seconds to minutes here, and a tenth of a second or two in the stages
            # that follow; a job must be long against the seconds that its start takes.
            images_per_job=64,
            recipes=lambda config: [
                name
                for name, recipe in config.recipes.items()
                if config.sample_source(name) == name and recipe.has_samples
            ],
            owner=lambda config, recipe: config.sample_source(recipe),
            memory_mb=8000,
            minutes=60,
            gpus="one",
        ),
        StageSpec(
            name="maps",
            summary="Combine the partial sums into one map per class, or take maps from elsewhere.",
            worker="ws3.stages.maps:maps_stage",
            built_on=("saliency",),
            settings=_maps_settings,
            shared=_maps_shared,
            of_image=_maps_image,
            results="maps/{recipe}.zarr",
            memory_mb=2000,
            minutes=30,
        ),
        StageSpec(
            name="regions",
            summary="Divide each image into the regions that vote on its masks.",
            worker="ws3.stages.regions:RegionsStage",
            settings=_regions_settings,
            of_image=_regions_image,
            results="regions/{recipe}.zarr",
            recipes=lambda config: [] if config.masks.regions is None else [ALL_RECIPES],
            owner=_regions_owner,
            memory_mb=2000,
            minutes=30,
        ),
        StageSpec(
            name="masks",
            summary="Cut the maps and refine them with a dense CRF into palette PNGs.",
            worker="ws3.stages.masks:MasksStage",
            built_on=("maps", "regions"),
            settings=_masks_settings,
            amount=lambda config, recipe: (
                {"confidence": config.masks.confidence} if config.keeps_confidence(recipe) else {}
            ),
            shared=lambda run, recipe: {"background": run.threshold(recipe).for_masks.model_dump()},
            results="masks/{recipe}",
            version=2,  # the CRF sees a reduced picture of a large one
            memory_mb=2000,
            minutes=60,
        ),
        StageSpec(
            name="predictions",
            summary="Predict masks with the segmentation network of a recipe.",
            worker="ws3.stages.predictions:PredictionsStage",
            settings=_predictions_settings,
            shared=lambda run, recipe: {"model": run.segmentation(recipe).sha256},
            of_image=lambda run, recipe, row: {"image": row.sha256},
            results="predictions/{recipe}",
            splits="reported",
            recipes=lambda config: list(config.segmentation_names),
            version=2,  # as for masks
            memory_mb=4000,
            minutes=60,
            gpus="one",
        ),
    )
}
"""The per-image stages, in the order of the data."""

JOBS: Mapping[str, JobSpec] = {
    spec.name: spec
    for spec in (
        JobSpec(name="index", memory_mb=2000, minutes=60),
        JobSpec(name="train_classifier", memory_mb=8000, minutes=240, gpus="all"),
        STAGES["saliency"],
        STAGES["maps"],
        JobSpec(name="threshold", memory_mb=2000, minutes=30),
        STAGES["regions"],
        STAGES["masks"],
        JobSpec(name="train_segmentation", memory_mb=16000, minutes=720, gpus="all"),
        STAGES["predictions"],
        JobSpec(name="evaluate", memory_mb=2000, minutes=60),
        JobSpec(name="summary", memory_mb=1000, minutes=10),
        JobSpec(name="report", memory_mb=2000, minutes=60),
        JobSpec(name="compare", memory_mb=2000, minutes=30),
    )
}
"""All kinds of jobs, in the order of the data."""


def stages_before(stage: str) -> tuple[str, ...]:
    """Return all per-image stages that a stage is built on, in the order of the data.

    Example:
        >>> stages_before("masks")
        ('saliency', 'maps', 'regions')
    """
    found: list[str] = []
    for source in STAGES[stage].built_on:
        found += [*stages_before(source), source]
    return tuple(dict.fromkeys(found))
