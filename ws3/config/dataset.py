"""The `dataset` section: what images there are, and the kinds of datasets that ws3 can list.

A kind is a model of its section and a few functions. ws3's own stand in `KINDS`, and an installed
package adds others through the entry-point group `ws3.datasets`; docs/extending/dataset.md shows
one. Nothing that lists or draws is imported before it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from ws3.config.model import Int, Section
from ws3.errors import Ws3Error
from ws3.messages import shown
from ws3.registry import Registry, deferred

if TYPE_CHECKING:
    from ws3.datasets.index import Listing


Exif = Literal["stored", "upright"]
Channel = Annotated[Int, Field(ge=0, le=255)]
_EXIF: Exif = Field(
    "stored",
    description="Pixels as stored, or photographs and masks turned as their EXIF tags say.",
)


class DatasetConfig(Section):
    """What the section of every kind holds; a kind's own model adds its keys.

    Attributes:
        kind: The kind's name, as a `Literal` of that one string.
        root: The dataset's folder; None is the folder `data` of the run, for a kind that draws.
    """

    kind: str
    root: str | None

    @field_validator("root", check_fields=False)
    @classmethod
    def _root_has_a_home(cls, value: str | None) -> str | None:
        try:
            Path(value or "").expanduser()
        except RuntimeError:
            raise ValueError(f"{shown(value)}: there is no such user on this machine") from None
        return value


class Synthetic(DatasetConfig):
    """The built-in drawn dataset; see `ws3.datasets.synthetic.dataset`."""

    kind: Literal["synthetic"]
    root: str | None = Field(None, description="Where to draw it; null: inside the run's folder.")
    train_images: Annotated[Int, Field(ge=1)] = Field(240, description="Images of the train split.")
    val_images: Annotated[Int, Field(ge=1)] = Field(60, description="Images of the val split.")
    size: Annotated[Int, Field(ge=48, le=1024)] = Field(128, description="Pixels per side.")
    classes: Annotated[Int, Field(ge=2, le=8)] = Field(5, description="Kinds of creatures.")
    seed: Annotated[Int, Field(ge=0)] = Field(0, description="Another seed draws other pictures.")


class Voc(DatasetConfig):
    """Pascal VOC (VOCdevkit/VOC2012), or a tree of its form with classes of one's own."""

    kind: Literal["voc"]
    root: str = Field(description="The folder that holds JPEGImages, Annotations and ImageSets.")
    train: str = Field(
        "trainaug",
        description="Image list of the train split, in ImageSets/Segmentation or ImageSets/Main.",
    )
    val: str | None = Field("val", description="Image list of the val split; null: there is none.")
    classes: str | list[str] | None = Field(
        None,
        description="A list of the classes, or a file with one per line, or labelmap.txt, in mask "
        "order; null: Pascal's 20.",
    )
    images: str = Field("JPEGImages", description="Folder of the photographs.")
    annotations: str = Field("Annotations", description="Folder of the XML files.")
    masks: str | None = Field(
        None,
        description="Folder of the masks; null: SegmentationClass, for trainaug "
        "SegmentationClassAug.",
    )
    exif: Exif = _EXIF


def _with_split_alone(text: str) -> str:
    if re.search(r"[{}]", text.replace("{split}", "")):
        raise ValueError("the only thing in braces can be {split}")
    return text


_PerSplit = Annotated[str, AfterValidator(_with_split_alone)]


class Coco(DatasetConfig):
    """MS COCO 2014 or 2017 in its own layout."""

    kind: Literal["coco"]
    root: str = Field(description="The folder that holds annotations/ and the image folders.")
    train: str = Field("train2014", description="Name of the train split.")
    val: str | None = Field("val2014", description="Name of the val split; null: there is none.")
    annotations: _PerSplit = Field(
        "annotations/instances_{split}.json",
        description="Annotation file, with {split} for the split's name.",
    )
    images: _PerSplit = Field(
        "{split}", description="Folder of the photographs, with {split} for the split's name."
    )
    negatives: bool = Field(
        False, description="Whether images without annotations take part, as showing no class."
    )
    exif: Exif = _EXIF


class Folder(DatasetConfig):
    """Your own photographs: images/ and labels.csv, optional masks/ and split files."""

    kind: Literal["folder"]
    root: str = Field(description="The folder that the other paths are relative to.")
    images: str = Field("images", description="Folder of the photographs.")
    labels: str = Field("labels.csv", description="Columns image,labels; labels joined by ';'.")
    masks: str | None = Field(None, description="Folder of <image>.png masks, for evaluation.")
    colors: str | dict[str, tuple[Channel, Channel, Channel]] | None = Field(
        None,
        description="Colour of each class in masks that are coloured: a file such as "
        "labelmap.txt, or name: [red, green, blue]; null: masks hold class values.",
    )
    reduce_zero_label: bool = Field(
        False, description="Whether 0 in masks is ignored, and not background."
    )
    classes: str | None = Field(
        None, description="File with one class per line, in mask order; null: sorted from labels."
    )
    train: str | None = Field(
        None, description="File of training ids; null: all images that `val` doesn't name."
    )
    val: str | None = Field(None, description="File of validation ids.")
    exif: Exif = _EXIF


@dataclass(frozen=True)
class DatasetKind:
    """One kind of dataset. Each function is given the section, an instance of `config`.

    Attributes:
        config: The model of the `dataset` section.
        list: From the section and the dataset's folder to the images with their labels and files,
            without opening any image. Raises `Ws3Error` if the dataset is missing or malformed.
        watched: From the section to the lists and folders, relative to the dataset's folder, whose
            size or modification time tells that the listing may have changed.
        prepare: From the section, the dataset's folder and a function that is told the images done
            and the images in all: makes the dataset's files where they are missing. None: the
            files are the user's.
        drawing_key: From the section to a digest of all that the prepared files depend on. It is
            the `stat_key` of every row; the files' own sizes and times then don't count.
    """

    config: type[DatasetConfig]
    list: Callable[[Any, Path], Listing]
    watched: Callable[[Any], Sequence[str]]
    prepare: Callable[[Any, Path, Callable[[int, int], None]], None] | None = None
    drawing_key: Callable[[Any], str] | None = None


KINDS: Registry[DatasetKind] = Registry(
    "kind of dataset",
    "ws3.datasets",
    {
        "synthetic": DatasetKind(
            Synthetic,
            list=deferred("ws3.datasets.synthetic.dataset:list_synthetic"),
            watched=lambda config: (),
            prepare=deferred("ws3.datasets.synthetic.dataset:draw_synthetic"),
            drawing_key=deferred("ws3.datasets.synthetic.dataset:drawing_key"),
        ),
        "voc": DatasetKind(
            Voc,
            list=deferred("ws3.datasets.voc:list_voc"),
            watched=deferred("ws3.datasets.voc:watched"),
        ),
        "coco": DatasetKind(
            Coco,
            list=deferred("ws3.datasets.coco:list_coco"),
            watched=deferred("ws3.datasets.coco:watched"),
        ),
        "folder": DatasetKind(
            Folder,
            list=deferred("ws3.datasets.folder:list_folder"),
            watched=deferred("ws3.datasets.folder:watched"),
        ),
    },
    DatasetKind,
)
"""The kinds of datasets by name."""


class _OfAnyKind:
    """Validates a section by the model of its kind; the JSON schema describes ws3's own kinds."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        models = tuple(kind.config for kind in KINDS.own.values())
        own = Annotated[Union[models], Field(discriminator="kind")]  # type: ignore[valid-type]  # noqa: UP007
        return core_schema.no_info_wrap_validator_function(
            _validated,
            handler.generate_schema(own),
            serialization=core_schema.simple_ser_schema("any"),
        )


def _validated(value: Any, own: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, DatasetConfig) or not isinstance(value, Mapping):
        return value if isinstance(value, DatasetConfig) else own(value)
    if "kind" not in value:
        raise ValueError(f"the key 'kind' is required; allowed: {', '.join(KINDS)}")
    model = dataset_model(value["kind"])
    # The errors of a nested model keep their own paths.
    return own(value) if value["kind"] in KINDS.own else model.model_validate(value)


def dataset_model(kind: Any) -> type[DatasetConfig]:
    """Return the model of a kind's section.

    Raises:
        ValueError: If there is no such kind, or the package that adds it can't be used.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"kind {shown(kind)} is unknown; {KINDS.did_you_mean(kind)}allowed: {', '.join(KINDS)}"
        )
    try:
        return KINDS[kind].config
    except Ws3Error as error:
        raise ValueError(str(error)) from error


Dataset = Annotated[DatasetConfig, _OfAnyKind()]
