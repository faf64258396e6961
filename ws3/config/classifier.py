"""The `classifier` section: the network that all recipes explain."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from ws3.config.model import Distinct, Float, GrowingSection, Int, Range, Rate, Section
from ws3.config.recipes import PositiveFraction
from ws3.messages import shown

INPUT_SIZES = (32, 4096)
"""Least and largest side in pixels of a network's input."""

TIMM = "timm:"
"""What begins the architecture of a network of timm's."""

OPEN_CLIP = "open_clip:"
"""What begins the architecture of an image tower of open_clip's."""

OUTPUT_STRIDES = (8, 16, 32)
"""Pixels of a network's input per pixel of its last features, per side."""

OWN_STRIDE: Final = 32
"""The output stride that leaves a network as it is."""


PLACE = "{}"
"""What stands in a prompt for the name."""

BACKGROUND = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river"),
    *("sea", "railway", "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean"),
    *("road", "rock", "street", "valley", "bridge", "sign"),
)
"""What CLIP-ES takes for background on Pascal VOC."""


def _with_place(value: str) -> str:
    if value.count(PLACE) != 1:
        raise ValueError(f"{shown(value)} needs one {PLACE}, where the name goes")
    return value


def _in_words(value: str) -> str:
    if not value.strip() or len(value) > 500:
        raise ValueError(f"{shown(value)} is no text of 1 to 500 characters")
    return value


Text = Annotated[str, AfterValidator(_in_words)]
Prompt = Annotated[Text, AfterValidator(_with_place)]
Pooling = Literal["patches", "token"]


class Texts(Section):
    """What a classifier is made of that was not trained, but told its classes in words.

    Attributes:
        prompts: Sentences, each with a place for a name.
        names: What goes there for each class, in the order of the classes.
        background: What goes there for all that is no class.
        pooling: What of the image's last tokens is compared with the texts.
        weights: SHA-256 of the file of weights.
    """

    prompts: tuple[Prompt, ...]
    names: tuple[Text, ...]
    background: tuple[Text, ...]
    pooling: Pooling
    weights: str


class ClassifierConfig(GrowingSection):
    """The image-level classifier that all recipes read."""

    newer: ClassVar[tuple[str, ...]] = (
        *("output_stride", "train"),
        *("prompts", "class_prompts", "background", "pooling"),
    )

    architecture: str = Field(
        "resnet50",
        description="Any torchvision classification network that ends in one spatial feature map, "
        "or a vision transformer of torchvision's; one of timm's, as `timm:NAME`; the image tower "
        "of a CLIP of open_clip's, as `open_clip:NAME`; one that an installed package adds, by its "
        "name; or a function of your own, as `module:function` (docs/extending/classifier.md).",
    )
    weights: str | None = Field(
        None,
        description="Start from imagenet (torchvision or timm downloads it), a state-dict file "
        "(torch's or .safetensors) or null.",
    )
    checkpoint: str | None = Field(
        None, description="A trained multi-label checkpoint or state dict; nothing is trained."
    )
    input_size: Annotated[Int, Field(ge=INPUT_SIZES[0], le=INPUT_SIZES[1])] = Field(
        224, description="Side in pixels of the network's input."
    )
    output_stride: Literal[8, 16, 32] = Field(
        OWN_STRIDE,
        description="Pixels of the input per pixel of the last features, per side. 32: the network "
        "as it is; 16, 8: the last stages keep their resolution, and their layers are dilated.",
    )
    train: Literal["all", "head", "text"] = Field(
        "all",
        description="all: the whole network, as backbone_rate says; head: the last layer alone, on "
        "features that are computed once per image and kept, which suits frozen networks such as "
        "DINOv2; crop_area and backbone_rate then have no meaning; text: nothing is trained, the "
        "text tower of CLIP makes the last layer of the names of the classes (needs an "
        "architecture `open_clip:NAME` and weights; docs/extending/classifier.md).",
    )
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1), Distinct] = Field(
        ("a clean origami {}.",),
        description="train: text: sentences with a place, {}, for a name; those of a class are "
        "averaged. The default is that of CLIP-ES.",
    )
    class_prompts: dict[str, Text] = Field(
        {},
        description="train: text: what goes into the prompts for a class, where that is not its "
        "name (whose underscores become blanks).",
    )
    background: Annotated[tuple[Text, ...], Distinct] = Field(
        BACKGROUND,
        description="train: text: names of what is no class, against which each class is "
        "explained; those of classes are left out. The default is that of CLIP-ES for Pascal VOC.",
    )
    pooling: Pooling = Field(
        "patches",
        description="train: text: what is compared with the texts: patches, the mean of the last "
        "patches, as in CLIP-ES; token, the class token, as CLIP was trained.",
    )
    epochs: Annotated[Int, Field(ge=1)] = Field(5, description="Passes over the training images.")
    batch_size: Annotated[Int, Field(ge=1)] = Field(16, description="Images per step.")
    learning_rate: Rate = Field(
        1e-3, description="Peak rate of the new head; the backbone has a share of it."
    )
    backbone_rate: Annotated[Float, Field(ge=0, le=1)] = Field(
        0.1, description="The backbone's share of the learning rate; 0 freezes it."
    )
    weight_decay: Annotated[Float, Field(ge=0, le=100)] = Field(
        1e-4, description="Of the optimiser (AdamW)."
    )
    crop_area: Annotated[tuple[PositiveFraction, PositiveFraction], Range] = Field(
        (0.3, 1.0), description="Augmentation: area of the random crop, as a share of the image."
    )
    label_smoothing: Annotated[Float, Field(ge=0, lt=0.5)] = Field(
        0.0,
        description="Targets become this much less certain: 0.1 makes 0.1 and 0.9 of 0 and 1.",
    )

    @model_validator(mode="after")
    def _texts_fit(self) -> ClassifierConfig:
        own = ("prompts", "class_prompts", "background", "pooling")
        if self.train != "text":
            for key in own:
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is for train: text alone; set that, or leave it out")
            return self
        if self.checkpoint is None and not self.architecture.startswith(OPEN_CLIP):
            raise ValueError(
                f"train: text needs a network of CLIP's, such as {OPEN_CLIP}ViT-B-16, not "
                f"{shown(self.architecture)}"
            )
        if self.checkpoint is None and self.weights in (None, "imagenet"):
            raise ValueError("train: text needs the file of CLIP's weights, as weights")
        if self.output_stride != OWN_STRIDE:
            raise ValueError("output_stride: a network of CLIP's has its own; leave it out")
        return self
