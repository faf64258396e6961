"""The figures of docs/study.md from finished runs, as docs/study.json.

`python benchmarks/study.py mobilenet_v2=results/pascal10_seed0 mobilenet_v2=results/pascal10_seed1`
writes a row per network, recipe, seed and stage, and one over all seeds; then, per network, how far
each recipe of saliency is above each recipe of CAM's family on the same images. Networks that are
not given keep the rows that the file has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ws3.config.recipes import Recipe
from ws3.report.comparison import compare
from ws3.report.model import scores_of
from ws3.run.folder import Run
from ws3.tools.compare import evaluations_of
from ws3.tools.significance import CAM_METHODS, RunsCounts

FILE = Path(__file__).parents[1] / "docs/study.json"
CAM_FAMILY = (*CAM_METHODS, "layercam")
FIGURE = "miou"


def family(recipe: Recipe) -> str:
    """Return `cam` for a recipe that weighs features, `saliency` for one that follows gradients.

    Our `contrast_crops` and `contrast_scales` follow the gradient of the log-odds through smooth
    ReLUs to layers near the input, so they count as saliency.
    """
    weighs = recipe.method in CAM_FAMILY and recipe.target == "logit"
    return "cam" if weighs else "saliency"


def rows(network: str, runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Return the figures and the differences of one network's runs, one run per seed."""
    evaluations = [evaluations_of(run) for run in runs]
    counts = RunsCounts.read(runs, evaluations)
    if counts.faults:
        raise SystemExit(counts.faults[0])
    families = {name: family(r) for run in runs for name, r in run.config.recipes.items()}
    figures = []
    for number, run in enumerate(runs):
        alone = RunsCounts.read([run], [evaluations[number]])
        scores = [scores_of(evaluations[number])]
        figures += [
            _figure(network, families, str(run.config.seed), row)
            for row in compare(scores, alone.intervals())
        ]
    over_all = compare([scores_of(made) for made in evaluations], counts.intervals())
    if len(runs) > 1:
        seeds = ",".join(str(run.config.seed) for run in runs)
        figures += [
            _figure(network, families, seeds, row) for row in over_all if row.runs == len(runs)
        ]
    differences = [
        {
            **{"network": network, "recipe": c.recipe, "against": c.against},
            **{"split": c.split, "stage": c.stage, "runs": c.runs, "difference": c.mean},
            **{"low": c.ends and c.ends[0], "high": c.ends and c.ends[1], "p": c.p},
        }
        for against in over_all
        if families.get(against.recipe) == "cam"
        for c in counts.contrasts(
            [row for row in over_all if families.get(row.recipe) == "saliency"],
            {(against.split, against.stage): against.recipe},
        )
        if c.metric == FIGURE
    ]
    return {"figures": figures, "differences": differences}


def _figure(network: str, families: Mapping[str, str], seed: str, row: Any) -> dict[str, Any]:
    low, high = row.intervals.get(FIGURE, (None, None))
    return {
        **{"network": network, "recipe": row.recipe, "family": families.get(row.recipe, "")},
        **{"seed": seed, "split": row.split, "stage": row.stage},
        **{"miou": row.spreads[FIGURE].mean, "low": low, "high": high},
    }


def rounded(value: Any) -> Any:
    """Return a figure with four digits, and anything else as it is."""
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Read the runs and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NETWORK=RUN")
    parser.add_argument("--output", type=Path, default=FILE)
    arguments = parser.parse_args()
    runs: dict[str, list[Run]] = {}
    for argument in arguments.runs:
        network, _, folder = argument.partition("=")
        runs.setdefault(network, []).append(Run.open(Path(folder)))
    found = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for network, ours in runs.items():
        for kind, made in rows(network, ours).items():
            kept = [row for row in found.get(kind, []) if row["network"] != network]
            found[kind] = kept + [
                {name: rounded(value) for name, value in row.items()} for row in made
            ]
    # A row per line, so that a change shows as one.
    parts = [
        f' "{kind}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in found[kind]) + "\n ]"
        for kind in found
    ]
    arguments.output.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
