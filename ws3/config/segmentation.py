"""The `segmentation` section: the network that learns from the pseudo-masks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ws3.config.masks import CrfParameters
from ws3.config.model import Distinct, Float, Int, Positive, Range, Section

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
    fully_supervised: bool = Field(
        False,
        description="Also train a network, called ground_truth, on the ground truth of the train "
        "split: the fully supervised network that no recipe is expected to pass.",
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
    scale_range: Annotated[tuple[Positive, Positive], Range] = Field(
        (0.5, 1.5), description="Augmentation: range of the random scale."
    )
    test_scales: tuple[Annotated[Float, Field(gt=0, le=4)], ...] = Field((1.0,), min_length=1)
    test_flip: bool = True
    crf: Literal["deeplab", "psa", "irn", "none"] | CrfParameters = Field(
        "none", description="CRF on the predictions."
    )

    def training(self) -> dict[str, Any]:
        """Return what a network's weights depend on, as plain data."""
        beyond = {"recipes", "fully_supervised", "test_scales", "test_flip", "crf"}
        return self.model_dump(mode="json", exclude=beyond)
