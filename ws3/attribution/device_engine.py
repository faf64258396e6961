"""Samples of an image through the network on a GPU, without a step in which the GPU waits.

An image goes up as bytes, all else happens there (`device_geometry`), and the sums of its chunks
come back. Nothing here waits for the device but `DevicePending.chunks`, so the next image is handed
over while this one is computed. What a CPU's result is depends on `samples.batch`; here the
device's memory decides, and batches reach across chunks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ws3.aggregation.accumulate import non_finite
from ws3.aggregation.chunks import RawChunk, SampleChunk, chunk_layout
from ws3.aggregation.combine import combine
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
from ws3.torch_setup import arithmetic, one_thread

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

    def __init__(self, made: DeviceSums | _Raw, finite: Tensor, began: _Moment) -> None:
        self._finite = _fetched(finite)
        self._numbers, self._raw = made.samples, isinstance(made, _Raw)
        self._tensors: dict[str, list[Tensor]]
        if isinstance(made, _Raw):
            self._tensors = {
                name: [_fetched(torch.cat(some)) for some in zip(*parts, strict=True)]
                for name, parts in made.parts.items()
            }
        else:
            chunks = zip(_fetched(made.sums), _fetched(made.weights), strict=True)
            self._tensors = {
                name: list(some) for name, some in zip(made.samples, chunks, strict=True)
            }
        self._began, self._ended = began, _Moment(finite.device)

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
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else self.device.type,
            "precision": self.recipe.precision,
            "torch": torch.__version__,
            "cuda": (torch.version.cuda or "") if cuda else "",
        }

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
        features: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float16]:
        """Return one image's final maps; see `ws3.attribution.engine.image_maps`."""
        layout = chunk_layout(plan.total, self.recipe.samples.per_chunk, plan.cover)
        chunks = self.begin(image, plan, classes, layout).chunks()
        return combine(chunks.values(), self.recipe.aggregation, plan, image, features)

    def _begin(
        self,
        image: Pixels | Prepared,
        plan: SamplePlan,
        classes: Sequence[int],
        wanted: Mapping[str, Sequence[int]],
        stored: Mapping[str, SampleChunk | None],
    ) -> DevicePending:
        began = _Moment(self.device)
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
            arithmetic(self.recipe.precision, self.device),
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


def _fetched(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, which is there once the device has come to this point."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)


class _Moment:
    """A point in the device's order of work."""

    def __init__(self, device: torch.device) -> None:
        self._clock, self._event = time.monotonic(), None
        if device.type == "cuda":
            new_event: Any = torch.cuda.Event
            self._event = new_event(enable_timing=True)
            self._event.record(torch.cuda.current_stream(device))

    def wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()

    def since(self, earlier: _Moment) -> float:
        if self._event is not None and earlier._event is not None:
            return float(earlier._event.elapsed_time(self._event)) / 1000
        return self._clock - earlier._clock
