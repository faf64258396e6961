"""The jobs of a run as a graph, against Snakemake's own, and its reduction against walking."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snake import snakemake

from ws3.config.load import resolve
from ws3.report.figures import DARK
from ws3.report.graph_drawing import graph_drawing
from ws3.run.folder import Run
from ws3.run.graph import JobGraph, Node, job_graph
from ws3.stages.index import index, write_config

DATASET = {"kind": "synthetic", "train_images": 3, "val_images": 2, "size": 48, "classes": 2}
PLAIN: dict[str, Any] = {
    "run": "plain",
    "device": "cpu",
    "dataset": DATASET,
    "recipes": {"cam": {"preset": "cam"}},
    "masks": {"background": {"kind": "constant", "score": 0.3}},
}
CROPS = {"preset": "gradient_crops", "samples": {"count": 12, "samples_per_chunk": 6}}
FULL: dict[str, Any] = {
    **PLAIN,
    "run": "full",
    "classifier": {"architecture": "resnet18"},
    "recipes": {
        "cam": {"preset": "cam"},
        "crops": CROPS,
        "smooth": {"samples_from": "crops", "aggregation": {"percentile": 90}},
        "second": {"network": "crops"},
    },
    "masks": {
        "background": {"kind": "tuned", "split": "train"},
        "regions": {"kind": "felzenszwalb"},
    },
    "segmentation": {
        "recipes": ["crops"],
        "fully_supervised": True,
        "architecture": "lraspp_resnet18",
        "weights": "classifier",
    },
    "images_per_job": 1,
}


def graph_of(config: dict[str, Any], folder: Path) -> JobGraph:
    run = Run.of(resolve({**config, "results": str(folder)}))
    write_config(run)
    index(run)
    return job_graph(run)


def rules_of_snakemake(config: dict[str, Any], folder: Path) -> set[tuple[str, str]]:
    done = snakemake(folder, "--rulegraph", config={**config, "results": "results"})
    assert done.returncode == 0, done.stderr
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', done.stdout))
    edges = re.findall(r"(\d+) -> (\d+)", done.stdout)
    return {(names[a], names[b]) for a, b in edges if names[b] != "all"}


@pytest.mark.slow
@pytest.mark.parametrize("config", [PLAIN, FULL], ids=lambda config: config["run"])
def test_the_rules_are_connected_as_snakemake_has_them(config, tmp_path) -> None:
    assert graph_of(config, tmp_path / "own").rules == rules_of_snakemake(config, tmp_path)


def test_recipes_have_chains_of_their_own_and_share_what_is_shared(tmp_path) -> None:
    graph = graph_of(FULL, tmp_path)
    assert graph.nodes["saliency", "crops"] == 5  # images, one in a job
    assert ("saliency", "smooth") not in graph.nodes
    assert (("saliency", "crops"), ("maps", "smooth")) in graph.reduced()
    assert (("threshold", "cam"), ("evaluate", "smooth")) in graph.edges
    assert (("masks", "crops"), ("train_segmentation", "ground_truth")) not in graph.edges
    assert (("train_segmentation", "crops"), ("maps", "second")) in graph.reduced()
    assert graph.recipes == ("cam", "crops", "smooth", "second", "ground_truth")
    by_rule = graph.by_rule()
    assert by_rule.nodes["maps", ""] == 20
    assert by_rule.rules == graph.rules - {("train_segmentation", "maps")}
    assert by_rule.reduced() < by_rule.edges


def test_maps_that_are_imported_need_no_classifier(tmp_path) -> None:
    (tmp_path / "maps").mkdir()
    recipes = {"theirs": {"import": {"maps": str(tmp_path / "maps")}}}
    config = resolve({**PLAIN, "recipes": recipes, "reference_recipe": "theirs"})
    run = Run.of(config.model_copy(update={"results": str(tmp_path)}))
    from ws3.run.graph import _edges

    edges = set(_edges(run.config))
    assert (("index", ""), ("maps", "theirs")) in edges
    assert not any("saliency" in (a[0], b[0]) or a[0] == "train_classifier" for a, b in edges)


@st.composite
def graphs(draw: Any) -> JobGraph:
    nodes: list[Node] = [(f"rule{number}", "") for number in range(draw(st.integers(1, 7)))]
    pairs = [(a, b) for place, a in enumerate(nodes) for b in nodes[place + 1 :]]
    edges = frozenset(pair for pair in pairs if draw(st.booleans()))
    # In any order: that of the table of jobs is not one of the data everywhere.
    shuffled = draw(st.permutations(nodes))
    return JobGraph(dict.fromkeys(shuffled, 1), edges, "cam")


def walked(edges: frozenset[tuple[Node, Node]]) -> set[tuple[Node, Node]]:
    """Return all pairs with a way from the first to the second."""
    found = set(edges)
    while True:
        more = {(a, d) for a, b in found for c, d in found if b == c} - found
        if not more:
            return found
        found |= more


@given(graphs())
def test_a_reduced_graph_leads_wherever_the_whole_one_does_and_no_edge_can_go(graph) -> None:
    reduced = graph.reduced()
    assert reduced <= graph.edges
    assert walked(reduced) == walked(graph.edges)
    for edge in reduced:
        assert edge not in walked(reduced - {edge})


def test_the_picture_has_a_box_for_each_job_and_none_lies_on_another(tmp_path) -> None:
    graph = graph_of(FULL, tmp_path)
    axes = graph_drawing(graph, DARK).axes[0]
    boxes = [patch.get_path().get_extents() for patch in axes.patches]
    assert len(boxes) == len(graph.nodes)
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            apart = one.x1 <= other.x0 or other.x1 <= one.x0
            assert apart or one.y1 <= other.y0 or other.y1 <= one.y0
    # A second round stands below the network that makes its maps.
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    places = sorted(text.get_position()[1] for text in axes.texts if "maps" in text.get_text())
    assert places[-1] > heights["train segmentation"] - 0.01
    assert places[0] < heights["masks\n5 jobs"]
    words = [text.get_text() for text in axes.texts]
    assert {"cam\n(reference)", "crops", "smooth", "fully supervised"} <= set(words)
    assert "saliency\n5 jobs" in words


def test_of_many_recipes_one_lane_stands_for_all() -> None:
    names = [f"r{number}" for number in range(9)]
    edges = frozenset((("index", ""), ("maps", name)) for name in names)
    graph = JobGraph({("index", ""): 1, **{("maps", name): 2 for name in names}}, edges, "r0")
    words = [text.get_text() for text in graph_drawing(graph).axes[0].texts]
    assert sorted(filter(None, words)) == ["9 recipes", "index", "maps\n18 jobs"]
