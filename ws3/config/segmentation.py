"""The `segmentation` section, and the segmentation networks that there are.

A network is a function that builds it and a few words. ws3's own stand in `NETWORKS`, and an
installed package adds others through the entry-point group `ws3.segmentation_networks`;
docs/extending/segmentation-network.md shows one. No network is imported before it is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from ws3.config.masks import CrfParameters
from ws3.config.model import Distinct, Float, GrowingSection, Int, Range, Rate, Section
from ws3.config.recipes import Fraction
from ws3.errors import Ws3Error
from ws3.messages import shown
from ws3.registry import Registry, deferred

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SegmentationNetwork:
    """One segmentation network.

    Attributes:
        build: From the number of classes, background included (2 to 255), to the network, its
            weights drawn from torch's global generator. The network has the parts `backbone` and
            `classifier` (the head), and maps images, float32 (N, 3, H, W) normalised by
            ImageNet's mean and deviation, to a dict whose "out" is the logits, float
            (N, classes, H, W).
        backbone: The torchvision classification network whose parameter names, without the prefix
            `features.`, the backbone's are; `segmentation.weights` then takes that network's state
            dict. None: the network can only start from random weights, unless there is `load`.
        load: (backbone, `segmentation.weights`) -> None: copies weights into the backbone, in place
            of what `backbone` says; raises Ws3Error if they can't be had or don't fit.
    """

    build: Callable[[int], nn.Module]
    backbone: str | None = None
    load: Callable[[nn.Module, str], None] | None = None


_torchvision_network = deferred("ws3.segmentation.networks:torchvision_network")
NETWORKS: Registry[SegmentationNetwork] = Registry(
    "segmentation network",
    "ws3.segmentation_networks",
    {
        "deeplabv3_resnet50": SegmentationNetwork(
            partial(_torchvision_network, "deeplabv3_resnet50"), backbone="resnet50"
        ),
        "deeplabv3_resnet101": SegmentationNetwork(
            partial(_torchvision_network, "deeplabv3_resnet101"), backbone="resnet101"
        ),
        "deeplabv3_mobilenet_v2": SegmentationNetwork(
            deferred("ws3.segmentation.networks:deeplabv3_mobilenet_v2"), backbone="mobilenet_v2"
        ),
        "deeplabv3_mobilenet_v3_large": SegmentationNetwork(
            partial(_torchvision_network, "deeplabv3_mobilenet_v3_large"),
            backbone="mobilenet_v3_large",
        ),
        "fcn_resnet50": SegmentationNetwork(
            partial(_torchvision_network, "fcn_resnet50"), backbone="resnet50"
        ),
        "fcn_resnet101": SegmentationNetwork(
            partial(_torchvision_network, "fcn_resnet101"), backbone="resnet101"
        ),
        "lraspp_mobilenet_v2": SegmentationNetwork(
            deferred("ws3.segmentation.networks:lraspp_mobilenet_v2"), backbone="mobilenet_v2"
        ),
        "lraspp_resnet18": SegmentationNetwork(
            deferred("ws3.segmentation.networks:lraspp_resnet18"), backbone="resnet18"
        ),
        "lraspp_mobilenet_v3_large": SegmentationNetwork(
            partial(_torchvision_network, "lraspp_mobilenet_v3_large"),
            backbone="mobilenet_v3_large",
        ),
    },
    SegmentationNetwork,
)
"""The segmentation networks by name; `segmentation_network` knows those of other libraries too."""

SMP = "smp:"
"""What begins the architecture of a network of segmentation_models_pytorch's."""
_SMP_PARTS = re.compile(r"smp:([A-Za-z0-9]+):([A-Za-z0-9_.-]+)")
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
"""Encoders there whose parameters have torchvision's names."""


def smp_parts(architecture: str) -> tuple[str, str]:
    """Return network and encoder of an architecture `smp:NETWORK:ENCODER`.

    Raises:
        Ws3Error: If it is not of this form.

    Example:
        >>> smp_parts("smp:Unet:resnet34")
        ('Unet', 'resnet34')
    """
    found = _SMP_PARTS.fullmatch(architecture)
    if found is None:
        raise Ws3Error(
            f"{shown(architecture)} is not of the form smp:NETWORK:ENCODER, such as "
            "smp:Unet:resnet34"
        )
    return found[1], found[2]


def names_a_network(architecture: str) -> bool:
    """Return whether an architecture is in the table, or of the form of another library's."""
    return _SMP_PARTS.fullmatch(architecture) is not None or architecture in NETWORKS


def segmentation_network(architecture: str) -> SegmentationNetwork:
    """Return a segmentation network by name.

    Raises:
        Ws3Error: If there is none, or the package that adds it can't be imported.
    """
    if not architecture.startswith(SMP):
        return NETWORKS[architecture]
    _, encoder = smp_parts(architecture)
    load = deferred("ws3.segmentation.smp_networks:load_encoder")
    return SegmentationNetwork(
        partial(deferred("ws3.segmentation.smp_networks:smp_network"), architecture),
        backbone=encoder if encoder in _RESNETS else None,
        load=lambda backbone, weights: load(backbone, architecture, weights),
    )


OWN_CLASSIFIER = "classifier"
"""In place of a file of weights: the classifier of the run itself."""

_Scale = Annotated[Float, Field(ge=0.01, le=8)]


class PrecisionCut(Section):
    """A cut of the confidence that training images with ground truth choose."""

    precision: Annotated[Float, Field(gt=0, le=1)] = Field(
        description="The lowest cut is taken at which this share of the pixels kept is right, as a "
        "mean over the labels."
    )


class Segmentation(GrowingSection):
    """The network that learns from the pseudo-masks."""

    newer: ClassVar[tuple[str, ...]] = ("ignore_below", "pixel_weights")

    recipes: Annotated[tuple[str, ...], Distinct] = Field(
        (), description="Recipes whose masks train a network."
    )
    fully_supervised: bool = Field(
        False,
        description="Also train a network, called ground_truth, on the ground truth of the train "
        "split: the fully supervised network that no recipe is expected to pass.",
    )
    architecture: str = Field(
        "deeplabv3_resnet50",
        description="A torchvision segmentation network; one of ours, made of torchvision's parts: "
        "deeplabv3_mobilenet_v2, lraspp_mobilenet_v2 (the smallest) and lraspp_resnet18; one of "
        "segmentation_models_pytorch, as `smp:NETWORK:ENCODER`; or one that an installed package "
        "adds.",
        examples=list(NETWORKS.own),
    )
    weights: str | None = Field(
        None,
        description="Start the backbone from: imagenet, classifier (the run's own, of the same "
        "backbone), a state-dict file, another run's classifier.pt, or null.",
    )
    ignore_below: Fraction | PrecisionCut = Field(
        0.0,
        description="Pixels of the masks whose stored confidence is under this are ignored in "
        "training; needs masks.confidence (docs/confidence.md).",
    )
    pixel_weights: Literal["none", "confidence"] = Field(
        "none",
        description="confidence: each pixel of the masks counts in the loss as much as it is "
        "confident; needs masks.confidence.",
    )
    epochs: Annotated[Int, Field(ge=1)] = Field(20, description="Passes over the training images.")
    batch_size: Annotated[Int, Field(ge=2)] = Field(8, description="Images per step.")
    accumulate: Annotated[Int, Field(ge=1)] = Field(
        1, description="Batches whose gradients are averaged before each step."
    )
    learning_rate: Rate = Field(0.01, description="Poly schedule, SGD.")
    weight_decay: Annotated[Float, Field(ge=0, le=100)] = Field(
        1e-4, description="Of the optimiser (SGD)."
    )
    ema: Annotated[Float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="The network is the moving average of its weights over the steps, with this "
        "decay (less in the first steps); null: the weights of the last step.",
    )
    crop_size: Annotated[Int, Field(ge=32, le=4096)] = Field(
        321, description="Side in pixels of the random crops that the network trains on."
    )
    scale_range: Annotated[tuple[_Scale, _Scale], Range] = Field(
        (0.5, 1.5), description="Augmentation: range of the random scale."
    )
    test_scales: tuple[Annotated[Float, Field(ge=0.01, le=4)], ...] = Field(
        (1.0,),
        min_length=1,
        description="Prediction: sizes relative to the image whose probabilities are averaged.",
    )
    test_flip: bool = Field(True, description="Prediction: average over the mirrored image too.")
    crf: Literal["deeplab", "psa", "irn", "none"] | CrfParameters = Field(
        "none", description="CRF on the predictions."
    )

    @field_validator("architecture")
    @classmethod
    def _network_exists(cls, value: str) -> str:
        if value.startswith(SMP):
            try:
                smp_parts(value)
            except Ws3Error as error:
                raise ValueError(str(error)) from None
        elif not names_a_network(value):
            raise ValueError(f"{shown(value)} is unknown; {NETWORKS.choice(value)}")
        return value

    @property
    def uses_confidence(self) -> bool:
        """Whether training takes the stored confidence of the masks."""
        return self.ignore_below != 0 or self.pixel_weights != "none"

    def training(self) -> dict[str, Any]:
        """Return what a network's weights depend on, as plain data."""
        beyond = {"recipes", "fully_supervised", "test_scales", "test_flip", "crf"}
        return self.model_dump(mode="json", exclude=beyond)
