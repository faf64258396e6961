"""saliency store -> maps/<recipe>.zarr, and which stage makes the maps of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.aggregation.combine import combine
from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import ImageResult
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import classifier_file
from ws3.run.samples import expected_chunks, load_image, sample_plan
from ws3.stages.imported import ImportedMapsStage
from ws3.stages.recipe_stage import StoreStage
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore

if TYPE_CHECKING:
    from ws3.attribution.seeing import Reader
    from ws3.stages.whole_maps import WholeMapsStage


class MapsStage(StoreStage):
    """Combines an image's partial sums into its final maps."""

    stage = "maps"

    def __init__(self, run: Run, recipe: str) -> None:
        super().__init__(run, recipe)
        self._source = SaliencyStore(run.results("saliency", recipe))
        self._source.check_format()
        self._store = MapStore(run.results("maps", recipe))
        self._store.create({"kind": "maps", "recipe": recipe})

    @cached_property
    def _reader(self) -> Reader | None:
        walk = self.settings.aggregation.random_walk
        if walk is None or not walk.asks_a_network:
            return None
        # torch takes seconds to import, and few recipes ask a network.
        from ws3.attribution.seeing import reader
        from ws3.classifier.checkpoints import load_classifier

        named = self.run.config.classifier.architecture
        return reader(walk, lambda: load_classifier(classifier_file(self.run), named))

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether intact maps with this fingerprint are committed."""
        return self._store.holds(row.image, fingerprint)

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Combine and commit.

        Raises:
            StaleResultError: If the sample chunks are missing, damaged or made from other inputs.
            Ws3Error: If a value is not a finite number, or a random walk can't read the image.
        """
        repair = self.results.command("saliency", row)
        fault = self._source.fault(row.image, self.results.fingerprints.of("saliency", row))
        if fault:
            raise StaleResultError(f"its sample chunks are {fault}; repair them with: {repair}")
        plan = sample_plan(self.run, self.recipe, row)
        if not row.labels:
            with timer.phase("write"):
                maps = np.zeros((0, row.height, row.width), np.float16)
                self._store.write(row.image, maps, self.attributes(row, fingerprint))
            return ImageResult()
        source = self.run.recipe(self.source)
        samples = None
        if source.stopping is not None:
            samples = self._source.settled(row.image, source.stopping)
            if samples is None:
                raise StaleResultError(f"samples are missing; make them with: {repair}")
        layout = expected_chunks(row, plan, source.samples.per_chunk, samples)
        if plan.needs_cover and not sample_plan(self.run, self.source, row).needs_cover:
            raise Ws3Error(
                f"the first {plan.total} samples of {self.source} don't cover it; ask for "
                f"{plan.covering} or more (recipe {self.recipe})"
            )
        with timer.phase("load"):
            walk = self.settings.aggregation.random_walk
            image = None if walk is None else load_image(row)
            reader = self._reader
        with timer.phase("compute"):
            seen = None if image is None or reader is None else reader(image)
            chunks = self._chunks(row.image, layout, repair, timer)
            try:
                maps = combine(chunks, self.settings.aggregation, plan, image, seen)
            except StaleResultError:
                raise
            except Ws3Error as error:
                raise Ws3Error(f"{error} (recipe {self.recipe})") from None
        with timer.phase("write"):
            used = plan.total if samples is None else samples
            attributes = {**self.attributes(row, fingerprint), "samples": used}
            self._store.write(row.image, maps, attributes)
        return ImageResult(used, maps.nbytes)

    def _chunks(
        self, image: str, layout: Mapping[str, tuple[int, ...]], repair: str, timer: PhaseTimer
    ) -> Iterator[SampleChunk | RawChunk]:
        """Read an image's sample chunks one by one: of a large image each takes much memory.

        Raises:
            StaleResultError: If one is missing or damaged, or lacks samples.
        """
        for name, numbers in layout.items():
            with timer.phase("load"):
                try:
                    chunk = self._source.read(image, name)
                except StaleResultError as error:
                    raise StaleResultError(f"{error} Repair it with: {repair}") from None
            if chunk.samples != numbers:
                raise StaleResultError(f"samples are missing; make them with: {repair}")
            yield chunk
            del chunk


def maps_stage(run: Run, recipe: str) -> MapsStage | WholeMapsStage:
    """Return the stage that makes a recipe's maps: of samples, of files, or by a network.

    Raises:
        Ws3Error: If the run has no such recipe.
        StaleResultError: If its network is not trained yet, or is not what the run trained.
    """
    settings = run.recipe(recipe)
    if settings.imported is not None:
        return ImportedMapsStage(run, recipe)
    if settings.network is not None:
        # torch takes seconds to import.
        from ws3.stages.network_maps import NetworkMapsStage

        return NetworkMapsStage(run, recipe, settings.network)
    return MapsStage(run, recipe)
