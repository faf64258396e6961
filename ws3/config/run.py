"""The configuration of a run."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ws3.config.model import Distinct, Float, Int, Range, Section
from ws3.config.recipes import Fraction, PositiveFraction, Precision, Recipe, sharing_problem

Stage = Literal["saliency", "maps", "masks", "predictions"]
STAGES: tuple[Stage, ...] = ("saliency", "maps", "masks", "predictions")
Positive = Annotated[Float, Field(gt=0)]
GROUND_TRUTH = "ground_truth"
"""In a recipe's place: the segmentation network that learned from the ground truth itself."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(value: str) -> str:
    """Return a run's or recipe's name, or raise ValueError if it can't be a folder's name."""
    if not _NAME.fullmatch(value) or len(value) > 100:
        raise ValueError(
            f"{value!r} can't be a folder's name: use letters, digits, '_', '-' and '.', and begin "
            "with a letter or digit"
        )
    return value


class Synthetic(Section):
    """The built-in drawn dataset; see `ws3.datasets.synthetic`."""

    kind: Literal["synthetic"]
    root: str | None = Field(None, description="Where to draw it; null: inside the run's folder.")
    train_images: Annotated[Int, Field(ge=1)] = 240
    val_images: Annotated[Int, Field(ge=1)] = 60
    size: Annotated[Int, Field(ge=48, le=1024)] = Field(128, description="Pixels a side.")
    classes: Annotated[Int, Field(ge=2, le=8)] = 5
    seed: Annotated[Int, Field(ge=0)] = 0


class Voc(Section):
    """Pascal VOC in its own layout (VOCdevkit/VOC2012)."""

    kind: Literal["voc"]
    root: str = Field(description="The folder that holds JPEGImages, Annotations and ImageSets.")
    train: Literal["train", "val", "trainval", "trainaug"] = "trainaug"
    val: Literal["train", "val", "trainval"] | None = "val"


class Coco(Section):
    """MS COCO 2014 or 2017 in its own layout."""

    kind: Literal["coco"]
    root: str = Field(description="The folder that holds annotations/ and the image folders.")
    train: str = Field("train2014", description="annotations/instances_<train>.json.")
    val: str | None = Field("val2014", description="annotations/instances_<val>.json.")


class Folder(Section):
    """Your own photographs: images/ and labels.csv, optional masks/ and split files."""

    kind: Literal["folder"]
    root: str = Field(description="The folder that the other paths are relative to.")
    images: str = Field("images", description="Folder of the photographs.")
    labels: str = Field("labels.csv", description="Columns image,labels; labels joined by ';'.")
    masks: str | None = Field(None, description="Folder of <image>.png masks, for evaluation.")
    classes: str | None = Field(
        None, description="File with one class a line, in mask order; null: sorted from labels."
    )
    train: str | None = Field(
        None, description="File of training ids; null: all images that `val` doesn't name."
    )
    val: str | None = Field(None, description="File of validation ids.")


Dataset = Annotated[Synthetic | Voc | Coco | Folder, Field(discriminator="kind")]


class Classifier(Section):
    """The image-level classifier that all recipes read."""

    architecture: str = Field("resnet50", description="Any torchvision classification network.")
    weights: str | None = Field(
        None,
        description="Start from imagenet (torchvision downloads it), a state-dict file or null.",
    )
    checkpoint: str | None = Field(
        None, description="A trained multi-label checkpoint or state dict; nothing is trained."
    )
    input_size: Annotated[Int, Field(ge=32, le=4096)] = Field(
        224, description="Side in pixels of the network's input."
    )
    epochs: Annotated[Int, Field(ge=1)] = 5
    batch_size: Annotated[Int, Field(ge=1)] = 16
    learning_rate: Positive = Field(
        1e-3, description="Peak rate of the new head; the backbone has a share of it."
    )
    backbone_rate: Annotated[Float, Field(ge=0, le=1)] = Field(
        0.1, description="The backbone's share of the learning rate; 0 freezes it."
    )
    weight_decay: Annotated[Float, Field(ge=0)] = 1e-4
    crop_area: Annotated[tuple[PositiveFraction, PositiveFraction], Range] = Field(
        (0.3, 1.0), description="Augmentation: area of the random crop, as a share of the image."
    )
    label_smoothing: Annotated[Float, Field(ge=0, lt=0.5)] = 0.0


class CrfParameters(Section):
    """Dense CRF (Krähenbühl and Koltun 2011), in pydensecrf's own terms."""

    gaussian_sxy: Positive = 3.0
    gaussian_compat: Annotated[Float, Field(ge=0)] = 3.0
    bilateral_sxy: Positive = 50.0
    bilateral_srgb: Positive = 5.0
    bilateral_compat: Annotated[Float, Field(ge=0)] = 10.0
    iterations: Annotated[Int, Field(ge=1, le=1000)] = 10
    unary: Literal["softmax", "labels"] = Field(
        "labels",
        description="softmax: -log of the normalised scores; labels: hard labels with gt_prob.",
    )
    gt_prob: Annotated[Float, Field(gt=0, lt=1)] = Field(
        0.7, description="Certainty of a hard label (unary: labels)."
    )


class ConstantBackground(Section):
    """Background score that is the same everywhere."""

    kind: Literal["constant"]
    score: Fraction = 0.3


class PowerBackground(Section):
    """Background score (1 - max over classes)^alpha (Ahn and Kwak 2018)."""

    kind: Literal["power"]
    alpha: Positive = 4.0


class TunedBackground(Section):
    """Constant background score, the best of all on a declared split's ground truth."""

    kind: Literal["tuned"]
    split: Literal["train", "val"] = Field("train", description="Split whose masks choose it.")
    images: Annotated[Int, Field(ge=1)] | None = Field(
        None, description="Use only the first so many images of the split; null: all."
    )


Background = Annotated[
    ConstantBackground | PowerBackground | TunedBackground, Field(discriminator="kind")
]


class Masks(Section):
    """From maps to pseudo-masks."""

    background: Background = Field(default_factory=lambda: ConstantBackground(kind="constant"))
    crf: Literal["deeplab", "psa", "irn", "none"] | CrfParameters = Field(
        "irn", description="A preset, none, or explicit numbers."
    )
    ignore_below: Fraction = Field(
        0.0, description="Pixels whose confidence is under this become 255 (ignored)."
    )


# The names of `ws3.segmentation.networks.ARCHITECTURES`, which can't be read here without torch.
Segmenter = Literal[
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v2",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "fcn_resnet101",
    "lraspp_mobilenet_v2",
    "lraspp_mobilenet_v3_large",
]


class Segmentation(Section):
    """The network that learns from the pseudo-masks."""

    recipes: Annotated[tuple[str, ...], Distinct] = Field(
        (), description="Recipes whose masks train a network."
    )
    ceiling: bool = Field(
        False,
        description="Also train a network, called ground_truth, on the ground truth of the train "
        "split: the ceiling that no recipe is expected to pass.",
    )
    architecture: Segmenter = Field(
        "deeplabv3_resnet50",
        description="A torchvision segmentation network, or one of ours, made of torchvision's "
        "parts: deeplabv3_mobilenet_v2 and lraspp_mobilenet_v2, the smallest.",
    )
    weights: str | None = Field(
        None,
        description="Start the backbone from: imagenet, a state-dict file, a run's classifier.pt, "
        "or null.",
    )
    epochs: Annotated[Int, Field(ge=1)] = 20
    batch_size: Annotated[Int, Field(ge=2)] = 8
    accumulate: Annotated[Int, Field(ge=1)] = Field(
        1, description="Batches whose gradients are averaged before each step."
    )
    learning_rate: Positive = Field(0.01, description="Poly schedule, SGD.")
    weight_decay: Annotated[Float, Field(ge=0)] = 1e-4
    ema: Annotated[Float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="The network is the moving average of its weights over the steps, with this "
        "decay (less in the first steps); null: the weights of the last step.",
    )
    crop_size: Annotated[Int, Field(ge=32, le=4096)] = 321
    scale: Annotated[tuple[Positive, Positive], Range] = Field(
        (0.5, 1.5), description="Augmentation: range of the random scale."
    )
    test_scales: tuple[Annotated[Float, Field(gt=0, le=4)], ...] = Field((1.0,), min_length=1)
    test_flip: bool = True
    crf: Literal["deeplab", "psa", "irn", "none"] | CrfParameters = Field(
        "none", description="CRF on the predictions."
    )

    def training(self) -> dict[str, Any]:
        """Return what a network's weights depend on, as plain data."""
        beyond = {"recipes", "ceiling", "test_scales", "test_flip", "crf"}
        return self.model_dump(mode="json", exclude=beyond)


class Evaluation(Section):
    """Where the figures come from."""

    splits: Annotated[tuple[Literal["train", "val"], ...], Distinct] = Field(
        ("val",),
        description="Splits to report on; maps and masks are made for them too.",
        min_length=1,
    )
    train_images: Annotated[Int, Field(ge=1)] | None = Field(
        None,
        description="Make maps and masks of only so many training images, evenly spaced (the "
        "classifier still learns from all); null: of all.",
    )


class PerStage(Section):
    """Batch sizes, one per stage.

    An image takes seconds to minutes for its saliency, and a tenth of a second or two for all that
    follows; a job of either must be long against the seconds that its start takes.
    """

    saliency: Annotated[Int, Field(ge=1)] = 64
    maps: Annotated[Int, Field(ge=1)] = 512
    masks: Annotated[Int, Field(ge=1)] = 512
    predictions: Annotated[Int, Field(ge=1)] = 512


class RunConfig(Section):
    """Everything that defines a run; `results/<run>/config.yaml` holds the resolved one."""

    run: str = Field(description="Name of the run: results go to <results>/<run>.")
    results: str = Field("results", description="Folder of all runs.")
    seed: Annotated[Int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one."
    )
    threads: Annotated[Int, Field(ge=1, le=256)] = Field(
        2, description="Threads of a training job; on CPU its rounding depends on them."
    )
    dataset: Dataset
    classifier: Classifier = Field(default_factory=Classifier)
    recipes: dict[str, Recipe] = Field(min_length=1)
    reference_recipe: str = Field("cam", description="DR and NDR are relative to this recipe.")
    masks: Masks = Field(default_factory=Masks)
    segmentation: Segmentation = Field(default_factory=Segmentation)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    images_per_job: Annotated[Int, Field(ge=1)] | PerStage = Field(
        default_factory=PerStage, description="Images a job: one number, or one per stage."
    )
    on_bad_image: Literal["fail", "skip"] = Field(
        "fail", description="fail: stop and name them; skip: go on and list them in the report."
    )

    @field_validator("run")
    @classmethod
    def _run_is_a_name(cls, value: str) -> str:
        return check_name(value)

    @field_validator("recipes")
    @classmethod
    def _recipes_have_names(cls, value: dict[str, Recipe]) -> dict[str, Recipe]:
        for name in value:
            check_name(name)
        if GROUND_TRUTH in value:
            raise ValueError(
                f"{GROUND_TRUTH} is what the network of segmentation.ceiling is called; choose "
                "another name"
            )
        return value

    @model_validator(mode="after")
    def _names_are_known(self) -> RunConfig:
        known = ", ".join(self.recipes)
        if self.reference_recipe not in self.recipes:
            raise ValueError(
                f"reference_recipe: {self.reference_recipe!r} is not a recipe; choose from: {known}"
            )
        for name in self.segmentation.recipes:
            if name not in self.recipes:
                raise ValueError(
                    f"segmentation.recipes: {name!r} is not a recipe; choose from: {known}"
                )
        return self

    @model_validator(mode="after")
    def _shared_samples_fit(self) -> RunConfig:
        for name, recipe in self.recipes.items():
            if recipe.samples_from is not None:
                problem = sharing_problem(recipe, self.recipes[recipe.samples_from])
                if problem:
                    raise ValueError(f"recipes.{name}: {problem} {recipe.samples_from!r}")
        return self

    def sampler(self, recipe: str) -> str:
        """Return the recipe whose samples a recipe is made from: itself, or another."""
        settings = self.recipes.get(recipe)
        return recipe if settings is None else settings.samples_from or recipe

    def batch_size(self, stage: Stage) -> int:
        """Images a job of this stage."""
        if isinstance(self.images_per_job, PerStage):
            return int(getattr(self.images_per_job, stage))
        return self.images_per_job

    @property
    def segmenters(self) -> tuple[str, ...]:
        """Names of the segmentation networks: of the recipes that train one, and the ceiling."""
        ceiling = (GROUND_TRUTH,) if self.segmentation.ceiling else ()
        return (*self.segmentation.recipes, *ceiling)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Names of all that gets figures: the recipes, and the ceiling."""
        return tuple(dict.fromkeys((*self.recipes, *self.segmenters)))

    @property
    def map_splits(self) -> tuple[str, ...]:
        """Splits that get maps and masks: train first, then those that are reported on."""
        return ("train", *(split for split in self.evaluation.splits if split != "train"))


__all__ = ["GROUND_TRUTH", "STAGES", "Precision", "RunConfig", "Stage", "check_name"]
