"""The jobs of a run as a graph: one node per rule and recipe, as Snakemake's `--rulegraph` has it.

The names, and what per-image stages are built on, are those of the table of stages; what the
other jobs read stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from ws3.config.masks import AutoBackground, TunedBackground
from ws3.config.run import GROUND_TRUTH, RunConfig
from ws3.config.segmentation import OWN_CLASSIFIER
from ws3.run.batches import stage_batches, stage_splits
from ws3.run.folder import Run
from ws3.stage_table import ALL_RECIPES, JOBS, STAGES

Node = tuple[str, str]
"""A rule and a recipe; the recipe is "" where a job is of the whole run."""

Edges = frozenset[tuple[Node, Node]]

SHARED = ("", ALL_RECIPES)
"""In a recipe's place: what is made once for all recipes."""

_ALONE = {"saliency": ("train_classifier", ""), "regions": ("index", "")}
"""What per-image stages need that are built on no other."""


@dataclass(frozen=True, slots=True)
class JobGraph:
    """The jobs of a run.

    Attributes:
        nodes: In the order of the data: rule and recipe -> number of jobs.
        edges: (earlier, later) wherever a job reads what another one makes.
        reference: The reference recipe.
    """

    nodes: dict[Node, int]
    edges: Edges
    reference: str

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes, and the ground truth, that have jobs of their own."""
        return tuple(dict.fromkeys(recipe for _, recipe in self.nodes if recipe not in SHARED))

    @property
    def rules(self) -> frozenset[tuple[str, str]]:
        """(earlier, later) rules, whatever the recipe."""
        return frozenset((one[0], other[0]) for one, other in self.edges)

    def by_rule(self) -> JobGraph:
        """Return the graph with one node per rule.

        The maps of a second round are made by a network: what leads back for them is left out.
        """
        nodes: dict[Node, int] = {}
        for (rule, _), jobs in self.nodes.items():
            nodes[rule, ""] = nodes.get((rule, ""), 0) + jobs
        back = ("train_segmentation", "maps")
        edges = frozenset(((one, ""), (other, "")) for one, other in self.rules - {back})
        return JobGraph(nodes, edges, self.reference)

    def reduced(self) -> Edges:
        """Return the edges without those that a longer way goes too."""
        direct: dict[Node, set[Node]] = {node: set() for node in self.nodes}
        for one, other in self.edges:
            direct[one].add(other)

        @cache
        def after(node: Node) -> frozenset[Node]:
            return frozenset(direct[node]).union(*map(after, direct[node]))

        return frozenset(
            (one, other)
            for one, other in self.edges
            if not any(other in after(step) for step in direct[one])
        )


def job_graph(run: Run) -> JobGraph:
    """Return the jobs of a run and what each reads; all of them, done or not.

    Raises:
        StaleResultError: If the images have not been indexed.
    """
    config = run.config
    edges = frozenset(_edges(config))
    named = {node for edge in edges for node in edge}
    order = {name: place for place, name in enumerate((*config.recipes, GROUND_TRUTH))}
    nodes = sorted(
        named, key=lambda node: (list(JOBS).index(node[0]), order.get(node[1], -1), node[1])
    )
    counts = {
        stage: len(stage_batches(config, run.index, stage).names(stage_splits(config, stage)))
        for stage in STAGES
    }
    return JobGraph(
        {node: counts.get(node[0], 1) for node in nodes}, edges, config.reference_recipe
    )


def _edges(config: RunConfig) -> Iterator[tuple[Node, Node]]:
    index: Node = ("index", "")
    own_weights = config.segmentation_names and config.segmentation.weights == OWN_CLASSIFIER
    if config.needs_classifier:
        yield index, ("train_classifier", "")
    for stage, spec in STAGES.items():
        for recipe in spec.recipes(config):
            node = (stage, recipe)
            if stage in _ALONE:
                yield _ALONE[stage], node
            elif stage == "predictions":
                yield ("train_segmentation", recipe), node
            else:
                network = config.recipes[recipe].network
                other = index if network is None else ("train_segmentation", network)
                sources = list(_sources(config, stage, recipe))
                yield from ((source, node) for source in sources or [other])
    for recipe in config.recipes:
        node = ("threshold", recipe)
        yield index, node
        yield from ((source, node) for source in _threshold_sources(config, recipe))
        yield node, ("masks", recipe)
    for name in config.segmentation_names:
        node = ("train_segmentation", name)
        yield index, node
        if own_weights:
            yield ("train_classifier", ""), node
        if name != GROUND_TRUTH:
            yield ("masks", name), node
    for name in config.evaluated:
        node = ("evaluate", name)
        yield index, node
        for read in dict.fromkeys((name, config.reference_recipe)):
            if read != GROUND_TRUTH:
                yield ("maps", read), node
                yield ("threshold", read), node
        if name != GROUND_TRUTH:
            yield ("masks", name), node
        if name in config.segmentation_names:
            yield ("predictions", name), node
        yield node, ("summary", "")
        yield node, ("report", "")
    yield index, ("summary", "")
    yield index, ("report", "")
    yield ("summary", ""), ("report", "")


def _sources(config: RunConfig, stage: str, recipe: str) -> Iterable[Node]:
    for source in STAGES[stage].built_on:
        if STAGES[source].works_on(config, recipe):
            yield source, STAGES[source].owner(config, recipe)


def _threshold_sources(config: RunConfig, recipe: str) -> Iterable[Node]:
    background = config.masks.background
    if isinstance(background, AutoBackground | TunedBackground):
        yield "maps", recipe
    if isinstance(background, TunedBackground) and config.cuts_means(recipe):
        yield "regions", STAGES["regions"].owner(config, recipe)


__all__ = ["SHARED", "Edges", "JobGraph", "Node", "job_graph"]
