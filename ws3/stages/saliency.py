"""classifier + images -> saliency/<recipe>.zarr."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from ws3.aggregation.accumulate import collect_chunk
from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import ImageResult
from ws3.removal import remove_leftovers
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import classifier_file
from ws3.run.samples import expected_chunks, load_image, sample_plan
from ws3.stages.recipe_stage import StoreStage
from ws3.store.saliency import SaliencyStore

if TYPE_CHECKING:
    from ws3.attribution.engine import Attributor


class SaliencyStage(StoreStage):
    """Draws an image's samples, attributes each, and stores their partial sums."""

    stage = "saliency"

    def __init__(self, run: Run, recipe: str) -> None:
        super().__init__(run, recipe)
        if self.source != recipe:
            raise Ws3Error(
                f"recipe {recipe} takes its samples from {self.source}; make those with: "
                f"ws3 saliency {run.folder} --recipe {self.source}"
            )
        self._classifier = classifier_file(run)
        self._store = SaliencyStore(run.results("saliency", recipe))
        self._store.create({"kind": "saliency", "recipe": recipe})

    @cached_property
    def _attributor(self) -> Attributor:
        # torch takes seconds to import; a job that finds all done doesn't need it.
        from ws3.attribution.engine import Attributor
        from ws3.classifier.checkpoints import load_classifier
        from ws3.jobs.gpus import own_device

        classifier = load_classifier(self._classifier)
        return Attributor(classifier, self.settings, own_device(self.run.config.device))

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether all chunks are there, with this fingerprint and intact."""
        return not self._store.fault(row.image, fingerprint) and not self._missing(row)

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Compute the chunks that are missing, and commit each as it is complete.

        Raises:
            Ws3Error: If the image can't be read, changed since it was indexed, or its attribution
                is not a finite number.
        """
        with timer.phase("load"):
            image = load_image(row)
            # No class to look for: the network isn't asked. A network or method that can't be
            # prepared must leave older results as they are.
            attributor = self._attributor if row.labels else None
        with timer.phase("write"):
            self._store.begin(row.image, self.attributes(row, fingerprint))
        if attributor is None:
            return ImageResult()
        missing = self._missing(row)
        remove_leftovers(self._store.path / row.image / name for name in missing)
        stored = {name: self._stored(row.image, name, missing[name]) for name in missing}
        wanted = {
            name: numbers[0 if (begun := stored[name]) is None else len(begun.samples) :]
            for name, numbers in missing.items()
        }
        # One stream over all chunks: a network batch may hold samples of two of them.
        numbers = [number for some in wanted.values() for number in some]
        plan = sample_plan(self.run, self.recipe, row)
        class_values = self.run.class_values(row)
        attributed = attributor.attribute(image, plan, [v - 1 for v in class_values], numbers)
        written = 0
        for name, some in wanted.items():
            with timer.phase("compute"):
                chunk = collect_chunk(
                    islice(attributed, len(some)),
                    self.settings.aggregation,
                    (len(class_values), row.height, row.width),
                    keep_samples=self.settings.samples.keep_samples,
                    stored=stored[name],
                )
            with timer.phase("write"):
                self._store.write(row.image, name, chunk)
            written += chunk.nbytes
        return ImageResult(len(numbers), written)

    def _missing(self, row: ImageRow) -> dict[str, tuple[int, ...]]:
        """Return the chunks that aren't there in full, with the samples that each must hold."""
        layout = expected_chunks(
            row, sample_plan(self.run, self.recipe, row), self.settings.samples.per_chunk
        )
        found = self._store.chunk_samples(row.image)
        missing = {name: numbers for name, numbers in layout.items() if found.get(name) != numbers}
        for name in layout.keys() - missing.keys():
            try:
                self._store.read(row.image, name)
            except StaleResultError:
                missing[name] = layout[name]
        return missing

    def _stored(self, image: str, name: str, numbers: Sequence[int]) -> SampleChunk | None:
        """Return a stored chunk that can be continued, or None."""
        try:
            chunk = self._store.read(image, name)
        except StaleResultError:
            return None
        if isinstance(chunk, RawChunk):
            return None
        begins = tuple(numbers[: len(chunk.samples)]) == chunk.samples
        return chunk if begins and len(chunk.samples) < len(numbers) else None

    def attributes(self, row: ImageRow, fingerprint: str) -> dict[str, object]:
        """Return what an image's group says of itself."""
        return {
            **super().attributes(row, fingerprint),
            "image_sha256": row.sha256,
            "combine_samples": self.settings.aggregation.combine_samples,
            "weight": self.settings.aggregation.weight,
            "precision": self.settings.precision,
        }
