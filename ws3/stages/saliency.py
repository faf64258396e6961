"""classifier + images -> saliency/<recipe>.zarr."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from ws3.aggregation.accumulate import collect_chunk
from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.aggregation.settling import Settling, steps
from ws3.config.recipes import Precision
from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import ImageResult
from ws3.removal import remove_leftovers
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.records import PrecisionFacts, write_first_record
from ws3.run.results import classifier_file
from ws3.run.samples import expected_chunks, load_image, sample_plan
from ws3.sampling.plan import SamplePlan
from ws3.stages.recipe_stage import StoreStage
from ws3.store.groups import FAST_LEVEL, METADATA
from ws3.store.saliency import SaliencyStore

if TYPE_CHECKING:
    from ws3.attribution.device_engine import DeviceAttributor, DevicePending, Settled
    from ws3.attribution.device_geometry import Prepared
    from ws3.attribution.engine import Attributor


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _OpenWork:
    """The samples of an image that are to be computed, by chunk.

    Attributes:
        row: The image.
        plan: Its samples.
        classes: Logit indices of its classes.
        layout: Its chunks, in the order in which they are computed.
        wanted: What of them is missing, in the same order.
        stored: Sums to continue.
        stopping: What decides after how many samples it stops, if that isn't decided yet.
    """

    row: ImageRow
    plan: SamplePlan
    classes: list[int]
    layout: list[str]
    wanted: dict[str, tuple[int, ...]]
    stored: dict[str, SampleChunk | None]
    stopping: dict[str, float] | None

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
        if not self.settings.has_samples:
            raise Ws3Error(
                f"recipe {recipe} has no samples ({self.settings.method}); make its maps with: "
                f"ws3 maps {run.folder} --recipe {recipe}"
            )
        if self.source != recipe:
            raise Ws3Error(
                f"recipe {recipe} takes its samples from {self.source}; make those with: "
                f"ws3 saliency {run.folder} --recipe {self.source}"
            )
        self._classifier = classifier_file(run)
        precision = decided_precision(run, recipe)
        self.settings = self.settings.model_copy(update={"precision": precision})
        self.store = SaliencyStore(run.results("saliency", recipe))
        self.store.create({"kind": "saliency", "recipe": recipe})

    @cached_property
    def _attributor(self) -> Attributor:
        # torch takes seconds to import; a job that finds all done doesn't need it.
        from ws3.attribution.engine import Attributor
        from ws3.classifier.checkpoints import load_classifier
        from ws3.jobs.gpus import own_device
        from ws3.torch_setup import multiplies_bf16

        classifier = load_classifier(self._classifier, self.run.config.classifier.architecture)
        device = own_device(self.run.config.device)
        automatic = self.run.recipe(self.recipe).precision == "auto"
        in_bf16 = self.settings.precision == "bf16"
        if automatic and in_bf16 and device.type == "cpu" and not multiplies_bf16():
            raise Ws3Error(
                f"recipe {self.recipe}: precision: auto chose bf16 on the machine that began this "
                "run, and this CPU does not multiply bf16; go on where one does, or set precision: "
                "fp32, which computes its samples again"
            )
        return Attributor(classifier, self.settings, device)

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether all chunks are there, with this fingerprint and intact."""
        if self.store.fault(row.image, fingerprint) or self._undecided(row) is not None:
            return False
        return not self._missing(row, self._layout(row))

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
        work = self.open_work(row)
        settling = self.settling(work)
        # One stream over all chunks: a network batch may hold samples of two of them.
        attributed = attributor.attribute(image, work.plan, work.classes, work.numbers)
        written = computed = 0
        for name in work.layout:
            if name in work.wanted:
                some = work.wanted[name]
                with timer.phase("compute"):
                    chunk = collect_chunk(
                        islice(attributed, len(some)),
                        self.settings.aggregation,
                        (len(work.classes), row.height, row.width),
                        keep_samples=self.settings.samples.keep_samples,
                        stored=work.stored[name],
                    )
                with timer.phase("write"):
                    self.store.write(row.image, name, chunk)
                written, computed = written + chunk.nbytes, computed + len(some)
            elif settling is not None:
                with timer.phase("load"):
                    chunk = self.store.read(row.image, name)
            if settling is not None:
                with timer.phase("compute"):
                    settling.add(name, chunk)
                    if settling.settled:
                        break
        with timer.phase("write"):
            self.conclude(work, settling)
        return ImageResult(computed, written)

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
        layout = self._layout(row)
        missing = self._missing(row, layout)
        remove_leftovers(self.store.path / row.image / name for name in (METADATA, *missing))
        stored = {name: self._stored(row.image, name, missing[name]) for name in missing}
        order, stopping = list(layout), self._undecided(row)
        if stopping is not None:
            order = list(chain(*steps(order)))
        wanted = {
            name: missing[name][0 if (begun := stored[name]) is None else len(begun.samples) :]
            for name in order
            if name in missing
        }
        plan = sample_plan(self.run, self.recipe, row)
        classes = [value - 1 for value in self.run.class_values(row)]
        return _OpenWork(row, plan, classes, order, wanted, stored, stopping)

    def settling(self, work: _OpenWork) -> Settling | None:
        """Return what decides when an image has enough samples, if that isn't decided yet."""
        return None if work.stopping is None else Settling(self.settings, work.plan)

    def conclude(self, work: _OpenWork, settling: Settling | None) -> None:
        """Note what was decided."""
        if work.stopping is not None and settling is not None:
            self.store.settle(work.row.image, work.stopping, settling.samples, settling.error)

    def _undecided(self, row: ImageRow) -> dict[str, float] | None:
        """Return what decides after how many samples the image stops, if that is still open."""
        stopping = self.settings.stopping
        if stopping is None or not row.labels:
            return None
        return stopping if self.store.settled(row.image, stopping) is None else None

    def _layout(self, row: ImageRow) -> dict[str, tuple[int, ...]]:
        """Return the chunks of an image, up to where it stopped or else to the last possible."""
        stopping = self.settings.stopping
        return expected_chunks(
            row,
            sample_plan(self.run, self.recipe, row),
            self.settings.samples.per_chunk,
            None if stopping is None else self.store.settled(row.image, stopping),
        )

    def _missing(
        self, row: ImageRow, layout: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        """Return the chunks of a layout that aren't there in full, with the samples of each."""
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


def decided_precision(run: Run, recipe: str) -> Precision:
    """Return the arithmetic of a recipe's samples; if it is for the first job to decide, decide.

    Raises:
        StaleResultError: If there is no classifier.
        Ws3Error: If what was decided is damaged.
    """
    with suppress(StaleResultError):
        return run.precision(recipe)
    from ws3.attribution.precision import automatic_precision
    from ws3.classifier.checkpoints import load_classifier
    from ws3.torch_setup import device

    backbone = load_classifier(classifier_file(run), run.config.classifier.architecture).backbone
    chosen = automatic_precision(run.recipe(recipe), backbone, device(run.config.device))
    facts = PrecisionFacts(classifier=run.classifier.sha256, precision=chosen)
    write_first_record(run.precision_file, facts)
    decided = run.precision(recipe)
    _log.info("recipe %s: precision: auto means %s in this run", recipe, decided)
    return decided


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
        first = work.wanted
        if work.stopping is not None:  # whether later steps are computed isn't known yet
            first = {name: first[name] for name in steps(work.layout)[0] if name in first}
        return work, self._attributor.prepare(image, work.plan, first)

    def start(self, read: tuple[_OpenWork, Prepared] | None) -> DevicePending | Settled | None:
        """Hand it to the GPU, and wait for its steps where they decide how many there are."""
        if read is None:
            return None
        work, image = read
        if work.stopping is None:
            return self._attributor.begin(image, work.plan, work.classes, work.wanted, work.stored)
        return self._attributor.settle(
            image,
            work.plan,
            work.classes,
            {name: work.wanted.get(name, ()) for name in work.layout},
            work.stored,
            partial(self._stage.store.read, work.row.image),
        )

    def finish(
        self, read: tuple[_OpenWork, Prepared] | None, pending: DevicePending | Settled | None
    ) -> ImageResult:
        """Commit the chunks."""
        if read is None or pending is None:
            return ImageResult()
        work, written, chunks = read[0], 0, pending.chunks()
        for name, chunk in chunks.items():
            self._stage.store.write(work.row.image, name, chunk, self._computed_on, FAST_LEVEL)
            written += chunk.nbytes
        self._stage.conclude(work, pending.settling)
        return ImageResult(sum(len(work.wanted[name]) for name in chunks), written)
