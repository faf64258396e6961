"""classifier + images -> saliency/<recipe>.zarr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from ws3.sampling.plan import SamplePlan
from ws3.stages.recipe_stage import StoreStage
from ws3.store.groups import FAST_LEVEL
from ws3.store.saliency import SaliencyStore

if TYPE_CHECKING:
    from ws3.attribution.device_engine import DeviceAttributor, DevicePending
    from ws3.attribution.device_geometry import Prepared
    from ws3.attribution.engine import Attributor


@dataclass(frozen=True)
class _OpenWork:
    """The samples of an image that are to be computed, by chunk."""

    row: ImageRow
    plan: SamplePlan
    classes: list[int]
    wanted: dict[str, tuple[int, ...]]
    stored: dict[str, SampleChunk | None]

    @property
    def numbers(self) -> list[int]:
        return [number for some in self.wanted.values() for number in some]


class SaliencyStage(StoreStage):
    """Draws an image's samples, attributes each, and stores their partial sums.

    Attributes:
        store: Where they are stored.
        pretend_device: Whether torch's CPU device is used as if it were a GPU, for tests.
    """

    stage = "saliency"
    pretend_device = False

    def __init__(self, run: Run, recipe: str) -> None:
        super().__init__(run, recipe)
        if self.source != recipe:
            raise Ws3Error(
                f"recipe {recipe} takes its samples from {self.source}; make those with: "
                f"ws3 saliency {run.folder} --recipe {self.source}"
            )
        self._classifier = classifier_file(run)
        self.store = SaliencyStore(run.results("saliency", recipe))
        self.store.create({"kind": "saliency", "recipe": recipe})

    @cached_property
    def _attributor(self) -> Attributor:
        # torch takes seconds to import; a job that finds all done doesn't need it.
        from ws3.attribution.engine import Attributor
        from ws3.classifier.checkpoints import load_classifier
        from ws3.jobs.gpus import own_device

        classifier = load_classifier(self._classifier, self.run.config.classifier.architecture)
        return Attributor(classifier, self.settings, own_device(self.run.config.device))

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether all chunks are there, with this fingerprint and intact."""
        return not self.store.fault(row.image, fingerprint) and not self._missing(row)

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
            self.store.begin(row.image, self.attributes(row, fingerprint))
        if attributor is None:
            return ImageResult()
        open_work = self.open_work(row)
        # One stream over all chunks: a network batch may hold samples of two of them.
        attributed = attributor.attribute(
            image, open_work.plan, open_work.classes, open_work.numbers
        )
        written = 0
        for name, some in open_work.wanted.items():
            with timer.phase("compute"):
                chunk = collect_chunk(
                    islice(attributed, len(some)),
                    self.settings.aggregation,
                    (len(open_work.classes), row.height, row.width),
                    keep_samples=self.settings.samples.keep_samples,
                    stored=open_work.stored[name],
                )
            with timer.phase("write"):
                self.store.write(row.image, name, chunk)
            written += chunk.nbytes
        return ImageResult(len(open_work.numbers), written)

    def device_steps(self) -> _OnDevice | None:
        """Return how images go through the GPU that this job has, or None without one."""
        if self.run.config.device == "cpu" and not self.pretend_device:
            return None
        if self._attributor.network.device.type == "cpu" and not self.pretend_device:
            return None
        return self._on_device

    @cached_property
    def _on_device(self) -> _OnDevice:
        from ws3.attribution.device_engine import DeviceAttributor

        return _OnDevice(self, DeviceAttributor(self._attributor))

    def open_work(self, row: ImageRow) -> _OpenWork:
        """Return what of an image that was begun is not stored yet."""
        missing = self._missing(row)
        remove_leftovers(self.store.path / row.image / name for name in missing)
        stored = {name: self._stored(row.image, name, missing[name]) for name in missing}
        wanted = {
            name: numbers[0 if (begun := stored[name]) is None else len(begun.samples) :]
            for name, numbers in missing.items()
        }
        plan = sample_plan(self.run, self.recipe, row)
        classes = [value - 1 for value in self.run.class_values(row)]
        return _OpenWork(row, plan, classes, wanted, stored)

    def _missing(self, row: ImageRow) -> dict[str, tuple[int, ...]]:
        """Return the chunks that aren't there in full, with the samples that each must hold."""
        layout = expected_chunks(
            row, sample_plan(self.run, self.recipe, row), self.settings.samples.per_chunk
        )
        found = self.store.chunk_samples(row.image)
        missing = {name: numbers for name, numbers in layout.items() if found.get(name) != numbers}
        for name in layout.keys() - missing.keys():
            try:
                self.store.read(row.image, name)
            except StaleResultError:
                missing[name] = layout[name]
        return missing

    def _stored(self, image: str, name: str, numbers: Sequence[int]) -> SampleChunk | None:
        """Return a stored chunk that can be continued, or None."""
        try:
            chunk = self.store.read(image, name)
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


class _OnDevice:
    """The stage's three steps on a GPU; see `ws3.jobs.pipeline.DeviceSteps`."""

    def __init__(self, stage: SaliencyStage, attributor: DeviceAttributor) -> None:
        self._stage, self._attributor = stage, attributor
        self._computed_on = {"computed_on": attributor.facts}

    def read(self, row: ImageRow, fingerprint: str) -> tuple[_OpenWork, Prepared] | None:
        """Read an image and draw its noise; None if it shows no class to look for."""
        stage, image = self._stage, load_image(row)
        attributes = stage.attributes(row, fingerprint) | self._computed_on
        stage.store.begin(row.image, attributes)
        if not row.labels:
            return None
        work = stage.open_work(row)
        return work, self._attributor.prepare(image, work.plan, work.wanted)

    def start(self, read: tuple[_OpenWork, Prepared] | None) -> DevicePending | None:
        """Hand it to the GPU."""
        if read is None:
            return None
        work, image = read
        return self._attributor.begin(image, work.plan, work.classes, work.wanted, work.stored)

    def finish(
        self, read: tuple[_OpenWork, Prepared] | None, pending: DevicePending | None
    ) -> ImageResult:
        """Commit the chunks."""
        if read is None or pending is None:
            return ImageResult()
        work, written = read[0], 0
        for name, chunk in pending.chunks().items():
            self._stage.store.write(work.row.image, name, chunk, self._computed_on, FAST_LEVEL)
            written += chunk.nbytes
        return ImageResult(len(work.numbers), written)
