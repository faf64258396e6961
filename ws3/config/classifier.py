"""The `classifier` section: the network that all recipes explain."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from ws3.config.model import Float, GrowingSection, Int, Range, Rate
from ws3.config.recipes import PositiveFraction

INPUT_SIZES = (32, 4096)
"""Least and largest side in pixels of a network's input."""

TIMM = "timm:"
"""What begins the architecture of a network of timm's."""


OUTPUT_STRIDES = (8, 16, 32)
"""Pixels of a network's input per pixel of its last features, per side."""

OWN_STRIDE: Final = 32
"""The output stride that leaves a network as it is."""


class ClassifierConfig(GrowingSection):
    """The image-level classifier that all recipes read."""

    newer: ClassVar[tuple[str, ...]] = ("output_stride", "train")

    architecture: str = Field(
        "resnet50",
        description="Any torchvision classification network that ends in one spatial feature map, "
        "or a vision transformer of torchvision's; one of timm's, as `timm:NAME`; one that an "
        "installed package adds, by its name; or a function of your own, as `module:function` "
        "(docs/extending/classifier.md).",
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
    train: Literal["all", "head"] = Field(
        "all",
        description="all: the whole network, as backbone_rate says; head: the last layer alone, on "
        "features that are computed once per image and kept, which suits frozen networks such as "
        "DINOv2; crop_area and backbone_rate then have no meaning.",
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
