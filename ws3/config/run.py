"""The configuration of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model, field_validator, model_validator

from ws3.config.classifier import ClassifierConfig
from ws3.config.dataset import Dataset
from ws3.config.masks import Masks, TunedBackground
from ws3.config.model import Distinct, GrowingSection, Int, Section
from ws3.config.recipes import Recipe, sharing_problem
from ws3.config.segmentation import (
    OWN_CLASSIFIER,
    PrecisionCut,
    Segmentation,
    segmentation_network,
)
from ws3.messages import shown
from ws3.stage_table import ALL_RECIPES, STAGES

GROUND_TRUTH = "ground_truth"
"""In a recipe's place: the segmentation network that learned from the ground truth itself."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(value: str) -> str:
    """Return a run's or recipe's name, or raise ValueError if it can't be a folder's name."""
    if not _NAME.fullmatch(value) or len(value) > 100:
        raise ValueError(
            f"{shown(value)} can't be a folder's name: use letters, digits, '_', '-' and '.', and "
            "begin with a letter or digit"
        )
    return value


class Evaluation(Section):
    """Where the figures come from."""

    splits: Annotated[tuple[Literal["train", "val"], ...], Distinct] = Field(
        ("val",),
        description="Splits to report on; maps and masks are made for them too.",
        min_length=1,
    )
    train_images: Annotated[Int, Field(ge=1)] | None = Field(
        None,
        description="Make maps and masks of this many training images only, evenly spaced (the "
        "classifier still learns from all); null: of all.",
    )


_batch_sizes: dict[str, Any] = {
    name: (
        Annotated[Int, Field(ge=1)],
        Field(spec.images_per_job, description=f"Images per job of the stage {name}."),
    )
    for name, spec in STAGES.items()
}
ImagesPerJob: type[Section] = create_model(
    "ImagesPerJob", __base__=Section, __doc__="Batch sizes, one per stage.", **_batch_sizes
)


Seed = Annotated[Int, Field(ge=0, lt=2**32)]


class RunConfig(GrowingSection):
    """Everything that defines a run; `results/<run>/config.yaml` holds the resolved one.

    With `seeds` it stands for several runs, one per seed.
    """

    newer: ClassVar[tuple[str, ...]] = ("seeds",)

    run: str = Field(description="Name of the run: results go to <results>/<run>.")
    results: str = Field("results", description="Folder of all runs.")
    seed: Seed = Field(
        0, description="Where all random streams start: of samples, augmentation and new weights."
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Distinct] | None = Field(
        None,
        description="In place of `seed`, a run for each of these: `<run>_seed0`, `<run>_seed1` and "
        "so on, with one index, compared in `<run>_seeds`.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one."
    )
    threads: Annotated[Int, Field(ge=1, le=256)] = Field(
        2, description="Threads of a training job; on CPU its rounding depends on them."
    )
    dataset: Dataset = Field(description="Which images there are; its kind says in what layout.")
    classifier: ClassifierConfig = Field(default_factory=ClassifierConfig)
    recipes: dict[str, Recipe] = Field(
        min_length=1, description="The ways from the classifier to score maps, by a name of yours."
    )
    reference_recipe: str = Field("cam", description="DR and NDR are relative to this recipe.")
    masks: Masks = Field(default_factory=Masks)
    segmentation: Segmentation = Field(default_factory=Segmentation)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    images_per_job: Annotated[Int, Field(ge=1)] | ImagesPerJob = Field(
        default_factory=ImagesPerJob, description="Images per job: one number, or one per stage."
    )
    on_bad_image: Literal["fail", "skip"] = Field(
        "fail", description="fail: stop and name them; skip: go on and list them in the report."
    )

    @field_validator("run")
    @classmethod
    def _run_is_a_name(cls, value: str) -> str:
        return check_name(value)

    @field_validator("results")
    @classmethod
    def _results_is_a_folder_snakemake_can_name(cls, value: str) -> str:
        strange = [mark for mark in value if mark in "{}" or not mark.isprintable()]
        if strange:
            raise ValueError(
                f"{shown(value)} holds {strange[0]!r}, which Snakemake can't have in a path; "
                "choose a folder without braces and line breaks"
            )
        try:
            return str(Path(value).expanduser())
        except RuntimeError:
            raise ValueError(f"{shown(value)}: there is no such user on this machine") from None

    @field_validator("recipes")
    @classmethod
    def _recipes_have_names(cls, value: dict[str, Recipe]) -> dict[str, Recipe]:
        for name in value:
            check_name(name)
        if ALL_RECIPES in value:
            raise ValueError(f"{ALL_RECIPES} stands for all recipes; choose another name")
        if GROUND_TRUTH in value:
            raise ValueError(
                f"{GROUND_TRUTH} is the name of the fully supervised network "
                "(segmentation.fully_supervised); choose another name"
            )
        return value

    @model_validator(mode="after")
    def _seeds_stand_alone(self) -> RunConfig:
        if self.seeds is not None:
            if "seed" in self.model_fields_set:
                raise ValueError("seeds: seed is given too; give either seed or seeds")
            check_name(f"{self.run}_seed{max(self.seeds)}")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> RunConfig:
        known = ", ".join(self.recipes)
        if self.reference_recipe not in self.recipes:
            raise ValueError(
                f"reference_recipe: {shown(self.reference_recipe)} is not a recipe; choose "
                f"from: {known}"
            )
        for name in self.segmentation.recipes:
            if name not in self.recipes:
                raise ValueError(
                    f"segmentation.recipes: {shown(name)} is not a recipe; choose from: {known}"
                )
        return self

    @model_validator(mode="after")
    def _confidence_is_stored(self) -> RunConfig:
        settings = self.segmentation
        if not settings.uses_confidence:
            return self
        key = "ignore_below" if settings.ignore_below != 0 else "pixel_weights"
        if not self.masks.confidence:
            raise ValueError(
                f"segmentation.{key}: the confidence of masks isn't stored; set "
                "masks.confidence: true"
            )
        for name in settings.recipes:
            if not self.keeps_confidence(name):
                raise ValueError(
                    f"segmentation.{key}: the masks of {shown(name)} are imported as they are, "
                    "without a confidence; take it out of segmentation.recipes"
                )
        chosen = isinstance(settings.ignore_below, PrecisionCut)
        if chosen and "train" in self.evaluation.splits:
            raise ValueError(
                "segmentation.ignore_below: the ground truth of train would choose it, which "
                "evaluation.splits reports on; give a number"
            )
        return self

    @model_validator(mode="after")
    def _own_classifier_fits(self) -> RunConfig:
        if self.segmentation_names and self.segmentation.weights == OWN_CLASSIFIER:
            backbone = segmentation_network(self.segmentation.architecture).backbone
            if backbone != self.classifier.architecture:
                raise ValueError(
                    f"segmentation.weights: the backbone of {self.segmentation.architecture} can't "
                    f"start from the run's classifier, a {shown(self.classifier.architecture)}; "
                    "choose networks of the same backbone, or other weights"
                )
        return self

    @model_validator(mode="after")
    def _threshold_has_maps(self) -> RunConfig:
        background = self.masks.background
        if isinstance(background, TunedBackground) and background.split not in self.map_splits:
            raise ValueError(
                f"masks.background.split: no maps are made for the {background.split} split; add "
                "it to evaluation.splits"
            )
        return self

    @model_validator(mode="after")
    def _shared_samples_fit(self) -> RunConfig:
        for name, recipe in self.recipes.items():
            if recipe.samples_from is not None:
                problem = sharing_problem(recipe, self.recipes[recipe.samples_from])
                if problem:
                    raise ValueError(f"recipes.{name}: {problem} {shown(recipe.samples_from)}")
        return self

    @model_validator(mode="after")
    def _networks_are_trained_before(self) -> RunConfig:
        for name in self.recipes:
            before = [name]
            while (network := self.recipes[before[-1]].network) is not None:
                at = f"recipes.{before[-1]}.network: {shown(network)}"
                if network not in self.segmentation.recipes:
                    known = ", ".join(self.segmentation.recipes) or "none"
                    raise ValueError(
                        f"{at} trains no network; add it to segmentation.recipes, which has: "
                        f"{known}"
                    )
                if network in before:
                    raise ValueError(f"{at} would learn from its own predictions")
                before.append(network)
        return self

    @property
    def seeds_folder(self) -> Path:
        """What the runs of several seeds share: their comparison, and a dataset that is drawn."""
        return Path(self.results) / f"{self.run}_seeds"

    def of_seeds(self) -> tuple[RunConfig, ...]:
        """Return the configuration of each run: one per seed, or this one where it has one seed.

        A dataset that would be drawn into the run's folder is drawn once, into `seeds_folder`.
        """
        if self.seeds is None:
            return (self,)
        dataset = self.dataset
        if dataset.root is None:
            root = (self.seeds_folder / "data").as_posix()
            dataset = dataset.model_copy(update={"root": root})
        return tuple(
            self.model_copy(
                update={
                    "run": f"{self.run}_seed{seed}",
                    "seed": seed,
                    "seeds": None,
                    "dataset": dataset,
                }
            )
            for seed in self.seeds
        )

    def sample_source(self, recipe: str) -> str:
        """Return the recipe whose samples a recipe is made from: itself, or another."""
        settings = self.recipes.get(recipe)
        return recipe if settings is None else settings.samples_from or recipe

    def batch_size(self, stage: str) -> int:
        """Images per job of this stage."""
        if isinstance(self.images_per_job, int):
            return self.images_per_job
        return int(getattr(self.images_per_job, stage))

    def cuts_means(self, recipe: str) -> bool:
        """Whether the masks of a recipe are cut from means of regions, and not from maps."""
        regions, imported = self.masks.regions, self.recipes[recipe].imported
        as_they_are = imported is not None and imported.as_they_are
        return regions is not None and regions.cuts_means and not as_they_are

    def keeps_confidence(self, recipe: str) -> bool:
        """Whether the confidence of each pixel is stored beside the masks of a recipe.

        Masks that are imported as they are have none.
        """
        settings = self.recipes.get(recipe)
        if not self.masks.confidence or settings is None:
            return False
        return settings.imported is None or not settings.imported.as_they_are

    @property
    def maps_by_networks(self) -> bool:
        """Whether a segmentation network makes the maps of any recipe."""
        return any(recipe.network is not None for recipe in self.recipes.values())

    @property
    def needs_classifier(self) -> bool:
        """Whether anything is made with the classifier; maps without samples need none."""
        own = self.segmentation_names and self.segmentation.weights == OWN_CLASSIFIER
        return bool(own) or any(recipe.has_samples for recipe in self.recipes.values())

    @property
    def segmentation_names(self) -> tuple[str, ...]:
        """Names of the segmentation networks: recipes that train one, and `ground_truth`."""
        fully_supervised = (GROUND_TRUTH,) if self.segmentation.fully_supervised else ()
        return (*self.segmentation.recipes, *fully_supervised)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Names of all that gets figures: the recipes, and the fully supervised network."""
        return tuple(dict.fromkeys((*self.recipes, *self.segmentation_names)))

    @property
    def map_splits(self) -> tuple[str, ...]:
        """Splits that get maps and masks: train first, then those that are reported on."""
        return ("train", *(split for split in self.evaluation.splits if split != "train"))
