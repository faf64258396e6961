"""The `masks` section: from score maps to pseudo-masks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ws3.config.model import Float, GrowingSection, Int, Positive, Section
from ws3.config.recipes import Fraction
from ws3.config.regions import Regions

MOST_CRF_PIXELS = 4_000_000
"""Pixels that the presets of the CRF see at most: ten times those of a picture of VOC or COCO, and
twice those of a Full HD frame."""

# pydensecrf divides by the widths and makes whole numbers of the result, unchecked: of a tiny one
# they overflow. Beyond the upper bounds nothing changes, or floats lose their precision.
_Pixels = Annotated[Float, Field(ge=0.5, le=10_000)]
_Colours = Annotated[Float, Field(ge=0.5, le=1000)]
_Weight = Annotated[Float, Field(ge=0, le=1000)]


class CrfParameters(Section):
    """Dense CRF (Krähenbühl and Koltun 2011), in pydensecrf's own terms."""

    gaussian_sxy: _Pixels = Field(
        3.0, description="Smoothness: standard deviation of the distance, in pixels."
    )
    gaussian_compat: _Weight = Field(3.0, description="Smoothness: weight.")
    bilateral_sxy: _Pixels = Field(
        50.0, description="Appearance: standard deviation of the distance, in pixels."
    )
    bilateral_srgb: _Colours = Field(
        5.0, description="Appearance: standard deviation of the colour, for RGB from 0 to 255."
    )
    bilateral_compat: _Weight = Field(10.0, description="Appearance: weight.")
    iterations: Annotated[Int, Field(ge=1, le=1000)] = Field(
        10, description="Steps of mean-field inference."
    )
    unary: Literal["softmax", "labels"] = Field(
        "labels",
        description="softmax: -log of the normalised scores; labels: hard labels with gt_prob.",
    )
    gt_prob: Annotated[Float, Field(gt=0, lt=1)] = Field(
        0.7, description="Certainty of a hard label (unary: labels)."
    )
    max_pixels: Annotated[Int, Field(ge=1)] | None = Field(
        MOST_CRF_PIXELS,
        description="A larger picture is reduced to this many pixels for the CRF, whose "
        "probabilities are enlarged again; null: never.",
    )


class ConstantBackground(Section):
    """Background score that is the same everywhere."""

    kind: Literal["constant"]
    score: Fraction = Field(
        0.3, description="Pixels whose strongest class scores less than this are background."
    )


class PowerBackground(Section):
    """Background score (1 - max over classes)^alpha (Ahn and Kwak 2018)."""

    kind: Literal["power"]
    alpha: Positive = Field(4.0, description="The larger, the lower the background's score.")


class TunedBackground(Section):
    """Constant background score, the best of all on a declared split's ground truth."""

    kind: Literal["tuned"]
    split: Literal["train", "val"] = Field("train", description="Split whose masks choose it.")
    images: Annotated[Int, Field(ge=1)] | None = Field(
        None, description="Use only this many images of the split, from the first; null: all."
    )
    list: str | None = Field(
        None,
        description="Use only the images of the split that this file names, one per line; its path "
        "is relative to the dataset's folder.",
    )


class AutoBackground(Section):
    """Constant background score, chosen without ground truth: where the maps mark a given share."""

    kind: Literal["auto"]
    object_share: Annotated[Float, Field(gt=0, lt=1)] = Field(
        0.25,
        description="Share of an image that the maps are to mark, on average over training images: "
        "that of the objects and a little more, as maps are best cut somewhat wide.",
    )
    images: Annotated[Int, Field(ge=1)] | None = Field(
        1000, description="Of this many training images with labels, evenly spaced; null: of all."
    )


Background = Annotated[
    ConstantBackground | PowerBackground | TunedBackground | AutoBackground,
    Field(discriminator="kind"),
]


class Masks(GrowingSection):
    """From maps to pseudo-masks."""

    newer: ClassVar[tuple[str, ...]] = ("regions", "confidence")

    background: Background = Field(
        default_factory=lambda: ConstantBackground(kind="constant"),
        description="How the background is scored.",
    )
    crf: Literal["deeplab", "psa", "irn", "none"] | CrfParameters = Field(
        "irn", description="A preset, none, or explicit numbers."
    )
    ignore_below: Fraction = Field(
        0.0, description="Pixels whose confidence is under this become 255 (ignored)."
    )
    regions: Regions | None = Field(
        None, description="Segments of the image whose pixels vote together; null: there are none."
    )
    confidence: bool | Literal["maps"] = Field(
        False,
        description="Store the confidence of each pixel beside its mask, in confidence/<recipe>/. "
        "true: the probability of its label after the CRF; maps: the share of the maps' scores "
        "that its label has (docs/confidence.md).",
    )
