"""What ws3 writes as JSON and reads again: one model per kind of file, and one checked reader.

`RECORDS` says which file holds what. Light to import: a dry run reads receipts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, JsonValue, NonNegativeInt, ValidationError, model_validator

from ws3.config.classifier import OWN_STRIDE, Texts
from ws3.config.masks import ConstantBackground, PowerBackground
from ws3.config.model import Section
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import json_bytes, write_first, write_json
from ws3.labels import CONFIDENCE_STEPS
from ws3.messages import reason, shortened
from ws3.outside import TEXT_BYTES, read_regular
from ws3.run.phases import Phase

EvaluatedStage = Literal["maps", "masks", "segmentation"]
EVALUATED_STAGES: tuple[EvaluatedStage, ...] = ("maps", "masks", "segmentation")
"""What is measured against the ground truth, in the order of the pipeline."""

Share = float | None
"""A number that may be undefined, such as a ratio with nothing to divide by."""

Matrix = tuple[tuple[NonNegativeInt, ...], ...]
"""Counts of pairs of classes, row by row."""

Tenths = Field(min_length=10, max_length=10)


class Record(Section):
    """A file's content: immutable; unknown keys, inf and nan are refused."""


class IndexFacts(Record):
    """What the index was made from, and what it found.

    Attributes:
        format: Of the run's folder: `ws3.stage_table.FORMAT`.
        sources: What a cheap look said of the dataset's lists and folders; see
            `ws3.run.dataset_state`.
        classes: Names of the classes; class i has the mask value i + 1.
        images: Number of images per split.
        problems: What is wrong with an image that is skipped, by image.
        facts: What the dataset holds, as sentences; see `ws3.datasets.facts`.
        warnings: What may be wrong with it, as sentences.
    """

    format: int
    sources: dict[str, JsonValue]
    classes: tuple[str, ...]
    images: dict[str, int]
    problems: dict[str, str]
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ImportedFile(Section):
    """One file of another program.

    Attributes:
        path: In the import's folder, '/' between folders; "" where there is none.
        stat_key: What shows that it changed, without reading it.
        sha256: Of its bytes, or of the names and digests of all files in it if it is a folder.
        notes: What is unusual about it; see `ws3.imports.readers.NOTES`.
        problem: Why it can't be used; "" means that it is fine.
    """

    path: str = ""
    stat_key: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()
    problem: str = ""


class ImportFacts(Record):
    """The files that an imported recipe takes.

    Attributes:
        recipe: Its name.
        settings: Of the import, and the classes, with which they were read.
        files: Each image's file.
        unused: How many files in the folder belong to no image.
    """

    recipe: str
    settings: dict[str, JsonValue]
    files: dict[str, ImportedFile]
    unused: int

    def digest(self, image: str) -> str:
        """Return the digest of an image's file, "" where there is none."""
        found = self.files.get(image)
        return "" if found is None else found.sha256


class ClassifierMetrics(Record):
    """How well the classifier names what an image holds.

    Attributes:
        split: Split that it was measured on.
        mean_ap: Mean of the classes' average precisions, in [0, 1].
        per_class_ap: Average precision in [0, 1] by class; None for a class that no image, or
            every image, holds.
    """

    split: str
    mean_ap: Share
    per_class_ap: dict[str, Share]


class ClassifierFacts(Record):
    """The run's classifier.

    Attributes:
        architecture: Name of the network.
        classes: Names of the classes, in the order of the logits.
        input_size: Side in pixels of the images that it was made for.
        output_stride: Pixels of the input per pixel of its last features, per side; 32: those of
            the network as it is.
        epochs: Epochs that it was trained; None if the checkpoint was brought along.
        fingerprint: Of all that it is made from.
        sha256: Of its checkpoint.
        metrics: How good it is.
        texts: What it was made of, if that is texts and no training.
    """

    architecture: str
    classes: tuple[str, ...]
    input_size: int
    epochs: int | None
    fingerprint: str
    sha256: str
    metrics: ClassifierMetrics
    output_stride: int = OWN_STRIDE
    texts: Texts | None = None


class PrecisionFacts(Record):
    """What `precision: auto` means in a run: the machine that needed it first decided it.

    Attributes:
        classifier: SHA-256 of the classifier that it was decided for.
        precision: Arithmetic of the network.
    """

    classifier: str
    precision: Literal["fp32", "bf16"]


class Receipt(Record):
    """What a stage did with one batch of images; it is written when the batch is complete.

    Attributes:
        stage: Name of the stage.
        recipe: Name of the recipe.
        batch: Name of the batch.
        images: Fingerprint of each image's result.
        skipped: Why an image has none, by image.
        computed: Number of images that this job computed.
        reused: Number of images whose result was there already.
        samples: Number of samples that this job computed.
        bytes: Size in memory of the results that this job computed.
        seconds: Seconds that this job took, by phase.
        versions: Versions of the programs that took part.
        empty: Images with labels whose result shows none of their classes, such as a pseudo-mask
            that is all background.
        host: Name of the machine that the job ran on; "" of an older ws3's.
    """

    stage: str
    recipe: str
    batch: str
    images: dict[str, str]
    skipped: dict[str, str]
    computed: int
    reused: int
    samples: int
    bytes: int
    seconds: dict[Phase, float]
    versions: dict[str, str]
    empty: tuple[str, ...] = ()
    host: str = ""


class Failure(Record):
    """Why an image failed in a stage."""

    reason: str


class Threshold(Record):
    """The background score that a recipe's maps are cut with, and how it was chosen.

    Attributes:
        recipe: Name of the recipe.
        background: The background score itself; a tuned or automatic one is a constant.
        kind: How it was chosen.
        split: Split whose ground truth chose it; "" if none did.
        images: Number of images that chose it; None if none did.
        miou: mIoU in [0, 1] of the maps on these images; None unless ground truth chose it.
        object_share: Share of these images that the maps mark, where that chose it; else None.
        voted: What was tuned in the same way for the maps whose regions have voted, which the masks
            are made of; None if the masks are cut with `background`.
    """

    recipe: str
    background: Annotated[ConstantBackground | PowerBackground, Field(discriminator="kind")]
    kind: Literal["constant", "power", "tuned", "auto"]
    split: Literal["", "train", "val"] = ""
    images: int | None = None
    miou: Share = None
    object_share: Share = None
    voted: ConstantBackground | None = None

    @property
    def origin(self) -> str:
        """How it was chosen, in a few words."""
        if self.split:
            return f"{self.kind} on {self.images} images of {self.split}"
        if self.object_share is not None:
            return (
                f"{self.kind}: maps mark {self.object_share:.1%} of {self.images} training images"
            )
        return self.kind

    @property
    def for_masks(self) -> ConstantBackground | PowerBackground:
        """The background score that the masks are made with."""
        return self.background if self.voted is None else self.voted

    @property
    def score(self) -> float | None:
        """The constant score in [0, 1]; None if the background has no one score."""
        return self.score_of("maps")

    def score_of(self, stage: EvaluatedStage) -> float | None:
        """The constant score in [0, 1] of the maps, or of the masks; None if there is no one."""
        background = self.for_masks if stage == "masks" else self.background
        return background.score if isinstance(background, ConstantBackground) else None


class SegmentationEpoch(Record):
    """One epoch of a segmentation network's training; see `ws3.segmentation.training.Epoch`."""

    epoch: int
    loss: float
    pixel_accuracy: float
    learning_rate: float


class SegmentationFacts(Record):
    """A segmentation network.

    Attributes:
        recipe: Name of the recipe whose masks trained it, or `ground_truth`.
        architecture: Name of the network.
        fingerprint: Of all that it is made from.
        sha256: Of its file.
        images: Number of images that it learned from.
        epochs: The epochs of its training.
        ignore_below: Pixels of its masks whose confidence is under this were ignored; None: there
            was no such cut.
    """

    recipe: str
    architecture: str
    fingerprint: str
    sha256: str
    images: int
    epochs: tuple[SegmentationEpoch, ...]
    ignore_below: float | None = None


class DistanceProfile(Record):
    """Share of the objects' pixels found, by tenths of the way from the reference map's peak.

    See `ws3.metrics.distance`. Each tuple has ten numbers, that of the nearest tenth first.

    Attributes:
        found: Mean of the classes' shares, over those where it is defined.
        per_class: Share of each class, by its name.
        pixels: Number of pixels of each class, by its name.
    """

    found: Annotated[tuple[Share, ...], Tenths]
    per_class: dict[str, Annotated[tuple[Share, ...], Tenths]]
    pixels: dict[str, Annotated[tuple[int, ...], Tenths]]


class ClassFigures(Record):
    """The figures of one class.

    Attributes:
        images: Number of images that hold the class.
        figures: By the metric's name per class; None is undefined, an absent one not measured.
    """

    images: int
    figures: dict[str, Share]


class Oracle(Record):
    """The best constant threshold of a split, found with the ground truth that is reported on.

    Attributes:
        threshold: The background score; the lowest of equals.
        miou: mIoU in [0, 1] of the maps at it.
    """

    threshold: float
    miou: float


class ConfidencePixels(Record):
    """Pixels of masks by their label and their confidence; see `ws3.metrics.confidence`.

    Attributes:
        wrong: Those that the ground truth calls otherwise: a row per label, the background first,
            a column per value of the confidence.
        right: The others.
        objects: Number of pixels that are of a class in the ground truth.
    """

    wrong: Matrix
    right: Matrix
    objects: NonNegativeInt


class StageFigures(Record):
    """The figures of one recipe at one stage on one split.

    Attributes:
        images: Number of images that were measured.
        threshold: Background score of the masks; None if it is not a constant, and of a network.
        threshold_kind: How it was chosen: constant, power, tuned or auto; "" of a network.
        threshold_split: Split whose ground truth chose it; "" if none did.
        ignored_share: Share of the pixels in [0, 1] that are 255 in the ground truth or the mask.
        figures: Means over the classes, by the metric's name; None is undefined, an absent one not
            measured.
        per_class: Figures of each class, by its name.
        sweep: (threshold, mIoU) of the maps for every constant threshold; None of other stages.
        distances: What is found near the reference map's peak and far from it; None if it was not
            measured.
        confusion: Pixels by class in the ground truth (row) and in the mask (column), the
            background first; None if it was not kept.
        oracle: The best of them, which no result may use; None of other stages, and without mIoU.
        intervals: Lower and upper end of the 95 % interval of a figure, by the metric's name; see
            `ws3.metrics.bootstrap`. Not every metric has one.
        confidence: Pixels by confidence, of masks whose confidence is stored; else None.
    """

    images: int
    threshold: float | None
    threshold_kind: Literal["", "constant", "power", "tuned", "auto"]
    threshold_split: Literal["", "train", "val"]
    ignored_share: Share
    figures: dict[str, Share]
    per_class: dict[str, ClassFigures]
    sweep: tuple[tuple[float, Share], ...] | None = None
    distances: DistanceProfile | None = None
    confusion: Matrix | None = None
    oracle: Oracle | None = None
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    confidence: ConfidencePixels | None = None


class Evaluation(Record):
    """The figures of one recipe.

    Attributes:
        recipe: Name of the recipe, or `ground_truth`.
        seed: The run's seed.
        reference: Recipe whose maps divide the pixels into regions.
        classes: Names of the classes.
        splits: Figures by split, then by stage.
        together: Number of measured images that are labelled with both classes of a pair, by
            split; on the diagonal, with the class. A split may be absent.
        image_counts: SHA-256 of the file with each image's counts; "" of an older evaluation,
            which wrote none.
    """

    recipe: str
    seed: int
    reference: str
    classes: tuple[str, ...]
    splits: dict[str, dict[EvaluatedStage, StageFigures]]
    together: dict[str, Matrix] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _matrices_fit_the_classes(self) -> Self:
        for split, stages in self.splits.items():
            for stage, found in stages.items():
                if found.confusion is not None:
                    name = f"splits.{split}.{stage}.confusion"
                    _check_square(name, found.confusion, len(self.classes) + 1)
                for name, matrix in dict(found.confidence or ()).items():
                    if name != "objects" and (
                        len(matrix) != len(self.classes) + 1
                        or any(len(row) != CONFIDENCE_STEPS for row in matrix)
                    ):
                        raise ValueError(
                            f"splits.{split}.{stage}.confidence.{name} must have "
                            f"{len(self.classes) + 1} rows of {CONFIDENCE_STEPS} numbers"
                        )
        for split, matrix in self.together.items():
            _check_square(f"together.{split}", matrix, len(self.classes))
        return self

    image_counts: str = ""


class CheckedRecipe(Section):
    """What the checks of one recipe found; see `ws3.tools.sanity`.

    Attributes:
        recipe: Its name; `(random order)` has the curves of pixels in random order.
        fingerprint: Of all that it was computed from.
        likeness: Rank correlation of the maps with those of shuffled weights, by the depth of the
            shuffling, the mean over images and classes; None where no map has two values. Empty
            of the random order.
        deletion: Probability of the class after each tenth of the pixels is deleted, from none on.
        insertion: The same where they are inserted.
    """

    recipe: str
    fingerprint: str
    likeness: tuple[Share, ...]
    deletion: Annotated[tuple[float, ...], Field(min_length=2)]
    insertion: Annotated[tuple[float, ...], Field(min_length=2)]


class SanityFacts(Record):
    """What `ws3 recipes --check` found.

    Attributes:
        images: The images that were looked at, by their ids.
        depths: Shares of the layers below the last that were shuffled with it.
        recipes: The recipes, in the order of the configuration.
    """

    images: tuple[str, ...]
    depths: tuple[float, ...]
    recipes: tuple[CheckedRecipe, ...]

    @model_validator(mode="after")
    def _curves_are_whole(self) -> Self:
        for found in self.recipes:
            if len(found.likeness) not in (0, len(self.depths)):
                raise ValueError(f"recipes.{found.recipe} must have a likeness for each depth")
            if len(found.deletion) != len(found.insertion):
                raise ValueError(f"recipes.{found.recipe} must have curves of one length")
        return self


RECORDS: Mapping[str, type[Record]] = {
    "index.json": IndexFacts,
    "imports/*.json": ImportFacts,
    "classifier.json": ClassifierFacts,
    "precision/*.json": PrecisionFacts,
    "receipts/train_classifier.json": ClassifierFacts,
    "receipts/train_segmentation/*.json": SegmentationFacts,
    "receipts/*/*/*.json": Receipt,
    "failed/*/*/*.json": Failure,
    "thresholds/*.json": Threshold,
    "segmentation/*/model.json": SegmentationFacts,
    "evaluation/*.json": Evaluation,
    "sanity/check.json": SanityFacts,
}
"""What a file in a run's folder holds, by its place; `*` stands for a name."""

RecordType = TypeVar("RecordType", bound=Record)


def read_record(path: Path, model: type[RecordType]) -> RecordType:
    """Read a file that `write_record` wrote.

    Args:
        path: The file.
        model: What it must hold.

    Raises:
        StaleResultError: If it is missing.
        Ws3Error: If it can't be read, or holds something else.
    """
    try:
        data = read_regular(path, TEXT_BYTES)
    except FileNotFoundError:
        raise StaleResultError(f"{path}: this file is missing; run snakemake again.") from None
    except OSError as error:
        raise Ws3Error(
            f"{path}: this file can't be read ({reason(error)}); make it readable or remove it, "
            "and run snakemake again."
        ) from None
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        faults = [_fault(detail) for detail in error.errors(include_url=False)]
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise Ws3Error(
            f"{path}: this file is damaged ({', '.join(faults[:3])}{more}); remove it and run "
            "snakemake again."
        ) from None


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically, with sorted keys: equal records make equal bytes.

    Raises:
        Ws3Error: If the file can't be written.
    """
    write_json(path, record.model_dump(mode="json"))


def write_first_record(path: Path, record: Record) -> None:
    """Write a record, as `write_record` does, unless any file is there: the first writer wins.

    Raises:
        Ws3Error: If the file can't be written.
    """
    write_first(path, json_bytes(record.model_dump(mode="json")))


def _check_square(name: str, matrix: Matrix, side: int) -> None:
    if len(matrix) != side or any(len(row) != side for row in matrix):
        raise ValueError(f"{name} must have {side} rows of {side} numbers")


def _fault(detail: Any) -> str:
    """Return in a few words what pydantic found, with the key in question."""
    key, kind = shortened(".".join(str(part) for part in detail["loc"])), detail["type"]
    if kind == "json_invalid":
        return f"it is not JSON: {detail['ctx']['error']}"
    if kind in ("missing", "extra_forbidden"):
        return f"{key} is {'missing' if kind == 'missing' else 'unknown'}"
    if kind == "model_type":
        return f"{key + ': ' if key else ''}a JSON object is expected"
    if kind == "value_error" and not key:
        return shortened(str(detail["ctx"]["error"]))
    message = shortened(str(detail["msg"]))
    return f"{key}: {message[:1].lower()}{message[1:]}"
