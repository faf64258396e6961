"""Fingerprints: what a stored result was made from, as one short string.

A result is up to date exactly when it bears the fingerprint that the run now expects. Each
includes the one before it, down to the image's bytes and the classifier's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError
from ws3.run.folder import Run
from ws3.stage_table import ALL_RECIPES, STAGES


def fingerprint(**parts: Any) -> str:
    """Return the digest of some plain data.

    Example:
        >>> fingerprint(seed=0, method="cam") == fingerprint(method="cam", seed=0)
        True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Fingerprints:
    """What each image's results of one recipe are made from.

    What all images share is looked up and digested once, so that a whole run is checked quickly.
    """

    def __init__(self, run: Run, recipe: str) -> None:
        """Prepare; nothing is read yet."""
        self._run, self._recipe = run, recipe
        self._shared = cache(self._of_all_images)
        self._sources = cache(self._built_on)

    def of(self, stage: str, row: ImageRow) -> str:
        """Return what an image's result of a stage is made from.

        Raises:
            Ws3Error: If the run has no such recipe.
            StaleResultError: If a file that it is made from isn't there yet.
        """
        spec = STAGES[stage]
        sources = {source: self.of(source, row) for source in self._sources(stage)}
        image = spec.of_image(self._run, self._recipe, row)
        return fingerprint(shared=self._shared(stage), image=image, **sources)

    def expected(self, stage: str, rows: Iterable[ImageRow]) -> dict[str, str]:
        """Return the fingerprint of each image's result of a stage, by image.

        It is empty where what all results are made from, such as the classifier, isn't there yet.
        """
        try:
            return {row.image: self.of(stage, row) for row in rows}
        except StaleResultError:
            return {}

    def _check_name(self) -> None:
        if self._recipe != ALL_RECIPES:
            self._run.check_segmentation_name(self._recipe)

    def _built_on(self, stage: str) -> tuple[str, ...]:
        self._check_name()
        sources = STAGES[stage].built_on
        config = self._run.config
        return tuple(name for name in sources if STAGES[name].works_on(config, self._recipe))

    def _of_all_images(self, stage: str) -> str:
        spec = STAGES[stage]
        self._check_name()
        return fingerprint(
            stage=stage,
            version=spec.version,
            settings=spec.settings(self._run.config, self._recipe),
            shared=spec.shared(self._run, self._recipe),
        )
