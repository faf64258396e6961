"""Maps whose random walk asks a network: what they depend on, and what is said where they can't."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import small_network

import ws3
from ws3.aggregation.random_walk import random_walk
from ws3.attribution.seeing import SimilarityReader
from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import open_stage, run_images
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image
from ws3.stages.index import write_config

CROPS = "saliency_crops"


def work(run, stage):
    run_images(run, open_stage(run, stage, CROPS), run.index.rows[:1])


def walking(run, weights):
    """The run with a walk of the crops' maps between places alike to a second network."""
    data = run.config.model_dump(mode="json")
    affinity = {
        "network": "resnet18",
        "weights": str(weights),
        "layer": "layer1",
        "input_size": 64,
        "neighbours": 4,
    }
    data["recipes"][CROPS]["aggregation"]["random_walk"] = {"affinity": affinity}
    changed = Run(run.folder, resolve(data))
    write_config(changed)
    return changed


def test_maps_depend_on_the_weights_and_not_on_where_they_lie(small_run, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(small_network("resnet18").network.state_dict(), weights)
    run = small_run()
    for stage in ("saliency", "maps"):
        work(run, stage)
    row = run.index.rows[0]
    plain = RecipeResults(run, CROPS).maps(row)
    walked = walking(run, weights)
    work(walked, "maps")
    found = RecipeResults(walked, CROPS).maps(row)
    settings = walked.recipe(CROPS).aggregation.random_walk
    image = load_image(row)
    expected = random_walk(image, plain, settings, SimilarityReader(settings.affinity)(image))
    # Both are scaled to a percentile, so up to a factor, and up to what that cut off.
    assert np.corrcoef(found[0].ravel(), expected[0].ravel())[0, 1] > 0.95
    assert not np.allclose(found, plain, atol=0.05)

    given = ws3.score_maps(
        ws3.load_classifier(run.classifier_file),
        image,
        row.labels,
        walked.recipe(CROPS),
        name=row.image,
        recipe_name=CROPS,
        seed=run.config.seed,
    )
    np.testing.assert_array_equal(given, found)

    moved = weights.rename(tmp_path / "elsewhere.pth")
    np.testing.assert_array_equal(RecipeResults(walking(run, moved), CROPS).maps(row), found)
    with pytest.raises(StaleResultError, match=r"affinity\.weights: .*weights\.pth can't be read"):
        RecipeResults(walking(run, weights), CROPS).maps(row)

    state = torch.load(moved, weights_only=True)
    state["conv1.weight"] *= 2
    torch.save(state, moved)
    with pytest.raises(StaleResultError, match="made from other inputs"):
        RecipeResults(walking(run, moved), CROPS).maps(row)


def test_attention_of_a_network_that_has_none_fails_in_a_sentence(small_run):
    run = small_run(
        **{f"recipes__{CROPS}__aggregation": {"random_walk": {"affinity": "attention"}}}
    )
    work(run, "saliency")
    with pytest.raises(Ws3Error, match=r"affinity: attention is for transformers .* use affinity:"):
        work(run, "maps")
