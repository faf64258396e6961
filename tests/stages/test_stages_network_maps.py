"""A second round: maps that a segmentation network of the run makes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bare_runs import config_of, dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import give_network
from stage_work import work

from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import file_sha256
from ws3.jobs.runner import open_stage
from ws3.run.records import write_record
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image
from ws3.segmentation.model import load_model
from ws3.stages.network_maps import among_labels

__all__ = ["config_of", "dataset"]

CROPS = "saliency_crops"
SECOND = {"recipes__second": {"network": CROPS}}


@pytest.fixture
def run(small_run):
    run = small_run(**SECOND)
    give_network(run, CROPS)
    return run


def test_the_labels_share_what_the_network_gives_them_and_the_background():
    seen = np.array([0.1, 0.3, 0.4, 0.2], np.float32).reshape(4, 1, 1)
    assert among_labels(seen, [1, 3]).ravel() == pytest.approx([0.3 / 0.6, 0.2 / 0.6])
    # Of nothing but another class there is neither label nor background.
    sure = np.array([0.0, 0.0, 1.0, 0.0], np.float32).reshape(4, 1, 1)
    assert among_labels(sure, [1, 3]).ravel().tolist() == [0, 0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.data())
def test_the_strongest_of_labels_and_background_stays_the_strongest(seed, classes, data):
    logits = np.random.default_rng(seed).normal(0, 4, (classes, 3, 5))
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    labels = st.lists(st.integers(1, classes - 1), unique=True, min_size=1)
    values = sorted(data.draw(labels))
    maps = among_labels(probabilities, values)
    assert ((maps >= 0) & (maps <= 1)).all()
    background = 1 - maps.sum(axis=0)
    together = np.concatenate([background[None], maps])
    assert (together.argmax(axis=0) == probabilities[[0, *values]].argmax(axis=0)).all()


def test_maps_are_the_networks_probabilities_given_the_labels(run):
    work(run, "maps", "second")
    network = load_model(run.model_file(CROPS)).network
    network.double()
    results = RecipeResults(run, "second")
    for row in run.index.rows:
        # The small run predicts at one size, without mirrored images.
        assert run.config.segmentation.test_scales == (1.0,)
        image = load_image(row)
        views = [image, image[:, ::-1]] if run.config.segmentation.test_flip else [image]
        total = np.zeros(())
        for number, view in enumerate(views):
            unit = torch.from_numpy(np.ascontiguousarray(view)).double().permute(2, 0, 1) / 255
            mean = torch.tensor([0.485, 0.456, 0.406]).double()[:, None, None]
            deviation = torch.tensor([0.229, 0.224, 0.225]).double()[:, None, None]
            with torch.no_grad():
                logits = network(((unit - mean) / deviation)[None])["out"]
            probabilities = torch.softmax(logits, dim=1)[0].numpy()
            total = total + (probabilities[:, :, ::-1] if number else probabilities)
        seen = total[[0, *run.class_values(row)]]
        np.testing.assert_allclose(results.maps(row), seen[1:] / seen.sum(axis=0), atol=2e-3)


def test_another_network_makes_the_maps_stale(run):
    work(run, "maps", "second")
    row = run.index.rows[0]
    before = RecipeResults(run, "second").fingerprints.of("maps", row)
    RecipeResults(run, "second").maps(row)
    model = run.model_file(CROPS)
    receipt = run.segmentation(CROPS)
    model.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(StaleResultError, match=f"train-segmentation .* --recipe {CROPS}"):
        open_stage(run, "maps", "second")
    write_record(
        run.receipt("train_segmentation", CROPS),
        receipt.model_copy(update={"sha256": file_sha256(model)}),
    )
    assert RecipeResults(run, "second").fingerprints.of("maps", row) != before
    with pytest.raises(StaleResultError, match="made from other inputs"):
        RecipeResults(run, "second").maps(row)


def test_before_the_network_is_trained_it_says_what_trains_it(small_run):
    run = small_run(**SECOND)
    with pytest.raises(StaleResultError, match=r"train_segmentation.*this file is missing"):
        open_stage(run, "maps", "second")
    with pytest.raises(Ws3Error, match=r"has no samples \(network\)"):
        open_stage(run, "saliency", "second")


@pytest.mark.parametrize(
    ("recipes", "trained", "sentence"),
    [
        ({"x": {"network": "cam"}}, [], "'cam' trains no network; add it to segmentation.recipes"),
        ({"x": {"network": "gone"}}, ["cam"], "'gone' trains no network; .* has: cam"),
        ({"x": {"network": "x"}}, ["x"], "recipes.x.network: 'x' would learn from its own"),
        (
            {"x": {"network": "y"}, "y": {"network": "x"}},
            ["x", "y"],
            "would learn from its own predictions",
        ),
        ({"x": {"network": "cam", "samples": {}}}, ["cam"], "a recipe with network has no samples"),
        ({"x": {"network": "cam", "import": {"maps": "a"}}}, ["cam"], "has no network"),
        ({"x": {"network": "cam"}, "y": {"samples_from": "x"}}, ["cam"], "no samples"),
    ],
)
def test_a_network_must_be_one_that_another_recipe_trains(config_of, recipes, trained, sentence):
    data = config_of(segmentation__recipes=trained)
    data["recipes"] = {"cam": {"preset": "cam"}, **recipes}
    with pytest.raises(Ws3Error, match=sentence):
        resolve(data)


def test_a_run_reads_its_own_configuration_again(run):
    recipe = run.recipe("second")
    assert recipe.model_dump(mode="json") == {"method": "network", "network": CROPS}
    assert type(run).open(run.folder).recipe("second") == recipe
