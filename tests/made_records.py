"""Complete records for tests that begin in the middle of a run."""

from __future__ import annotations

from typing import Any

from ws3.run.provenance import Provenance
from ws3.run.records import (
    ClassFigures,
    ClassifierFacts,
    ClassifierMetrics,
    DistanceProfile,
    Evaluation,
    SegmentationFacts,
    StageFigures,
    Threshold,
)


def classifier_facts(sha256: str = "c0", **changes: Any) -> ClassifierFacts:
    """Return the facts of a classifier that nobody trained."""
    facts: dict[str, Any] = {
        "architecture": "resnet18",
        "classes": (),
        "input_size": 64,
        "epochs": 0,
        "fingerprint": "",
        "sha256": sha256,
        "metrics": ClassifierMetrics(split="val", mean_ap=None, per_class_ap={}),
    }
    return ClassifierFacts(**{**facts, **changes})


def segmentation_facts(sha256: str = "m0", **changes: Any) -> SegmentationFacts:
    """Return the facts of a segmentation network that nobody trained."""
    facts: dict[str, Any] = {
        "recipe": "crops",
        "architecture": "lraspp_mobilenet_v2",
        "fingerprint": "",
        "sha256": sha256,
        "images": 1,
        "epochs": (),
    }
    return SegmentationFacts(**{**facts, **changes})


def provenance_facts(**changes: Any) -> Provenance:
    """Return where the results of a run without stages come from."""
    facts: dict[str, Any] = {
        "run": "made",
        "ws3": "0.2.0",
        "commit": "",
        "format": 2,
        "seed": 0,
        "device": "cpu",
        "precisions": {},
        "threads": 1,
        "host": "here",
        "system": "Linux",
        "python": "3.11",
        "versions": {},
        "computed_with": {},
        "index": "",
        "stages": (),
        "config": {},
    }
    return Provenance(**{**facts, **changes})


def constant_threshold(recipe: str, score: float = 0.3) -> Threshold:
    """Return a constant threshold of a recipe."""
    background = {"kind": "constant", "score": score}
    return Threshold(recipe=recipe, background=background, kind="constant")


def stage_figures(**values: Any) -> StageFigures:
    """Return the figures of one stage; what is no fact of the stage is a metric's figure."""
    facts: dict[str, Any] = {
        "images": 1,
        "threshold": None,
        "threshold_kind": "",
        "threshold_split": "",
        "ignored_share": None,
        "per_class": {},
        "sweep": None,
        "distances": None,
        "confusion": None,
        "oracle": None,
        "intervals": {},
    }
    given = {name: values.pop(name) for name in facts if name in values}
    classes = {
        name: ClassFigures(images=figures.pop("images", 1), figures=figures)
        for name, figures in ((n, dict(f)) for n, f in given.pop("per_class", {}).items())
    }
    return StageFigures(**{**facts, **given, "per_class": classes, "figures": values})


def distance_profile(*found: float | None) -> DistanceProfile:
    """Return a profile of no class in particular."""
    return DistanceProfile(found=found, per_class={}, pixels={})


def evaluation_of(
    recipe: str, splits: dict[str, Any], reference: str = "cam", **facts: Any
) -> Evaluation:
    """Return a recipe's evaluation.

    Args:
        recipe: Its name.
        splits: The keywords of `stage_figures` by stage, by split.
        reference: The reference recipe.
        facts: Other fields, such as `classes`.
    """
    return Evaluation(
        recipe=recipe,
        seed=3,
        reference=reference,
        **{"classes": (), **facts},
        splits={
            split: {stage: stage_figures(**values) for stage, values in stages.items()}
            for split, stages in splits.items()
        },
    )
