"""classifier + images -> saliency/<recipe>.zarr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ws3.aggregation.accumulate import Accumulator, raw_chunk
from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import remove_leftovers
from ws3.jobs.runner import ImageResult
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import check_model
from ws3.run.samples import expected_chunks, load_image, sample_plan
from ws3.sampling.plan import Sample, SamplePlan
from ws3.sampling.views import Pixels, render_sample
from ws3.store.saliency import SaliencyStore

if TYPE_CHECKING:
    from ws3.stages.attributor import Attributor

Attributed = tuple[Sample, NDArray[np.float32], NDArray[np.float32]]
"""A sample, its score maps (classes, h, w) and its classes' weights (classes,)."""

_SMALLEST_PROBABILITY = np.float32(1e-6)
"""A weight must not vanish: a pixel's score is divided by the sum of its samples' weights."""


class SaliencyStage:
    """Draws an image's samples, attributes each, and stores their partial sums."""

    stage: str = "saliency"

    def __init__(self, run: Run, recipe: str) -> None:
        self.recipe = recipe
        self._run, self._settings = run, run.recipe(recipe)
        source = run.config.sample_source(recipe)
        if source != recipe:
            raise Ws3Error(
                f"recipe {recipe} takes its samples from {source}; make those with: "
                f"ws3 saliency {run.folder} --recipe {source}"
            )
        self._fingerprints = Fingerprints(run, recipe)
        command = f"ws3 train-classifier {run.folder}"
        check_model(run.classifier_file, run.classifier, command)
        self._store = SaliencyStore(run.results("saliency", recipe))
        self._store.create({"kind": "saliency", "recipe": recipe})

    @cached_property
    def _attributor(self) -> Attributor:
        # torch takes seconds to import; a job that finds all done doesn't need it.
        from ws3.stages.attributor import Attributor

        return Attributor(self._run, self._settings)

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's sample chunks are made from."""
        return self._fingerprints.of("saliency", row)

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether all chunks are there, with this fingerprint and intact."""
        attributes = self._store.attributes(row.image)
        if attributes is None or attributes.get("fingerprint") != fingerprint:
            return False
        return not self._missing(row)

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Compute the chunks that are missing, and commit each as it is complete.

        Raises:
            Ws3Error: if the image can't be read, changed since it was indexed, or its attribution
                is not a finite number.
        """
        with timer.phase("load"):
            image = load_image(row)
            attributor = self._attributor
        with timer.phase("write"):
            self._store.begin(row.image, self._attributes(row, fingerprint))
        missing = self._missing(row)
        remove_leftovers(self._store.path / row.image / name for name in missing)
        stored = {name: self._stored(row.image, name, missing[name]) for name in missing}
        wanted = {
            name: numbers[0 if (begun := stored[name]) is None else len(begun.samples) :]
            for name, numbers in missing.items()
        }
        # One stream over all chunks: a network batch may hold samples of two of them.
        numbers = [number for some in wanted.values() for number in some]
        attributed = self._attribute(image, row, numbers, attributor)
        written = 0
        for name, some in wanted.items():
            with timer.phase("compute"):
                chunk = self._chunk(row, stored[name], islice(attributed, len(some)))
            with timer.phase("write"):
                self._store.write(row.image, name, chunk)
            written += _bytes(chunk)
        return ImageResult(len(numbers), written)

    def _plan(self, row: ImageRow) -> SamplePlan:
        return sample_plan(self._run, self.recipe, row)

    def _missing(self, row: ImageRow) -> dict[str, tuple[int, ...]]:
        """Return the chunks that aren't there in full, with the samples that each must hold."""
        layout = expected_chunks(self._plan(row), self._settings.samples.per_chunk)
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

    def _chunk(
        self, row: ImageRow, stored: SampleChunk | None, attributed: Iterable[Attributed]
    ) -> SampleChunk | RawChunk:
        aggregation = self._settings.aggregation
        if self._settings.samples.keep_samples:
            samples, scores, weights = zip(*attributed, strict=True)
            return raw_chunk(samples, scores, weights)
        accumulator = (
            Accumulator.resume(aggregation, stored)
            if stored is not None
            else Accumulator(aggregation, len(row.labels), row.height, row.width)
        )
        for sample, score, weight in attributed:
            accumulator.add(sample, score, weight)
        return accumulator.chunk()

    def _attribute(
        self, image: Pixels, row: ImageRow, numbers: Sequence[int], attributor: Attributor
    ) -> Iterator[Attributed]:
        plan = self._plan(row)
        classes = [value - 1 for value in self._run.class_values(row)]
        size = self._settings.samples.network_batch
        for slots in network_batches(numbers, size):
            samples = {slot: plan.sample(number) for slot, number in slots.items()}
            first = next(iter(samples.values()))
            inputs = np.zeros((size, 3, first.height, first.width), np.float32)
            for slot, sample in samples.items():
                inputs[slot] = render_sample(image, sample, plan, attributor.mean, attributor.std)
            scores, probabilities = attributor(inputs, classes)
            for slot, sample in samples.items():
                weights = np.maximum(probabilities[slot], _SMALLEST_PROBABILITY)
                yield sample, scores[:, slot], weights

    def _attributes(self, row: ImageRow, fingerprint: str) -> dict[str, object]:
        settings = self._settings
        return {
            "fingerprint": fingerprint,
            "image": row.image,
            "image_sha256": row.sha256,
            "height": row.height,
            "width": row.width,
            "classes": list(row.labels),
            "class_values": self._run.class_values(row),
            "checkpoint": self._run.classifier.sha256,
            "recipe": self.recipe,
            "method": settings.method,
            "combine_samples": settings.aggregation.combine_samples,
            "weight": settings.aggregation.weight,
            "precision": settings.precision,
            "seed": self._run.config.seed,
        }


def network_batches(numbers: Iterable[int], size: int) -> Iterator[dict[int, int]]:
    """Divide sample numbers into network batches: slot -> sample number.

    Sample k always has slot k mod size, so its place in the network's batch does not depend on
    which samples are still missing.
    """
    for _, group in groupby(numbers, key=lambda number: number // size):
        yield {number % size: number for number in group}


def _bytes(chunk: SampleChunk | RawChunk) -> int:
    if isinstance(chunk, RawChunk):
        return chunk.maps.nbytes + chunk.scales.nbytes + chunk.weights.nbytes
    return chunk.sums.nbytes + chunk.weights.nbytes
