"""A recipe: how one classifier becomes one score map per class, as plain data.

A recipe names an attribution method, the samples that it is averaged over, and the way in which
the samples are aggregated. It is configuration only; no code is needed for a new one.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ws3.config.imports import IMPORTED, Import
from ws3.config.model import Float, GrowingSection, Int, Range, Section
from ws3.registry import load_object
from ws3.stage_table import SUMMED

Precision = Literal["fp32", "tf32", "bf16"]
_AVERAGED = 12
"""Random samples from which on `precision: auto` may mean bf16."""
Fraction = Annotated[Float, Field(ge=0.0, le=1.0)]
PositiveFraction = Annotated[Float, Field(gt=0.0, le=1.0)]

WITHOUT_SAMPLES = (IMPORTED, "network")
"""Keys of a recipe that stand in the place of a method: its maps are made of no samples."""

MOST_SAMPLES = 65534
"""Samples in one chunk: the store's uint16 counts have 65535 for a missing one."""


class Masking(Section):
    """Hide random square patches of the input (hide-and-seek, Singh and Lee 2017)."""

    patch: PositiveFraction = Field(
        0.125, description="Side of a patch, as a share of the network's input side."
    )
    share: Annotated[Float, Field(ge=0.0, lt=1.0)] = Field(
        0.3, description="Probability that a patch is hidden."
    )


_Count = Annotated[Int, Field(ge=1, le=MOST_SAMPLES)]


class AdaptiveCount(Section):
    """As many samples as an image needs: it stops at the chunk with which its mean has settled."""

    max: _Count = Field(description="Samples that an image gets at most.")
    tolerance: Annotated[Float, Field(ge=0.0)] = Field(
        description="Expected error of the mean, as a share of it (relative L2), under which an "
        "image stops; 0: never before `max`."
    )


class Samples(GrowingSection):
    """Which views of an image the method sees; `noise` and `masking` compose with any kind."""

    newer: ClassVar[tuple[str, ...]] = ("step",)

    kind: Literal["full", "crops", "noise", "masking", "scales", "sliding"] = Field(
        "full",
        description="full: the image once; crops: random windows; noise: the image with Gaussian "
        "noise (SmoothGrad); masking: the image with hidden patches; scales: several sizes; "
        "sliding: a window of the network's input that slides over the image at several sizes.",
    )
    count: _Count | AdaptiveCount = Field(
        1,
        description="Samples per image, for crops, noise and masking, where the default is 24; or "
        "{max, tolerance}: as many as each image needs.",
    )
    samples_per_chunk: Annotated[Int, Field(ge=1)] | Literal["count"] = Field(
        10, description="Samples summed into one stored chunk; `count` keeps only the total."
    )
    keep_samples: bool = Field(False, description="Store every sample's raw map instead of sums.")
    batch: Annotated[Int, Field(ge=1, le=1024)] = Field(
        16,
        description="Samples that pass the network at once (all but full and scales). Part of what "
        "a result is: another batch shape lets the network's arithmetic round differently.",
    )
    side: Annotated[tuple[PositiveFraction, PositiveFraction], Range] = Field(
        (0.4, 0.95), description="Crops: range of the window's side, as a share of the short side."
    )
    noise: Annotated[Float, Field(ge=0.0)] | None = Field(
        None, description="Standard deviation of Gaussian noise, for RGB in [0, 1]."
    )
    masking: Masking | None = Field(None, description="Hidden patches.")
    scales: tuple[Annotated[Float, Field(gt=0.0, le=4.5)], ...] = Field(
        (1.0,),
        description="Scales: sizes relative to the network's input size; sliding: those of the "
        "image's short side, at least 1.",
        min_length=1,
    )
    step: Annotated[Float, Field(ge=0.1, le=1.0)] = Field(
        1.0,
        description="Sliding: how far the window moves, as a share of its side; the last one of a "
        "row or column ends at the border.",
    )
    flip: bool = Field(
        False, description="Scales and full: add the mirrored image; others: mirror odd samples."
    )
    whole_image: tuple[Annotated[Float, Field(gt=0.0, le=4.0)], ...] = Field(
        (),
        description="Crops: sizes, relative to the network's input, at which the whole image is a "
        "sample too, each followed by its mirror image; `count` doesn't count them.",
    )
    input_size: Annotated[Int, Field(ge=32, le=4096)] | None = Field(
        None, description="Side in pixels of the network's input; null: the classifier's own."
    )

    @model_validator(mode="before")
    @classmethod
    def _kinds_bring_their_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        defaults: dict[str, dict[str, Any]] = {
            "crops": {"count": 24},
            "noise": {"count": 24, "noise": 0.15},
            "masking": {"count": 24, "masking": {}},
        }
        return {**defaults.get(str(data.get("kind")), {}), **data}

    @model_validator(mode="after")
    def _count_belongs_to_random_kinds(self) -> Samples:
        if self.kind in ("full", "scales", "sliding") and self.count != 1:
            raise ValueError(f"count has no meaning for kind {self.kind}; leave it out")
        if self.adaptive is not None and self.samples_per_chunk == "count":
            raise ValueError(
                "count: an image stops after a whole chunk, so samples_per_chunk must be a number"
            )
        if self.kind == "sliding" and min(self.scales) < 1:
            raise ValueError(
                f"the scale {min(self.scales)} is smaller than the window of kind sliding; give "
                "scales of at least 1"
            )
        if self.step != 1 and self.kind != "sliding":
            raise ValueError(f"step is for kind sliding, not {self.kind}; leave it out")
        if self.keep_samples and self.kind == "scales":
            raise ValueError("keep_samples needs samples of one size; it does not go with scales")
        if self.whole_image and self.kind != "crops":
            raise ValueError(
                f"whole_image is for kind crops; with kind {self.kind} the image is whole anyway"
            )
        if self.whole_image and self.keep_samples:
            raise ValueError("keep_samples needs samples of one size; leave out whole_image")
        return self

    @property
    def adaptive(self) -> AdaptiveCount | None:
        """The count, if it is not the same for all images."""
        return self.count if isinstance(self.count, AdaptiveCount) else None

    @property
    def total(self) -> int:
        """Samples per image at most, the mirrored ones included.

        Of kind sliding it depends on the image, and `SamplePlan.total` tells: this number only
        tells recipes apart.
        """
        if self.kind == "scales":
            return len(self.scales) * (2 if self.flip else 1)
        if self.kind == "full":
            return 2 if self.flip else 1
        return self.count.max if isinstance(self.count, AdaptiveCount) else self.count

    @property
    def network_batch(self) -> int:
        """Samples that pass the network at once.

        Where each has a size of its own, it is one with its mirror image.
        """
        if self.kind in ("full", "scales"):
            return 2 if self.flip else 1
        return self.batch

    @property
    def per_chunk(self) -> int:
        """Samples summed into one stored chunk."""
        if self.kind == "sliding" and self.samples_per_chunk == "count":
            return MOST_SAMPLES
        return self.total if self.samples_per_chunk == "count" else self.samples_per_chunk


class NetworkAffinity(Section):
    """How alike two places are to a second network, which stays as it is."""

    network: str = Field(
        min_length=1,
        description="The network, as `classifier.architecture` names one, such as "
        "timm:vit_small_patch14_dinov2.",
    )
    weights: str = Field(min_length=1, description="Its state-dict file (torch's or .safetensors).")
    layer: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="The layer whose output is compared, by its name in the network, as in its "
        "state dict; null: the last features.",
    )
    input_size: Annotated[Int, Field(ge=32, le=4096)] = Field(
        224, description="Shorter side in pixels at which it sees the image."
    )
    neighbours: Annotated[Int, Field(ge=1, le=1024)] = Field(
        32, description="How many places, the place itself included, one step may reach at most."
    )
    least: Annotated[Float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Cosine similarity that a step needs; those of a lower one aren't made."
    )


_WALKS: dict[str, dict[str, Any]] = {
    "colour": {"steps": 64},
    "attention": {"steps": 1},
    "network": {"steps": 2},
}
"""Defaults of a random walk by what decides its steps."""
_OF_COLOURS = ("radius", "stride", "colour", "features")
_OF_ATTENTION = ("blocks", "sinkhorn")


class RandomWalk(GrowingSection):
    """A random walk of the scores between places that are alike."""

    newer: ClassVar[tuple[str, ...]] = ("affinity", "blocks", "sinkhorn", "box")

    steps: Annotated[Int, Field(ge=1, le=10_000)] = Field(
        64,
        description="Length of the walk. Where it is not given: 64; with affinity: attention 1, "
        "with that of another network 2.",
    )
    radius: Annotated[Int, Field(ge=1, le=50)] = Field(
        5, description="Pixels of the walk's grid that one step may reach."
    )
    stride: Annotated[Int, Field(ge=1, le=64)] = Field(
        4, description="Side in pixels of the image of one cell of the walk's grid."
    )
    colour: Annotated[Float, Field(gt=0)] = Field(
        0.03,
        description="How much colours may differ from step to step: standard deviation, for RGB "
        "in [0, 1].",
    )
    features: Annotated[Float, Field(gt=0)] | None = Field(
        None,
        description="How much the classifier's last features, scaled to length 1, may differ from "
        "step to step: standard deviation; null: they play no part, and no network is run.",
    )
    affinity: Literal["colour", "attention"] | NetworkAffinity = Field(
        "colour",
        description="What makes places alike. colour: nearness and colours, and `features` if "
        "given; attention: what the classifier's patches attend to, for vision transformers; "
        "{network, weights}: the features of another network. With the last two the walk's grid "
        "is the network's, and radius, stride, colour and features have no part.",
    )
    blocks: Annotated[Int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="How many of the last blocks' attention is averaged, with affinity: attention; "
        "null: all.",
    )
    sinkhorn: Annotated[Int, Field(ge=0, le=1000)] = Field(
        0,
        description="With affinity: attention, make it symmetric: divide by the sums of columns "
        "and rows, this many times each, and take the mean with its transpose. 0: as it is.",
    )
    box: PositiveFraction | None = Field(
        None,
        description="Only scores walk that lie in the boxes around the regions where the map has "
        "at least this share of its maximum; null: all.",
    )

    @model_validator(mode="before")
    @classmethod
    def _affinities_bring_their_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        affinity = data.get("affinity", "colour")
        kind = affinity if isinstance(affinity, str) else "network"
        return {**_WALKS.get(kind, {}), **data}

    @model_validator(mode="after")
    def _keys_belong_to_the_affinity(self) -> RandomWalk:
        fields = type(self).model_fields
        for keys, theirs in ((_OF_COLOURS, "colour"), (_OF_ATTENTION, "attention")):
            for key in keys:
                if self.affinity != theirs and getattr(self, key) != fields[key].default:
                    raise ValueError(f"{key} is for affinity: {theirs}; leave it out")
        return self

    @property
    def asks_a_network(self) -> bool:
        """Whether a network must see the image."""
        return self.affinity != "colour" or self.features is not None

    @property
    def weights(self) -> str | None:
        """The file of another network's weights, if it asks one."""
        return self.affinity.weights if isinstance(self.affinity, NetworkAffinity) else None

    def plain(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return its plain data: keys that have no part in it are left out."""
        kept = super().plain(data)
        unused = () if self.affinity == "colour" else _OF_COLOURS
        return {key: value for key, value in kept.items() if key not in unused}


class Aggregation(Section):
    """How the samples of an image become one map per present class."""

    combine_samples: Literal["mean", "max"] = Field(
        "mean", description="Over the samples of a pixel."
    )
    weight: Literal["uniform", "probability"] = Field(
        "uniform",
        description="A sample's weight: 1, or the classifier's probability of the class.",
    )
    normalise_samples: Literal["none", "max", "mean"] = Field(
        "none", description="Divide each sample's map by its maximum or mean before it is summed."
    )
    smoothing: Annotated[Float, Field(ge=0.0, le=1.0)] = Field(
        0.0, description="Sigma of a Gaussian filter, as a share of sqrt(height x width)."
    )
    subtract_others: Annotated[Float, Field(ge=0.0)] = Field(
        0.0, description="Share of the other present classes' strongest map to subtract."
    )
    random_walk: RandomWalk | None = Field(
        None,
        description="Refine the maps by a random walk over the image; {} walks with the defaults.",
    )
    percentile: Annotated[Float, Field(gt=0.0, le=100.0)] = Field(
        100.0, description="Percentile of a map that becomes 1; 100 is its maximum."
    )


class Recipe(GrowingSection):
    """A way from a classifier to score maps."""

    newer: ClassVar[tuple[str, ...]] = ("output_stride", "imported", "network")

    samples_from: str | None = Field(
        None,
        description="Take the samples that another recipe of this run computes; only "
        "samples.count (how many of them, from the first) and aggregation are this recipe's own.",
    )
    method: str = Field(description="Attribution method; `ws3 recipes --methods` lists them.")
    samples: Samples = Field(default_factory=lambda: Samples(kind="full"))
    aggregation: Aggregation = Field(default_factory=Aggregation)
    reduce_channels: Literal["max", "mean", "l2", "sum", "net"] = Field(
        "max",
        description="How a pixel's channels become one number (gradient-like methods); all but net "
        "take each channel's sign away first, net adds the channels with their signs.",
    )
    sign: Literal["abs", "positive"] = Field(
        "abs", description="abs: strength whatever the sign; positive: negative values become 0."
    )
    target: Literal["logit", "log_odds"] = Field(
        "logit",
        description="What is explained: the class's logit, or its log-odds, the logit minus the "
        "log-sum-exp of all other classes', which leaves out what speaks for every class alike.",
    )
    smooth_relu: Annotated[Float, Field(gt=0.0)] | None = Field(
        None,
        description="Sharpness of the softplus whose derivative replaces the step of every ReLU in "
        "the backward pass; null: the exact gradient.",
    )
    output_stride: Literal[8, 16] | None = Field(
        None,
        description="Let the network's last features have this stride, by dilated layers with the "
        "same weights: maps are two or four times finer per side, and cost more. null: the stride "
        "that the classifier was trained with.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the method itself, such as steps."
    )
    precision: Literal["fp32", "tf32", "bf16", "auto"] = Field(
        "fp32",
        description="Arithmetic of the network; auto, decided once per run: bf16 where the recipe "
        "averages 12 or more random samples, the network has no grouped convolutions and the CPU "
        "multiplies bf16; else fp32.",
    )
    imported: Import | None = Field(
        None,
        alias="import",
        description="Take maps or masks that another program made; the recipe has no other keys.",
    )
    network: str | None = Field(
        None,
        description="Take as maps what the segmentation network that this recipe's masks trained "
        "makes of the image's labels: a second round. The recipe has no other keys.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_samples_it_is_its_own_method(cls, data: Any) -> Any:
        given = [
            key for key in WITHOUT_SAMPLES if isinstance(data, dict) and data.get(key) is not None
        ]
        if not given:
            return data
        method = given[0]
        others = [
            key
            for key in data
            if key not in (method, "method") and (key in cls.model_fields or key in WITHOUT_SAMPLES)
        ]
        if others or data.get("method", method) != method:
            key = others[0] if others else "method"
            raise ValueError(f"a recipe with {method} has no {key}; leave it out")
        return {**data, "method": method}

    @model_validator(mode="after")
    def _only_a_mean_settles(self) -> Recipe:
        if self.samples.adaptive is not None and self.aggregation.combine_samples == "max":
            raise ValueError(
                "samples.count: the error of a maximum can't be told from its samples; with "
                "combine_samples: max give a number"
            )
        return self

    def _repr_html_(self) -> str:
        # Jupyter's; the report stands far above this floor.
        return str(load_object("ws3.report.notebook:recipe_html")(self))

    def plain(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return its plain data: without samples it has no settings of them."""
        kept = super().plain(data)
        if self.has_samples:
            return kept
        return {key: value for key, value in kept.items() if key in ("method", *WITHOUT_SAMPLES)}

    @property
    def has_samples(self) -> bool:
        """Whether its maps are made of samples, and not of files or a segmentation network's."""
        return self.imported is None and self.network is None

    @property
    def averages(self) -> bool:
        """Whether every image is an average of enough random samples for rounding to be lost."""
        samples = self.samples
        least = samples.total
        if samples.adaptive is not None:
            least = min(least, 2 * samples.per_chunk)
        return samples.kind in ("crops", "noise", "masking") and least >= _AVERAGED

    @property
    def stopping(self) -> dict[str, float] | None:
        """All that decides after how many samples the image stops; None where a number is given."""
        count = self.samples.adaptive
        if count is None:
            return None
        return {**count.model_dump(), "smoothing": self.aggregation.smoothing}


def sharing_problem(recipe: Recipe, source_recipe: Recipe) -> str:
    """Return why a recipe can't be made from another's samples, or an empty string.

    A stored chunk can't be divided, and sums can't be given other weights.
    """
    if not source_recipe.has_samples:
        return "there are no samples of the imported recipe or network"
    own, given = (
        one.model_dump(exclude={"samples_from": True, "aggregation": True, "samples": {"count"}})
        for one in (recipe, source_recipe)
    )
    differing = [key for key in {**own, **given} if own.get(key) != given.get(key)]
    if differing:
        return f"{differing[0]} must be that of"
    if recipe.samples.count != source_recipe.samples.count and (
        recipe.samples.adaptive or source_recipe.samples.adaptive
    ):
        return "samples.count, where it is adaptive, must be that of"
    mine, theirs = recipe.aggregation, source_recipe.aggregation
    for key in () if source_recipe.samples.keep_samples else SUMMED:
        if getattr(mine, key) != getattr(theirs, key):
            return f"aggregation.{key} needs keep_samples: true, or must be that of"
    count, total, chunk = (
        recipe.samples.total,
        source_recipe.samples.total,
        source_recipe.samples.per_chunk,
    )
    if count > total:
        return f"samples.count: {count} is more than the {total} samples of"
    if count < total and count % chunk:
        return f"samples.count: {count} must be a multiple of samples_per_chunk ({chunk}) of"
    return ""
