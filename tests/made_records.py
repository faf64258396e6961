"""Complete records for tests that begin in the middle of a run."""

from __future__ import annotations

from typing import Any

from ws3.run.records import ClassifierFacts, ClassifierMetrics, SegmentationFacts, Threshold


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


def constant_threshold(recipe: str, score: float = 0.3) -> Threshold:
    """Return a constant threshold of a recipe."""
    background = {"kind": "constant", "score": score}
    return Threshold(recipe=recipe, background=background, kind="constant")
