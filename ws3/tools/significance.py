"""What each image's counts say of several runs: intervals, and differences on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ws3.config.run import GROUND_TRUTH
from ws3.errors import StaleResultError, Ws3Error
from ws3.messages import shortened, shown
from ws3.metrics.base import FloatArray
from ws3.metrics.bootstrap import Interval, intervals, on_same_images, resampled
from ws3.metrics.image_counts import POOLED_FIGURES, ImageCounts
from ws3.metrics.paired import difference, holm
from ws3.report.comparison import Contrast, Row
from ws3.run.folder import Run
from ws3.run.image_counts import read_image_counts
from ws3.run.records import Evaluation

CAM_METHODS = ("cam", "gradcam", "gradcam++")
"""Methods that weigh the last features channel by channel: the usual baselines."""

Place = tuple[str, str]
"""A split and a stage."""


@dataclass
class RunsCounts:
    """The counts of several runs, as far as they are there.

    Attributes:
        seed: Where the random numbers start: the seed of the first run.
        of: Split and stage -> recipe -> number of the run -> its counts.
        faults: Why some are not there, a sentence each.
    """

    seed: int
    of: dict[Place, dict[str, dict[int, ImageCounts]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, runs: Sequence[Run], evaluations: Sequence[Sequence[Evaluation]]) -> RunsCounts:
        """Read the counts of evaluations, those of each run."""
        counts = cls(runs[0].config.seed)
        for number, (run, made) in enumerate(zip(runs, evaluations, strict=True)):
            for evaluation in made:
                try:
                    found = read_image_counts(run, evaluation)
                except StaleResultError as error:
                    counts.faults.append(str(error))
                    continue
                for place, table in found.items():
                    recipes = counts.of.setdefault(place, {})
                    recipes.setdefault(evaluation.recipe, {})[number] = table
        return counts

    def intervals(self) -> dict[tuple[str, str, str], dict[str, Interval]]:
        """Return the intervals of each split, stage and recipe, by the metric's name."""
        return {
            (*place, recipe): intervals(on_same_images(list(tables.values())), self.seed)
            for place, recipes in self.of.items()
            for recipe, tables in recipes.items()
        }

    def contrasts(self, rows: Sequence[Row], baselines: Mapping[Place, str]) -> list[Contrast]:
        """Compare each recipe of some rows with the baseline of its split and stage.

        P values are adjusted for the number of recipes that are compared: by split, stage and
        metric, as these are the columns of a table.
        """
        found: list[Contrast] = []
        for place, against in baselines.items():
            recipes = [row.recipe for row in rows if (row.split, row.stage) == place]
            of_place = self.of.get(place, {})
            compared = [
                contrast
                for recipe in recipes
                if recipe in of_place and recipe not in (against, GROUND_TRUTH)
                for contrast in self._compare(place, recipe, against)
            ]
            for name in POOLED_FIGURES:
                same = [contrast for contrast in compared if contrast.metric == name]
                adjusted = holm([contrast.p for contrast in same])
                found += [replace(c, p_holm=p) for c, p in zip(same, adjusted, strict=True)]
        return found

    def _compare(self, place: Place, recipe: str, against: str) -> list[Contrast]:
        ours, others = self.of[place][recipe], self.of[place].get(against, {})
        both = [
            number
            for number in sorted(ours.keys() & others.keys())
            if ours[number].classes == others[number].classes
        ]
        if not both:
            return []
        tables = on_same_images([side[number] for side in (ours, others) for number in both])
        if not tables[0].images:
            return []
        one, other = tables[: len(both)], tables[len(both) :]
        drawn: tuple[dict[str, FloatArray], dict[str, FloatArray]] = (
            resampled(one, self.seed),
            resampled(other, self.seed),
        )
        found = []
        for name in POOLED_FIGURES:
            pairs, values = list(zip(one, other, strict=True)), (drawn[0][name], drawn[1][name])
            seen = difference(pairs, name, values, self.seed)
            if seen is not None:
                found.append(
                    Contrast(
                        recipe=recipe,
                        against=against,
                        split=place[0],
                        stage=place[1],
                        metric=name,
                        runs=len(both),
                        images=len(one[0].images),
                        mean=seen.mean,
                        ends=seen.ends,
                        p=seen.p,
                        p_holm=seen.p,
                    )
                )
        return found


def baselines(runs: Sequence[Run], rows: Sequence[Row], against: str | None) -> dict[Place, str]:
    """Return what the recipes of each split and stage are compared with.

    Args:
        runs: The runs.
        rows: What was measured.
        against: A recipe; None: of the recipes with a method of `CAM_METHODS`, the one with the
            highest mean mIoU there, or else the reference recipe.

    Raises:
        Ws3Error: If no run has measured the named recipe.
    """
    measured = dict.fromkeys(row.recipe for row in rows)
    if against is not None and against not in measured:
        raise Ws3Error(
            f"--against: {shown(against)} is not among the evaluated recipes; choose from: "
            f"{shortened(', '.join(measured))}"
        )
    found = {}
    for place in dict.fromkeys((row.split, row.stage) for row in rows):
        best, highest = runs[0].config.reference_recipe, -1.0
        for row in rows:
            mean = row.spreads["miou"].mean if "miou" in row.spreads else -1.0
            if (row.split, row.stage) == place and mean > highest and _is_cam(runs, row.recipe):
                best, highest = row.recipe, mean
        found[place] = best if against is None else against
    return {(split, stage): recipe for (split, stage), recipe in found.items()}


def _is_cam(runs: Sequence[Run], recipe: str) -> bool:
    recipes = [run.config.recipes[recipe] for run in runs if recipe in run.config.recipes]
    return bool(recipes) and all(one.method in CAM_METHODS for one in recipes)
