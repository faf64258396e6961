"""Recipes made from the samples of another one, and maps of only some training images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stage_work import work

from ws3.config.load import resolve
from ws3.errors import Ws3Error
from ws3.jobs.runner import open_stage, run_images
from ws3.run.batches import stage_batches
from ws3.run.results import RecipeResults
from ws3.stage_table import STAGES
from ws3.store.saliency import SaliencyStore
from ws3.workflow.plan import Plan

CROPS = "saliency_crops"
SAMPLES = {"kind": "crops", "count": 20, "samples_per_chunk": 5, "batch": 4}
RAW = {**SAMPLES, "keep_samples": True}


def recipes(source=SAMPLES, **others):
    return {
        "cam": {"preset": "cam"},
        CROPS: {"method": "gradient", "samples": source},
        **{name: {"samples_from": CROPS, **recipe} for name, recipe in others.items()},
    }


def configured(given):
    return {"run": "a", "dataset": {"kind": "synthetic"}, "recipes": given}


def test_the_first_samples_of_another_recipe_are_taken_as_they_are(small_run):
    run = small_run(recipes=recipes(first={"samples": {"count": 15}}), segmentation__recipes=[])
    work(run, "saliency", CROPS)
    computed = run.journal_file("saliency").read_text()
    for recipe in (CROPS, "first"):
        work(run, "maps", recipe)
    assert run.journal_file("saliency").read_text() == computed
    row = run.index.rows[0]
    store = SaliencyStore(run.results("saliency", CROPS))
    chunks: list[Any] = [store.read(row.image, name) for name in ("0", "1", "2")]
    sums: Any = sum(chunk.sums for chunk in chunks)
    weights: Any = sum(chunk.weights.astype(np.float32) for chunk in chunks)
    expected = sums / weights
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(RecipeResults(run, "first").maps(row), expected, atol=1e-3)
    assert not np.array_equal(
        RecipeResults(run, "first").maps(row), RecipeResults(run, CROPS).maps(row)
    )


def test_kept_samples_may_be_weighted_anew(small_run):
    weighted = {"aggregation": {"weight": "probability", "normalise_samples": "max"}}
    run = small_run(recipes=recipes(RAW, weighted=weighted), segmentation__recipes=[])
    row = run.index.rows[0]
    run_images(run, open_stage(run, "saliency", CROPS), [row])
    for recipe in (CROPS, "weighted"):
        run_images(run, open_stage(run, "maps", recipe), [row])
    assert not np.array_equal(
        RecipeResults(run, "weighted").maps(row), RecipeResults(run, CROPS).maps(row)
    )


def test_shared_samples_are_made_once_and_by_their_owner(small_run):
    run = small_run(recipes=recipes(first={"samples": {"count": 15}}), segmentation__recipes=[])
    plan = Plan(run.config.model_dump(mode="json"), check_files=False)
    batch = plan.batches("maps").names(["train"])[0]
    of_first = plan.input_receipts("maps", "first", batch, "saliency")
    assert of_first == plan.input_receipts("maps", CROPS, batch, "saliency")
    assert f"/saliency/{CROPS}/" in of_first[0]
    assert STAGES["saliency"].recipes(run.config) == ["cam", CROPS]
    with pytest.raises(Ws3Error, match=f"first takes its samples from {CROPS}; make those with"):
        open_stage(run, "saliency", "first")


def test_too_few_samples_to_cover_the_image_are_named(small_run):
    run = small_run(recipes=recipes(first={"samples": {"count": 5}}), segmentation__recipes=[])
    row = run.index.rows[0]
    run_images(run, open_stage(run, "saliency", CROPS), [row])
    with pytest.raises(Ws3Error, match="don't cover it; ask for 9 or more"):
        run_images(run, open_stage(run, "maps", "first"), [row])


def test_another_number_of_shared_samples_reruns_only_the_maps(small_run):
    one, other = (
        Plan(
            configured(recipes(first={"samples": {"count": count}})),
            check_files=False,
        )
        for count in (10, 15)
    )
    assert one.settings("maps", "first") != other.settings("maps", "first")
    assert one.settings("maps", CROPS) == other.settings("maps", CROPS)
    assert one.settings("saliency", CROPS) == other.settings("saliency", CROPS)


@pytest.mark.parametrize(
    ("source", "taker", "sentence"),
    [
        (SAMPLES, {"samples": {"count": 7}}, r"7 must be a multiple of samples_per_chunk \(5\) of"),
        (SAMPLES, {"samples": {"count": 25}}, "25 is more than the 20 samples of"),
        (SAMPLES, {"method": "input_x_gradient"}, "method must be that of"),
        (SAMPLES, {"samples": {"noise": 0.1}}, "samples must be that of"),
        (SAMPLES, {"output_stride": 16}, "output_stride must be that of"),
        (SAMPLES, {"aggregation": {"weight": "probability"}}, "weight needs keep_samples: true"),
        (SAMPLES, {"samples_from": "nobody"}, "'nobody' is not a recipe with samples of its own"),
        (SAMPLES, {"samples_from": "first"}, "'first' is not a recipe with samples of its own"),
    ],
)
def test_what_cannot_be_shared_is_refused(source, taker, sentence):
    with pytest.raises(Ws3Error, match=sentence):
        resolve(configured(recipes(source, first=taker)))


def test_a_resolved_configuration_resolves_to_itself():
    config = resolve(configured(recipes(first={"samples": {"count": 10}})))
    assert resolve(config.model_dump(mode="json")) == config
    assert config.recipes["first"].method == "gradient"


@pytest.mark.parametrize(("limit", "kept"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 3]), (9, range(5))])
def test_maps_of_only_some_training_images(small_run, limit, kept):
    run = small_run(evaluation__train_images=limit)
    train, val = (run.rows([split]) for split in ("train", "val"))
    assert run.mapped_rows(["train"]) == [train[number] for number in kept]
    assert run.mapped_rows(["train", "val"]) == [*(train[number] for number in kept), *val]
    batches = stage_batches(run.config, run.index, "maps")
    worked = [row for name in batches.names(["train", "val"]) for row in batches[name].rows]
    assert worked == run.mapped_rows(["train", "val"])
    plan = Plan(run.config.model_dump(mode="json"), check_files=False)
    assert len(plan.batches("masks").names(["train"])) == -(-len(kept) // 2)
