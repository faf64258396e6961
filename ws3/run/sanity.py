"""What the checks of a run's recipes were made from, and which of them hold still."""

from __future__ import annotations

from collections.abc import Sequence

from ws3.errors import Ws3Error
from ws3.run.fingerprints import fingerprint
from ws3.run.folder import Run
from ws3.run.records import SanityFacts, read_record

RANDOM_ORDER = "(random order)"
"""In a recipe's place: the curves of pixels in random order, for comparison."""


def check_fingerprint(run: Run, recipe: str, images: Sequence[str]) -> str:
    """Return what the checks of a recipe, or of the random order, are made from.

    Args:
        run: The run.
        recipe: Its name, or `RANDOM_ORDER`.
        images: Ids of the images that are looked at.

    Raises:
        StaleResultError: If there is no classifier.
        Ws3Error: If the run has no such recipe or image.
    """
    settings = {}
    if recipe != RANDOM_ORDER:
        source = run.config.sample_source(recipe)
        settings = {"recipe": source, **run.recipe(recipe).model_dump(mode="json")}
    return fingerprint(
        classifier=run.classifier.sha256,
        images=[[row.sha256, row.labels] for row in map(run.row, images)],
        seed=run.config.seed,
        settings=settings,
    )


def checked_recipes(run: Run) -> SanityFacts | None:
    """Return what the checks found of the recipes as they are now; None if there is nothing.

    Raises:
        Ws3Error: If the file is damaged.
    """
    if not run.sanity_file.exists():
        return None
    facts = read_record(run.sanity_file, SanityFacts)
    kept = tuple(
        found
        for found in facts.recipes
        if _fingerprint_now(run, found.recipe, facts.images) == found.fingerprint
    )
    only_random = all(found.recipe == RANDOM_ORDER for found in kept)
    return None if only_random else facts.model_copy(update={"recipes": kept})


def _fingerprint_now(run: Run, recipe: str, images: Sequence[str]) -> str:
    """Return it, or an empty string where something is no longer there."""
    try:
        return check_fingerprint(run, recipe, images)
    except Ws3Error:
        return ""


__all__ = ["RANDOM_ORDER", "check_fingerprint", "checked_recipes"]
