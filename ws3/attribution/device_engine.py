"""Samples of an image through the network on a GPU, without a step in which the GPU waits.

An image goes up as bytes, all else happens there (`device_geometry`), and the sums of its chunks
come back. Nothing here waits for the device but `DevicePending.chunks`, so the next image is handed
over while this one is computed. What a CPU's result is depends on `samples.batch`; here the
device's memory decides, and batches reach across chunks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ws3.aggregation.accumulate import non_finite
from ws3.aggregation.chunks import RawChunk, SampleChunk, chunk_layout
from ws3.aggregation.combine import combine
from ws3.aggregation.random_walk import Seen
from ws3.aggregation.settling import Settling, steps
from ws3.attribution.device_geometry import (
    DeviceSums,
    ImageOnDevice,
    Prepared,
    as_chunk,
    prepared,
)
from ws3.attribution.engine import SMALLEST_PROBABILITY, Attributor
from ws3.attribution.graphs import GraphedMethod
from ws3.attribution.interface import Attribution
from ws3.errors import Ws3Error
from ws3.sampling.plan import Sample, SamplePlan
from ws3.sampling.views import Pixels
from ws3.torch_setup import Moment, arithmetic, device_facts, fetched, one_thread

_BYTES_PER_PIXEL = 3000
"""Of an input, that a forward pass keeps for the backward pass: ResNet-50's 2,400 and a reserve."""

_MOST_PIXELS = 256 * 224 * 224
"""Of a batch: more fills no GPU better."""

_log = logging.getLogger(__name__)


@dataclass
class _Raw:
    """An image's samples that are kept one by one: maps, scales, weights, by chunk."""

    samples: dict[str, tuple[int, ...]] = field(default_factory=dict)
    parts: dict[str, list[tuple[Tensor, ...]]] = field(default_factory=dict)

    def add(
        self, samples: Sequence[tuple[str, Sample]], scores: Tensor, probabilities: Tensor
    ) -> None:
        scales = scores.amax(dim=(2, 3))
        maps = scores / torch.where(scales > 0, scales, 1.0)[:, :, None, None]
        together, done = (maps.transpose(0, 1).half(), scales.T, probabilities), 0
        for name, group in groupby(samples, key=lambda pair: pair[0]):
            numbers = tuple(sample.number for _, sample in group)
            part = slice(done, done + len(numbers))
            self.samples[name] = (*self.samples.get(name, ()), *numbers)
            self.parts.setdefault(name, []).append(tuple(tensor[part] for tensor in together))
            done = part.stop


class DevicePending:
    """One image that was handed to the device."""

    settling: Settling | None = None

    def __init__(self, made: DeviceSums | _Raw, finite: Tensor, began: Moment) -> None:
        self._finite = fetched(finite)
        self._numbers, self._raw = made.samples, isinstance(made, _Raw)
        self._tensors: dict[str, list[Tensor]]
        if isinstance(made, _Raw):
            self._tensors = {
                name: [fetched(torch.cat(some)) for some in zip(*parts, strict=True)]
                for name, parts in made.parts.items()
            }
        else:
            chunks = zip(fetched(made.sums), fetched(made.weights), strict=True)
            self._tensors = {
                name: list(some) for name, some in zip(made.samples, chunks, strict=True)
            }
        self._began, self._ended = began, Moment(finite.device)

    def chunks(self) -> dict[str, SampleChunk | RawChunk]:
        """Wait for the device, and return what the samples add up to, by chunk.

        Raises:
            Ws3Error: If a score is not a finite number.
        """
        self._ended.wait()
        if not bool(self._finite):
            raise non_finite()
        made: dict[str, SampleChunk | RawChunk] = {}
        for name, tensors in self._tensors.items():
            if self._raw:
                maps, scales, weights = (tensor.numpy() for tensor in tensors)
                made[name] = RawChunk(self._numbers[name], maps, scales, weights)
            else:
                made[name] = as_chunk(self._numbers[name], *tensors)
        return made

    @property
    def seconds(self) -> float:
        """What the device took for it, from its first step to its last; known after `chunks`."""
        return self._ended.since(self._began)


@dataclass
class Settled:
    """An image whose samples were computed step by step, as many as it needs.

    Attributes:
        made: What the samples add up to, by chunk.
        settling: What said that they are enough.
        seconds: What the device took for them.
    """

    made: dict[str, SampleChunk | RawChunk]
    settling: Settling
    seconds: float = 0.0

    def chunks(self) -> dict[str, SampleChunk | RawChunk]:
        """Return what was computed; nothing is to be waited for."""
        return self.made


class DeviceAttributor:
    """A classifier and a recipe, ready to attribute samples of any image on a GPU.

    Its maps are the CPU's up to the rounding of the network's arithmetic and of resized bytes.

    Args:
        attributor: The classifier and the recipe; `samples.batch` has no meaning here. One on
            torch's CPU device serves tests.
        most_pixels: Of a network batch, samples times height times width; None: by the device's
            memory.
    """

    def __init__(self, attributor: Attributor, *, most_pixels: int | None = None) -> None:
        self._attributor, self.recipe = attributor, attributor.recipe
        self.device = attributor.network.device
        self.most_pixels = most_pixels or _pixels_that_fit(self.device)
        self._graphs = GraphedMethod(attributor) if self.device.type == "cuda" else None

    @property
    def facts(self) -> dict[str, str]:
        """What a result depends on beside its fingerprint: the device, precision, versions."""
        return device_facts(self.device, self._attributor.precision)

    def prepare(
        self, image: Pixels, plan: SamplePlan, wanted: Mapping[str, Sequence[int]]
    ) -> Prepared:
        """Do what the host does before `begin`; any thread can, ahead of it."""
        return prepared(image, plan, _samples(plan, wanted), self.device)

    def begin(
        self,
        image: Pixels | Prepared,
        plan: SamplePlan,
        classes: Sequence[int],
        wanted: Mapping[str, Sequence[int]],
        stored: Mapping[str, SampleChunk | None] | None = None,
    ) -> DevicePending:
        """Hand an image to the device; this doesn't wait until it is computed.

        Args:
            image: uint8 RGB (H, W, 3), or what `prepare` made of it.
            plan: The image's samples.
            classes: Logit indices of the classes to explain.
            wanted: Sample numbers by chunk, in order.
            stored: Sums to continue, by chunk.

        Raises:
            Ws3Error: If not even one sample fits into the device's memory.
        """
        while True:
            with suppress(torch.OutOfMemoryError):
                return self._begin(image, plan, classes, wanted, stored or {})
            self._halve(plan, wanted)  # what the error held is free by now

    def maps(
        self,
        image: Pixels,
        plan: SamplePlan,
        classes: Sequence[int],
        seen: Seen | None = None,
    ) -> NDArray[np.float16]:
        """Return one image's final maps; see `ws3.attribution.engine.image_maps`."""
        layout = chunk_layout(plan.total, self.recipe.samples.per_chunk, plan.cover)
        if self.recipe.samples.adaptive is None:
            chunks = self.begin(image, plan, classes, layout).chunks()
        else:
            chunks = self.settle(image, plan, classes, layout).chunks()
        some = (chunks[name] for name in layout if name in chunks)
        return combine(some, self.recipe.aggregation, plan, image, seen)

    def settle(
        self,
        image: Pixels | Prepared,
        plan: SamplePlan,
        classes: Sequence[int],
        layout: Mapping[str, Sequence[int]],
        stored: Mapping[str, SampleChunk | None] | None = None,
        read: Callable[[str], SampleChunk | RawChunk] | None = None,
    ) -> Settled:
        """Compute an image step by step until it has settled; this waits for each step.

        Args:
            image: uint8 RGB (H, W, 3), or what `prepare` made of it.
            plan: The image's samples.
            classes: Logit indices of the classes to explain.
            layout: All sample numbers by chunk, up to the most that there may be; no number where
                a chunk is there already.
            stored: Sums to continue, by chunk.
            read: Returns a chunk that is there already.

        Raises:
            Ws3Error: As for `begin`, or if a score is not a finite number.
        """
        done = Settled({}, Settling(self.recipe, plan))
        for names in steps(layout):
            wanted = {name: layout[name] for name in names if layout[name]}
            if wanted:
                if isinstance(image, Prepared):
                    image = image._replace(samples=_samples(plan, wanted))
                pending = self.begin(image, plan, classes, wanted, stored)
                done.made |= pending.chunks()
                done.seconds += pending.seconds
            for name in names:
                if name in done.made:
                    done.settling.add(name, done.made[name])
                elif read is not None:
                    done.settling.add(name, read(name))
            if done.settling.settled:
                break
        return done

    def _begin(
        self,
        image: Pixels | Prepared,
        plan: SamplePlan,
        classes: Sequence[int],
        wanted: Mapping[str, Sequence[int]],
        stored: Mapping[str, SampleChunk | None],
    ) -> DevicePending:
        began = Moment(self.device)
        shape = (len(classes), plan.whole.height, plan.whole.width)
        keep, aggregation = self.recipe.samples.keep_samples, self.recipe.aggregation
        begun = {name: stored.get(name) for name in wanted}
        made = _Raw() if keep else DeviceSums(aggregation, *shape, self.device, begun)
        if not isinstance(image, Prepared):
            image = self.prepare(image, plan, wanted)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        mean, std = self._attributor.mean, self._attributor.std
        with one_thread(), torch.no_grad():
            view = ImageOnDevice(image, plan, mean, std, self.device)
            for batch in self._batches(image.samples):
                attribution = self._attribute(view.render([one for _, one in batch]), classes)
                scores = attribution.scores.float()
                finite &= scores.isfinite().all()
                weights = attribution.probabilities.float().clamp(min=float(SMALLEST_PROBABILITY))
                with arithmetic("fp32", self.device):
                    made.add(batch, scores, weights)
            return DevicePending(made, finite, began)

    def _batches(self, samples: Sequence[tuple[str, Sample]]) -> list[Sequence[tuple[str, Sample]]]:
        """Divide samples, with their chunks, into batches of one input size and like length."""
        batches: list[Sequence[tuple[str, Sample]]] = []
        for (height, width), group in groupby(
            samples, key=lambda pair: (pair[1].height, pair[1].width)
        ):
            some = list(group)
            parts = -(-len(some) // max(1, self.most_pixels // (height * width)))
            size = -(-len(some) // parts)
            batches += [some[begin : begin + size] for begin in range(0, len(some), size)]
        return batches

    def _attribute(self, inputs: Tensor, classes: Sequence[int]) -> Attribution:
        attributor = self._attributor
        fixed_shape = self.recipe.samples.kind in ("crops", "sliding")
        with (
            torch.enable_grad(),
            arithmetic(attributor.precision, self.device),
            _fastest_kernels(fixed_shape),
        ):
            if self._graphs is not None:
                return self._graphs(inputs, classes)
            return attributor.method(attributor.network, inputs, classes, attributor.options)

    def _halve(self, plan: SamplePlan, wanted: Mapping[str, Sequence[int]]) -> None:
        """Let batches be half as large as those that didn't fit."""
        samples = _samples(plan, wanted)
        largest = max(self._batches(samples), key=lambda b: len(b) * b[0][1].height * b[0][1].width)
        area = largest[0][1].height * largest[0][1].width
        if len(largest) == 1:
            raise Ws3Error(
                f"the {self.facts['device']} has too little memory for one sample of "
                f"{largest[0][1].height} x {largest[0][1].width} pixels; choose a smaller "
                "samples.input_size, or device: cpu"
            )
        self.most_pixels = len(largest) // 2 * area
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        _log.warning(
            "the %s has too little memory for %d samples at once; going on with %d",
            self.facts["device"],
            len(largest),
            len(largest) // 2,
        )


def _samples(plan: SamplePlan, wanted: Mapping[str, Sequence[int]]) -> list[tuple[str, Sample]]:
    """Return samples, each with the name of its chunk."""
    return [(name, plan.sample(number)) for name in wanted for number in wanted[name]]


def _pixels_that_fit(device: torch.device) -> int:
    if device.type != "cuda":
        return _MOST_PIXELS
    free, _ = torch.cuda.mem_get_info(device)
    return min(_MOST_PIXELS, free // _BYTES_PER_PIXEL)


@contextmanager
def _fastest_kernels(tried: bool) -> Iterator[None]:
    """Let cuDNN try its kernels for convolutions; only worth it for a shape that comes again."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = tried
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
