"""The registry: ws3's own metrics are complete, and a bad one of a package is named."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from ws3 import registry
from ws3.errors import Ws3Error
from ws3.metrics.base import Counts, Metric
from ws3.metrics.confusion import ConfusionMetric
from ws3.metrics.registry import METRICS, RESERVED, all_metrics


class Dice(ConfusionMetric):
    name, title, formula = "dice", "Dice", "2 TP / (2 TP + FP + FN)"

    def values(self, counts):
        return counts.recall()


class Nameless(Dice):
    name = "other"


class Threshold(Dice):
    name = "threshold"


class Loud(Dice):
    name = "Loud"


class Untitled(Metric[Any]):
    name = "untitled"

    def per_class(self, counts):
        return counts.recall()[1:]


class Uncounted(Dice):
    name = "uncounted"
    counts = dict  # type: ignore[assignment] # what is tested


class Abstract(ConfusionMetric):
    name, title, formula = "abstract", "Abstract", "none"


class HalfCounts(Counts):
    def __init__(self, classes):
        pass


class HalfCounted(Dice):
    name = "half_counted"
    counts = HalfCounts  # type: ignore[assignment] # what is tested


not_a_class = Dice()


@pytest.fixture
def install(monkeypatch):
    """Return a function that adds an entry point of another package."""

    def add(name, value):
        point = EntryPoint(name, f"{__name__}:{value}", METRICS.group)
        found = {METRICS.group: [point]}
        monkeypatch.setattr(registry, "entry_points", lambda group: found.get(group, []))

    return add


def test_own_metrics_are_complete_and_of_distinct_names():
    metrics = all_metrics()
    assert len({metric.name for metric in metrics}) == len(metrics)
    assert len({metric.class_name for metric in metrics}) == len(metrics)
    assert len({metric.title for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert METRICS[metric.name] is type(metric)
        assert metric.name not in RESERVED
        assert metric.description.endswith(f"{metric.direction.capitalize()} is better.")
        assert type(metric).__doc__


def test_a_metric_of_another_package_comes_last(install):
    install("dice", "Dice")
    *own, last = all_metrics()
    assert isinstance(last, Dice)
    assert [metric.name for metric in own] == list(METRICS.own)


def test_own_names_are_not_taken(install):
    install("miou", "Dice")
    assert "Dice" not in [metric.title for metric in all_metrics()]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "dice",
            "missing",
            "the metric dice can't be imported from .*; mend or remove the package",
        ),
        ("dice", "not_a_class", "must be a subclass of ws3.metrics.base.Metric"),
        ("dice", "HalfCounts", "must be a subclass of ws3.metrics.base.Metric"),
        ("dice", "Nameless", "its attribute name must be 'dice'"),
        ("threshold", "Threshold", "choose another name"),
        ("Loud", "Loud", "choose another name"),
        ("untitled", "Untitled", "lacks title, formula, counts"),
        ("uncounted", "Uncounted", "counts must be a subclass of ws3.metrics.base.Counts"),
        ("abstract", "Abstract", "lacks values"),
        ("half_counted", "HalfCounted", "lacks add"),
    ],
)
def test_a_bad_metric_is_named(install, name, value, words):
    install(name, value)
    with pytest.raises(Ws3Error, match=words):
        all_metrics()


def test_a_share_is_shown_in_percent_and_any_other_unit_as_it_is():
    class Distance(Dice):
        unit = "px"

    assert Dice().text(0.1234) == "12.3"
    assert Distance().text(12.345) == "12.3"
