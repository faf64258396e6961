"""`ws3 recipes --check`: shuffled weights, deletion and insertion."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import small_network
from torch import nn
from typer.testing import CliRunner

import ws3
from ws3.attribution.scorer import Scorer
from ws3.cli.app import app
from ws3.report.sanity import area
from ws3.run.sanity import RANDOM_ORDER
from ws3.tools.sanity import _likeness, _shuffled, deletion_and_insertion, rank_correlation


def red_mean() -> ws3.Classifier:
    """A classifier whose first logit is 8 times the mean of red, the mean colour being 0."""
    red = nn.Conv2d(3, 1, 1, bias=False)
    last = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        red.weight.copy_(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))
        last.weight.copy_(torch.tensor([[8.0], [0.0]]))
    nought, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return ws3.Classifier(red, last, ("red", "nothing"), nought, one, input_size=40)


def picture() -> Any:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :8, 0] = 255  # a fifth of the pixels
    return image


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def test_curves_are_those_calculated_by_hand() -> None:
    perfect = np.zeros((40, 40))
    perfect[:, :8] = 1
    deletion, insertion = deletion_and_insertion(red_mean(), picture(), perfect, 0)
    # A tenth of the pixels is half of the red ones.
    falling = [sigmoid(8 * share) for share in (0.2, 0.1, *[0.0] * 9)]
    rising = [sigmoid(8 * share) for share in (0.0, 0.1, *[0.2] * 9)]
    assert deletion == pytest.approx(falling, abs=1e-5)
    assert insertion == pytest.approx(rising, abs=1e-5)
    wrong = deletion_and_insertion(red_mean(), picture(), 1 - perfect, 0)
    assert area(wrong[0]) > area(deletion)
    assert area(wrong[1]) < area(insertion)


def test_a_class_that_no_pixel_speaks_for_has_flat_curves() -> None:
    deletion, insertion = deletion_and_insertion(red_mean(), picture(), np.ones((40, 40)), 1)
    assert deletion == insertion == [0.5] * 11


def test_rank_correlation_is_scipys() -> None:
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, (2, 6, 7)).astype(np.float16)
    expected = spearmanr(first.ravel(), second.ravel()).statistic
    assert rank_correlation(first, second) == pytest.approx(float(expected))
    assert rank_correlation(first, np.ones((6, 7))) == 0


def test_weights_are_shuffled_from_the_last_layer_down() -> None:
    classifier = small_network("resnet18")
    own = classifier.network.state_dict()

    def changed(depth: float) -> set[str]:
        other = _shuffled(classifier, depth, 0).network.state_dict()
        for name, value in own.items():
            assert torch.equal(value.flatten().sort()[0], other[name].flatten().sort()[0])
        return {name for name, value in own.items() if not torch.equal(value, other[name])}

    assert changed(0.0) == {"fc.weight", "fc.bias"}
    half = changed(0.5)
    assert "layer4.1.conv2.weight" in half
    assert "conv1.weight" not in half
    assert "conv1.weight" in changed(1.0)
    assert torch.equal(classifier.network.state_dict()["conv1.weight"], own["conv1.weight"])


def test_a_map_that_knows_no_class_stays_as_it_is_when_the_last_layer_is_shuffled() -> None:
    classifier = small_network("vit")
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def maps(network: ws3.Classifier, method: str) -> list[Any]:
        return [Scorer(network, {"method": method}).maps(pixels, ["cat", "dog"])]

    shuffled = _shuffled(classifier, 0.0, 0)
    for method, expected in (("attention_rollout", True), ("gradient", False)):
        likeness = _likeness(maps(classifier, method), maps(shuffled, method))
        assert likeness is not None
        assert (likeness > 0.999) == expected
    all_of_it = _likeness(
        maps(classifier, "attention_rollout"),
        maps(_shuffled(classifier, 1.0, 0), "attention_rollout"),
    )
    assert all_of_it is not None
    assert all_of_it < 0.9


@pytest.mark.slow
def test_the_command_writes_tables_and_a_chart(small_run) -> None:
    run = small_run(
        recipes={"cam": {"preset": "cam"}, "saliency": {"preset": "gradient"}},
        segmentation__recipes=["saliency"],
    )

    def checked() -> dict[str, bytes]:
        result = CliRunner().invoke(app, ["recipes", "--check", str(run.folder), "--images", "1"])
        assert result.exit_code == 0, result.output
        assert "chart.svg" in result.output
        return {path.name: path.read_bytes() for path in (run.folder / "sanity").iterdir()}

    files = checked()
    assert set(files) == {
        "check.json",
        *("randomisation.csv", "curves.csv", "summary.csv", "chart.svg"),
    }
    rows = list(csv.DictReader(files["summary.csv"].decode().splitlines()))
    assert [row["recipe"] for row in rows] == [*run.config.recipes, RANDOM_ORDER]
    assert all(0 < float(row["deletion_area"]) < 1 for row in rows)
    depths = list(csv.DictReader(files["randomisation.csv"].decode().splitlines()))
    assert len(depths) == 5 * len(run.config.recipes)
    assert all(row["rank_correlation"] for row in depths)
    curves = list(csv.DictReader(files["curves.csv"].decode().splitlines()))
    # All pixels are there before any is deleted, and when all are inserted.
    by_recipe = {row["recipe"]: row for row in curves if row["pixels"] == "0.0"}
    ends = {row["recipe"]: row for row in curves if row["pixels"] == "1.0"}
    for name, row in by_recipe.items():
        assert float(row["deletion"]) == pytest.approx(float(ends[name]["insertion"]))
    assert checked() == files
