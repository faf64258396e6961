"""The section `masks.regions`: segments of an image that vote on its pseudo-mask together."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ws3.config.model import Float, Folder, Int, Section

MOST_SEGMENTS = 65_534
"""Segments of one image at most: stored numbers have 16 bits."""


class _Voting(Section):
    """What all kinds of regions have in common."""

    vote: Literal["mean", "share", "merge"] = Field(
        "mean",
        description="A segment's score of a class: the mean of its pixels' scores, or the share of "
        "its pixels that have the class. merge: whole segments take the place of the mask's "
        "objects (SEPL, arXiv 2305.05803).",
    )
    place: Literal["after_crf", "before_crf", "instead"] = Field(
        "before_crf",
        description="before_crf: the maps are voted on, and the CRF refines the result; after_crf: "
        "the CRF's probabilities are voted on; instead: the maps are, and there is no CRF. A merge "
        "is of masks, and so never before_crf; its default is after_crf.",
    )

    @model_validator(mode="before")
    @classmethod
    def _masks_are_merged_after(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("vote") == "merge":
            return {"place": "after_crf", **data}
        return data

    @model_validator(mode="after")
    def _masks_are_not_merged_before(self) -> Self:
        if self.vote == "merge" and self.place == "before_crf":
            raise ValueError(
                "place: a merge is of masks, so never before_crf; choose after_crf or instead"
            )
        return self

    @property
    def cuts_means(self) -> bool:
        """Whether the background's threshold cuts means of segments, and not the maps as they are.

        A tuned one is then tuned on these means.
        """
        return self.vote == "mean" and self.place != "after_crf"

    def segments(self) -> dict[str, Any]:
        """Return what decides the segments themselves, as plain data."""
        return self.model_dump(mode="json", exclude={"vote", "place", "folder"})


class SlicRegions(_Voting):
    """Superpixels of like colour and size (SLIC, Achanta et al. 2012), by scikit-image."""

    kind: Literal["slic"]
    number: Annotated[Int, Field(ge=2, le=MOST_SEGMENTS)] = Field(
        400, description="Superpixels of an image, about."
    )
    compactness: Annotated[Float, Field(gt=0, le=1e6)] = Field(
        10.0, description="The larger, the squarer and the less bound to colours."
    )


class FelzenszwalbRegions(_Voting):
    """Segments of a graph of pixels (Felzenszwalb and Huttenlocher 2004), by scikit-image."""

    kind: Literal["felzenszwalb"]
    scale: Annotated[Float, Field(gt=0, le=1e6)] = Field(
        100.0, description="The larger, the larger the segments."
    )
    sigma: Annotated[Float, Field(ge=0, le=100)] = Field(
        0.8, description="Standard deviation in pixels of the smoothing before."
    )
    min_size: Annotated[Int, Field(ge=1)] = Field(50, description="Pixels of the smallest segment.")


class FileRegions(_Voting):
    """Ready segments of another program, one file for each image."""

    kind: Literal["files"]
    folder: Folder = Field(
        description="Where they lie: NAME.json as Segment Anything's automatic generator gives "
        "them, NAME.png of labels, or NAME.npz with an array of labels or of masks.",
    )


Regions = Annotated[SlicRegions | FelzenszwalbRegions | FileRegions, Field(discriminator="kind")]

__all__ = [
    "MOST_SEGMENTS",
    "FelzenszwalbRegions",
    "FileRegions",
    "Regions",
    "SlicRegions",
]
