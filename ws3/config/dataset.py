"""The `dataset` section: what images there are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ws3.config.model import Int, Section


class Synthetic(Section):
    """The built-in drawn dataset; see `ws3.datasets.synthetic.dataset`."""

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
