"""What a report shows, as plain values: nothing here reads a file or draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ws3.config.run import GROUND_TRUTH
from ws3.report.methods import Methods
from ws3.run.graph import JobGraph
from ws3.run.provenance import Provenance
from ws3.run.records import (
    EVALUATED_STAGES,
    ClassFigures,
    ClassifierFacts,
    DistanceProfile,
    EvaluatedStage,
    Evaluation,
    Matrix,
    Oracle,
    SanityFacts,
    StageFigures,
)

DASH = "\N{EN DASH}"
"""What stands where a number is undefined."""

STAGE_TITLES = {
    "maps": "Score maps, before the CRF",
    "masks": "Pseudo-masks, after the CRF",
    "segmentation": "Segmentation network",
}

STAGE_TITLES_WITHOUT_CRF = {**STAGE_TITLES, "maps": "Score maps", "masks": "Pseudo-masks (no CRF)"}


def title_of(recipe: str) -> str:
    """Return what to call a recipe, or the fully supervised network in a recipe's place."""
    return "ground truth (fully supervised)" if recipe == GROUND_TRUTH else recipe


@dataclass(frozen=True, slots=True)
class Score:
    """One recipe, evaluated at one stage on one split.

    A segmentation network has no threshold of its own: it inherits how the threshold of the masks
    that it learned from was chosen, unless it is the fully supervised network, which learned from
    ground truth.

    Attributes:
        recipe: Its name.
        split: Split that was measured.
        stage: What was measured.
        images: Number of images.
        figures: Means over the classes by the metric's name; None is undefined, an absent one not
            measured.
        per_class: The figures of each class.
        threshold: Background score; None if there is no constant one.
        threshold_kind: How it was chosen: constant, power, tuned, auto or "".
        threshold_split: Split whose ground truth chose it; "" if none did.
        ignored_share: Share of the pixels that count nowhere.
        sweep: (threshold, mIoU) of the maps, where mIoU is defined.
        distances: Shares found by distance from the peak of the reference's map, if measured.
        confusion: Pixels by class in ground truth and mask, if kept.
        intervals: 95 % intervals of figures by the metric's name; not every metric has one.
        oracle: The best constant threshold, found with the ground truth that the score comes from.
    """

    recipe: str
    split: str
    stage: EvaluatedStage
    images: int
    figures: Mapping[str, float | None]
    per_class: Mapping[str, ClassFigures]
    threshold: float | None
    threshold_kind: str
    threshold_split: str
    ignored_share: float | None
    sweep: tuple[tuple[float, float], ...]
    distances: DistanceProfile | None = None
    confusion: Matrix | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    oracle: Oracle | None = None

    @property
    def miou(self) -> float | None:
        """Mean IoU in [0, 1]: the figure that ranks recipes; None if it is undefined."""
        return self.figures.get("miou")

    @property
    def is_fully_supervised(self) -> bool:
        """Whether this is the network that learned from ground truth: an upper bound."""
        return self.recipe == GROUND_TRUTH

    @property
    def title(self) -> str:
        """What to call the recipe in a table."""
        return title_of(self.recipe)

    @property
    def chosen_on_reported_split(self) -> bool:
        """Whether the ground truth that gives the score also chose the threshold."""
        return self.threshold_split == self.split

    @property
    def threshold_text(self) -> str:
        """The threshold as a short number, or a dash where there is none."""
        return DASH if self.threshold is None else f"{self.threshold:.3g}"

    @property
    def provenance(self) -> str:
        """How the threshold was chosen, in a few words."""
        if self.is_fully_supervised:
            return "none: trained on ground truth of train"
        if self.threshold_split:
            how = f"tuned on ground truth of {self.threshold_split}"
            if self.chosen_on_reported_split:
                how += ", the split reported here"
        elif self.threshold_kind == "power":
            how = "power background, set in the configuration"
        elif self.threshold_kind == "auto":
            how = "automatic, without ground truth: by the share that the maps mark"
        else:
            how = "constant, set in the configuration"
        return f"of its training masks: {how}" if self.stage == "segmentation" else how


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """An image that the run left out, or one recipe of it did, and why."""

    image: str
    split: str
    reason: str


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What the dataset holds.

    Attributes:
        name: What to call it, such as "voc".
        classes: Class names, in class-list order.
        images: Usable images of each split.
        class_images: For each split, how many images contain each class.
        skipped: Images left out; one that several recipes left out may stand here several times.
        facts: What it holds, as sentences without a dot.
        warnings: What may be wrong with it, as sentences without a dot.
    """

    name: str
    classes: tuple[str, ...]
    images: Mapping[str, int]
    class_images: Mapping[str, Mapping[str, int]]
    skipped: tuple[SkippedImage, ...] = ()
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def skipped_images(self) -> int:
        """How many different images are among the skipped."""
        return len({(entry.split, entry.image) for entry in self.skipped})


@dataclass(frozen=True, slots=True)
class RecipePictures:
    """The gallery's pictures of one image and recipe, as paths relative to the report's folder."""

    recipe: str
    maps: tuple[str, ...]
    mask: str | None
    prediction: str | None

    @property
    def title(self) -> str:
        """What to call the recipe."""
        return title_of(self.recipe)


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """One image of the gallery; its pictures are paths relative to the report's folder.

    Attributes:
        image: What to call the image.
        split: Its split.
        labels: Names of the classes present, one for each of a recipe's maps.
        class_ids: Their positions in the class list, counted from 0.
        photo: The photograph.
        truth: The ground truth, None if there is none.
        recipes: Pictures of each recipe.
    """

    image: str
    split: str
    labels: tuple[str, ...]
    class_ids: tuple[int, ...]
    photo: str
    truth: str | None
    recipes: tuple[RecipePictures, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every picture of the entry."""
        found: list[str | None] = [self.photo, self.truth]
        for pictures in self.recipes:
            found += [*pictures.maps, pictures.mask, pictures.prediction]
        return tuple(path for path in found if path is not None)


@dataclass(frozen=True, slots=True)
class Timing:
    """What a stage took; `recipe` is "" for a stage that all recipes share.

    `seconds` are summed over the jobs, `size` is in bytes as written to disk.
    """

    stage: str
    recipe: str
    images: int
    seconds: float
    size: int


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Attributes:
        run: Name of the run.
        config: The resolved configuration, of plain values only.
        evaluations: One evaluation per recipe.
        dataset: The dataset.
        classifier: The classifier, None if it was not measured.
        gallery: Images to show.
        timings: What each stage took.
        versions: Version of each program that took part.
        empty_masks: By recipe, how many pseudo-masks of images with labels are all background,
            and how many images with labels have one; recipes without any are left out.
        sample_counts: By recipe with an adaptive count, how many samples each image took.
        images: How many images the page of all images shows; 0 if there is none.
        sanity: What the checks of the recipes found; None if nobody made them.
        methods: What the run did, in the words of a paper.
        provenance: Where the results come from.
        graph: The jobs of the run.

    Raises:
        ValueError: If two evaluations are of the same recipe.
    """

    run: str
    config: Mapping[str, Any]
    evaluations: Sequence[Evaluation]
    dataset: DatasetFacts
    classifier: ClassifierFacts | None = None
    gallery: tuple[GalleryEntry, ...] = ()
    timings: tuple[Timing, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    empty_masks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sample_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    images: int = 0
    sanity: SanityFacts | None = None
    methods: Methods | None = None
    provenance: Provenance | None = None
    graph: JobGraph | None = None

    def __post_init__(self) -> None:
        if len(set(self.recipes)) != len(self.recipes):
            raise ValueError(f"each recipe needs exactly one evaluation, got {self.recipes}")

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes that were evaluated."""
        return tuple(evaluation.recipe for evaluation in self.evaluations)

    @property
    def reference(self) -> str:
        """The recipe that the four regions are relative to, "" without evaluations."""
        return self.evaluations[0].reference if self.evaluations else ""

    @property
    def has_crf(self) -> bool:
        """Whether the pseudo-masks passed through a dense CRF."""
        return bool(self.config.get("masks", {}).get("crf") != "none")

    @property
    def stage_titles(self) -> Mapping[str, str]:
        """What to call each evaluated stage of this run."""
        return STAGE_TITLES if self.has_crf else STAGE_TITLES_WITHOUT_CRF


def scores_of(evaluations: Sequence[Evaluation]) -> tuple[Score, ...]:
    """Return the scores of evaluations, by split, then stage, then recipe as given."""
    splits = dict.fromkeys(split for evaluation in evaluations for split in evaluation.splits)
    return tuple(
        _score(evaluation, split, stage, stages)
        for split in splits
        for stage in EVALUATED_STAGES
        for evaluation in evaluations
        if stage in (stages := evaluation.splits.get(split, {}))
    )


def best(scores: Sequence[Score], split: str, stage: EvaluatedStage) -> Score | None:
    """Return the recipe with the highest mIoU of a split and stage; None if no recipe has one."""
    here = [
        s for s in scores if s.split == split and s.stage == stage and not s.is_fully_supervised
    ]
    ranked = [score for score in here if score.miou is not None]
    return max(ranked, key=lambda score: score.miou or 0.0, default=None)


def _score(
    evaluation: Evaluation,
    split: str,
    stage: EvaluatedStage,
    stages: Mapping[EvaluatedStage, StageFigures],
) -> Score:
    found = stages[stage]
    inherits = stage == "segmentation" and not found.threshold_split
    chosen = stages.get("masks", found) if inherits else found
    return Score(
        recipe=evaluation.recipe,
        split=split,
        stage=stage,
        images=found.images,
        figures=found.figures,
        # In the order of the class list, which JSON with sorted keys does not keep.
        per_class={
            name: found.per_class[name]
            for name in (*evaluation.classes, *found.per_class)
            if name in found.per_class
        },
        threshold=chosen.threshold,
        threshold_kind=chosen.threshold_kind,
        threshold_split=chosen.threshold_split,
        ignored_share=found.ignored_share,
        sweep=tuple((point, miou) for point, miou in found.sweep or () if miou is not None),
        distances=found.distances,
        confusion=found.confusion,
        intervals=found.intervals,
        oracle=found.oracle,
    )
