"""Whether a recipe's maps depend on what the classifier has learned, and on the pixels that count.

Two checks on a few images. *Randomisation* (Adebayo et al. 2018, arXiv 1810.03292): weights are
shuffled from the last layer downwards; a map that stays as it was shows edges of the image, and
nothing of the classifier. *Deletion and insertion* (Petsiuk et al. 2018, arXiv 1806.07421): pixels
are painted in the mean colour, or brought back, in the order of the map; the class's probability
falls, or rises, the faster the better the map has found what it hangs on.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from ws3.attribution.scorer import Scorer
from ws3.classifier.checkpoints import load_classifier
from ws3.classifier.model import Classifier
from ws3.datasets.images import decode_rgb, read_bytes
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import write_csv
from ws3.jobs.progress import ProgressReport
from ws3.pixels import channels_first, normalise, resize, resize_short_side, to_unit
from ws3.report.figures import save
from ws3.report.sanity import area, sanity_chart
from ws3.run.folder import Run
from ws3.run.records import CheckedRecipe, SanityFacts, write_record
from ws3.run.sanity import RANDOM_ORDER, check_fingerprint

_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the layers below the last, that are shuffled with it
_STEPS = 10  # of the pixels, deleted or inserted at once
_NEUTRAL = 0  # the mean colour, normalised

Map = NDArray[np.floating[Any]]


def check_recipes(run: Run, images: int = 4) -> SanityFacts:
    """Check each recipe of a run, and write what is found, tables and a chart into `sanity/`.

    These are `check.json`, which the report reads, `randomisation.csv`, `curves.csv`,
    `summary.csv` and `chart.svg`. Recipes without samples are left out.

    Args:
        run: A run with a classifier.
        images: How many images, the first with a class of the first split that has any.

    Returns:
        The same; the last recipe, `RANDOM_ORDER`, has the curves of pixels in random order.

    Raises:
        Ws3Error: If the classifier or an image can't be read, no image has a class, or a recipe
            doesn't go with the network.
    """
    classifier = load_classifier(run.classifier_file, run.config.classifier.architecture)
    rows = [row for row in run.mapped_rows(["val", "train"]) if row.labels][:images]
    if not rows:
        raise Ws3Error(f"{run.folder}: no image shows a class; there is nothing to check")
    recipes = [name for name, recipe in run.config.recipes.items() if recipe.has_samples]
    ids = tuple(row.image for row in rows)
    pictures = [decode_rgb(read_bytes(row.path), row.path, row.coding) for row in rows]
    shuffled = [_shuffled(classifier, depth, run.config.seed) for depth in _DEPTHS]
    generator = np.random.default_rng(run.config.seed)
    found = []
    orders = [
        [generator.random(one.shape[:2]) for _ in row.labels]
        for row, one in zip(rows, pictures, strict=True)
    ]
    with ProgressReport("check") as progress:
        for number, name in enumerate(recipes):
            source = run.config.sample_source(name)

            def maps(network: Classifier, name: str = name, source: str = source) -> list[Map]:
                scorer = Scorer(
                    network,
                    run.recipe(name).model_copy(update={"samples_from": None}),
                    seed=run.config.seed,
                    device=run.config.device,
                    recipe_name=source,
                )
                return [
                    scorer.maps(picture, row.labels, name=row.image)
                    for row, picture in zip(rows, pictures, strict=True)
                ]

            own = maps(classifier)
            deletion, insertion = _curves(classifier, rows, pictures, own)
            found.append(
                CheckedRecipe(
                    recipe=name,
                    fingerprint=check_fingerprint(run, name, ids),
                    likeness=tuple(_likeness(own, maps(other)) for other in shuffled),
                    deletion=deletion,
                    insertion=insertion,
                )
            )
            progress.reach(number + 1, len(recipes))
    random = [np.stack(one) for one in orders]
    deletion, insertion = _curves(classifier, rows, pictures, random)
    made_from = check_fingerprint(run, RANDOM_ORDER, ids)
    found.append(
        CheckedRecipe(
            recipe=RANDOM_ORDER,
            fingerprint=made_from,
            likeness=(),
            deletion=deletion,
            insertion=insertion,
        )
    )
    facts = SanityFacts(images=ids, depths=_DEPTHS, recipes=tuple(found))
    _write(run.sanity_file.parent, facts)
    write_record(run.sanity_file, facts)
    return facts


def _shuffled(classifier: Classifier, depth: float, seed: int) -> Classifier:
    """Return a classifier whose last layers have the same weights in another order.

    Args:
        classifier: It is not changed.
        depth: Share of the layers below the last that are shuffled too, from the last down.
        seed: Of the order.
    """
    changed = copy.deepcopy(classifier)
    layers = [
        layer
        for layer in [*changed.backbone.modules(), *changed.head.modules()]
        if any(True for _ in layer.parameters(recurse=False))
    ]
    unique = list(dict.fromkeys(layers))
    count = 1 + round(depth * (len(unique) - 1))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in unique[len(unique) - count :]:
            for parameter in layer.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order].view(parameter.shape))
    return changed


def _likeness(first: Sequence[Map], second: Sequence[Map]) -> float | None:
    """Return the mean rank correlation of maps, one without contrast being like none other."""
    values = [
        rank_correlation(one, other)
        for maps, others in zip(first, second, strict=True)
        for one, other in zip(maps, others, strict=True)
        if np.ptp(one) > 0
    ]
    return float(np.mean(values)) if values else None


def rank_correlation(first: Map, second: Map) -> float:
    """Return Spearman's rank correlation of two maps (H, W); 0 where one has no contrast.

    Example:
        >>> rising = np.arange(6.0).reshape(2, 3)
        >>> round(rank_correlation(rising, rising**3), 6)
        1.0
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second, axis=None).statistic)


def _curves(
    classifier: Classifier,
    rows: Sequence[ImageRow],
    pictures: Sequence[NDArray[np.uint8]],
    maps: Sequence[Map],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the curves of deletion and insertion, their means over images and classes."""
    curves = [
        deletion_and_insertion(classifier, picture, scores, index)
        for row, picture, of_classes in zip(rows, pictures, maps, strict=True)
        for index, scores in zip(classifier.indices(row.labels), of_classes, strict=True)
    ]
    deletion, insertion = np.mean(curves, axis=0).tolist()
    return tuple(deletion), tuple(insertion)


@torch.no_grad()
def deletion_and_insertion(
    classifier: Classifier, image: NDArray[np.uint8], scores: Map, index: int
) -> tuple[list[float], list[float]]:
    """Return a class's probability while pixels go, and come back, in the order of a map.

    Args:
        classifier: It sees the whole image, its short side at the input size.
        image: uint8 RGB (H, W, 3).
        scores: The map (H, W). Of equal values the upper and left ones come first.
        index: The class's logit.

    Returns:
        deletion: Sigmoid of the logit with no, one tenth, ... all of the pixels in the mean colour,
            those of the largest scores first.
        insertion: The same with no, one tenth, ... all of the pixels there.
    """
    resized = resize_short_side(image, classifier.input_size)
    pixels = channels_first(normalise(to_unit(resized), classifier.mean, classifier.std))
    inputs = torch.from_numpy(pixels)
    order = np.argsort(
        -resize(scores.astype(np.float32), *resized.shape[:2]).ravel(), kind="stable"
    )
    network: nn.Module = classifier.network.eval()
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    deletion, insertion = list[float](), list[float]()
    for step in range(_STEPS + 1):
        first = torch.from_numpy(rank < round(step * order.size / _STEPS)).view(inputs.shape[1:])
        for kept, curve in ((~first, deletion), (first, insertion)):
            shown = torch.where(kept, inputs, _NEUTRAL)
            curve.append(float(network(shown[None])[0, index].sigmoid()))
    return deletion, insertion


def _write(folder: Path, facts: SanityFacts) -> None:
    write_csv(
        folder / "randomisation.csv",
        ["recipe", "layers_shuffled", "rank_correlation"],
        [
            {"recipe": checked.recipe, "layers_shuffled": depth, "rank_correlation": value}
            for checked in facts.recipes
            for depth, value in zip(facts.depths, checked.likeness, strict=False)
        ],
    )
    write_csv(
        folder / "curves.csv",
        ["recipe", "pixels", "deletion", "insertion"],
        [
            {
                "recipe": checked.recipe,
                "pixels": step / _STEPS,
                "deletion": gone,
                "insertion": there,
            }
            for checked in facts.recipes
            for step, (gone, there) in enumerate(
                zip(checked.deletion, checked.insertion, strict=True)
            )
        ],
    )
    write_csv(
        folder / "summary.csv",
        ["recipe", "likeness_all_shuffled", "deletion_area", "insertion_area"],
        [
            {
                "recipe": checked.recipe,
                "likeness_all_shuffled": checked.likeness[-1] if checked.likeness else None,
                "deletion_area": area(checked.deletion),
                "insertion_area": area(checked.insertion),
            }
            for checked in facts.recipes
        ],
    )
    save(sanity_chart(facts.recipes, facts.depths), folder / "chart.svg")
