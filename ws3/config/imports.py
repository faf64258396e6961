"""The `import` section of a recipe: maps or masks that another program made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ws3.config.model import Distinct, Folder, Section

IMPORTED = "import"
"""In the place of a method's name: the maps come from files."""


class Import(Section):
    """Files of another program, one for each image."""

    maps: Folder | None = Field(None, description="Folder of score maps.")
    masks: Folder | None = Field(
        None,
        description="Folder of masks: PNGs of class values as those of the ground truth, 0 "
        "background, 255 ignored.",
    )
    format: Literal["npy-dict", "npy", "npz", "png", "zarr", "tensorstore"] = Field(
        "npy-dict",
        description="Of the maps. npy-dict: pickled dicts as IRNet (keys, high_res, cam) and SEAM "
        "(class: map) save them; npy: arrays; npz: an array per class, or keys and high_res; png: "
        "a folder per image with a gray PNG per class; zarr, tensorstore: a Zarr array per image.",
    )
    classes: Annotated[tuple[str, ...], Distinct, Field(min_length=1)] | None = Field(
        None,
        description="The classes in the other program's order, the background first if it counts "
        "it; null: this run's order, without the background.",
    )
    normalise: Literal["none", "max", "range"] = Field(
        "none",
        description="none: values lie in [0, 1], whole numbers in all of their type's range; max: "
        "negative values become 0, and each map is divided by its maximum; range: each map's "
        "minimum becomes 0 and its maximum 1.",
    )
    stretch: bool = Field(
        False,
        description="Take maps of another aspect than the image's, such as those of images that "
        "were squeezed to a square.",
    )
    refine: bool = Field(
        False,
        description="Of masks: refine them by what `masks` says, as maps are; false: they are the "
        "pseudo-masks as they are.",
    )

    @model_validator(mode="after")
    def _is_maps_or_masks(self) -> Import:
        if (self.maps is None) == (self.masks is None):
            raise ValueError("give either maps or masks, the folder of the files")
        if self.maps is not None and self.refine:
            raise ValueError("refine is for masks; maps are refined anyway")
        if self.masks is not None:
            fields = type(self).model_fields
            for key in ("format", "normalise", "stretch"):
                if getattr(self, key) != fields[key].default:
                    raise ValueError(f"{key} is for maps; leave it out")
        return self

    @property
    def folder(self) -> str:
        """Where the files lie."""
        return self.maps or self.masks or ""

    @property
    def as_they_are(self) -> bool:
        """Whether the files are the pseudo-masks, and nothing refines them."""
        return self.masks is not None and not self.refine


__all__ = ["IMPORTED", "Import"]
