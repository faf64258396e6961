"""All metrics, in the order of the report's columns: ws3's own, then those of other packages."""

from __future__ import annotations

import re
from typing import Any

from ws3.errors import Ws3Error
from ws3.metrics.base import Counts, Metric
from ws3.metrics.boundary import MeanBoundaryIou
from ws3.metrics.confusion import (
    FalseNegativeShare,
    FalsePositiveShare,
    MeanIou,
    Precision,
    Recall,
)
from ws3.metrics.distance import FarRecall, NearRecall
from ws3.metrics.image_counts import POOLED_FIGURES
from ws3.metrics.pixel_ap import MeanPixelAp
from ws3.metrics.regions import (
    DiscriminativePartRecall,
    DrRecall,
    FprRegionRate,
    NdrRecall,
    SharedPartRecall,
    TnRegionRate,
)
from ws3.registry import Registry

_OWN: tuple[type[Metric[Any]], ...] = (
    *(MeanIou, Precision, Recall, MeanPixelAp, MeanBoundaryIou),
    *(FalsePositiveShare, FalseNegativeShare),
    *(DrRecall, NdrRecall, FprRegionRate, TnRegionRate),
    *(NearRecall, FarRecall),
    *(DiscriminativePartRecall, SharedPartRecall),
)

METRICS: Registry[type[Metric[Any]]] = Registry(
    "metric", "ws3.metrics", {metric.name: metric for metric in _OWN}
)

RESERVED = (
    *("recipe", "seed", "split", "stage", "runs", "images"),
    *("threshold", "threshold_kind", "threshold_split", "ignored_share"),
    *("oracle_miou", "oracle_threshold"),
    *(f"{name}_{end}" for name in POOLED_FIGURES for end in ("low", "high")),
)
"""Names of other columns of the tables, which no metric may have."""


def all_metrics() -> tuple[Metric[Any], ...]:
    """Return every metric.

    Raises:
        Ws3Error: If a metric of another package can't be imported or used.

    Example:
        >>> print(*(metric.name for metric in all_metrics() if metric.table == "scores"))
        miou precision recall pxap boundary_iou fp_share fn_share
    """
    return tuple(_usable(name) for name in METRICS)


def _usable(name: str) -> Metric[Any]:
    """Return a metric by name, or say what its class lacks."""
    entry = METRICS[name]
    problem = ""
    if not (isinstance(entry, type) and issubclass(entry, Metric)):
        problem = "it must be a subclass of ws3.metrics.base.Metric"
    elif getattr(entry, "name", None) != name:
        problem = f"its attribute name must be {name!r}, as the entry point's"
    elif not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in RESERVED:
        problem = "choose another name: lower case, and no other column's"
    elif missing := [key for key in ("title", "formula", "counts") if not hasattr(entry, key)]:
        problem = f"it lacks {', '.join(missing)}"
    elif not (isinstance(entry.counts, type) and issubclass(entry.counts, Counts)):
        problem = "its attribute counts must be a subclass of ws3.metrics.base.Counts"
    elif entry.__abstractmethods__ or entry.counts.__abstractmethods__:
        lacking = sorted(entry.__abstractmethods__ | entry.counts.__abstractmethods__)
        problem = f"it lacks {', '.join(lacking)}"
    if problem:
        raise Ws3Error(f"the metric {name} can't be used: {problem}")
    return entry()


__all__ = ["METRICS", "RESERVED", "all_metrics"]
