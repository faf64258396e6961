"""Cutting, resizing and pasting back on the device that computes, a batch of samples at a time.

`ws3.sampling.views` and `ws3.aggregation.accumulate` do the same for one sample on the CPU; here an
image goes up once, and only sums come back. Resizing along one axis is a product with a matrix of a
few numbers per row, the weights of OpenCV's `INTER_AREA` or `INTER_LINEAR`. A product with such
*taps* is one `embedding_bag`: a weighted sum of some rows of a table for each row of the result.

Of an image of H x W pixels, with t taps and an input of s x s, a sample takes 6 t s (H + s)
floating-point operations and 12 (t + 1) s (H + s) bytes on its way in, most of them in the cache,
and 2 t W (H + s) operations and 4 (t + 1) W (H + s) bytes for each class on its way back. For
500 x 375 pixels, s = 224 and t = 3 that is 4.2 million operations and 11 MB, where ResNet-50 has 16
billion operations. Products with full matrices would be 700 million.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ws3.aggregation.chunks import SampleChunk
from ws3.config.recipes import Aggregation
from ws3.sampling.plan import Sample, SamplePlan
from ws3.sampling.views import Pixels, draw_noise, hidden_pixels

_LARGEST_TABLE = 2**28
"""Bytes of an intermediate result above which a batch is worked on in parts."""

_IGNORED = 1e-3
"""Share of a pixel that OpenCV's area average leaves out."""

_HALF, _TRUNCATED = 0.5, 0.1
"""What is added before a resized byte is cut to a whole number, and the mean of what OpenCV's
linear interpolation, of numbers with 11 bits, loses on the way."""


class Taps(NamedTuple):
    """Resizing along one axis: result p of sample b is sum_k weights[b, p, k] x[places[b, p, k]].

    Attributes:
        places: int64 (samples, results, taps).
        weights: float32 (samples, results, taps).
    """

    places: Tensor
    weights: Tensor


class Frames(NamedTuple):
    """Where some samples lie in their image, and how they are resized, on the device.

    Attributes:
        taps: Numbers per result that resizing along rows and along columns takes at most.
        corners: float64 (2, samples, 1, 1), top and left of the windows.
        old: float64 (2, samples, 1, 1), heights and widths before resizing.
        new: float64 (2, samples, 1, 1), heights and widths after it.
        flips: bool (samples, 1, 1).
        area: bool (samples, 1, 1): there are fewer pixels after resizing.
        averages: bool (samples, 1, 1): and along no side more.
    """

    taps: tuple[int, int]
    corners: Tensor
    old: Tensor
    new: Tensor
    flips: Tensor
    area: Tensor
    averages: Tensor


def frames(
    samples: Sequence[Sample], device: torch.device, maps: tuple[int, int] | None = None
) -> Frames:
    """Return how samples are resized from their windows, or how their maps are back to these.

    Args:
        samples: The samples.
        device: Where to compute.
        maps: Height and width of the samples' maps, for the way back.
    """
    rows, taps = [], [1, 1]
    for sample in samples:
        window = sample.window
        inside, seen = (window.height, window.width), (sample.height, sample.width)
        old, new = (inside, seen) if maps is None else (maps, inside)
        area = new[0] * new[1] < old[0] * old[1]
        averages = area and new[0] <= old[0] and new[1] <= old[1]
        for axis in (0, 1):
            count = old[axis] // new[axis] + 2 if averages else 2
            taps[axis] = max(taps[axis], count)
        rows.append([window.top, window.left, *old, *new, sample.flip, area, averages])
    facts = sent(torch.tensor(rows, dtype=torch.float64).T.contiguous(), device)[:, :, None, None]
    flips, area, averages = facts[6:] > 0
    return Frames((taps[0], taps[1]), facts[:2], facts[2:4], facts[4:6], flips, area, averages)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a GPU gets it in its turn, and nobody waits for that."""
    if device.type != "cuda":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


class Prepared(NamedTuple):
    """What the host does for an image before it goes up; threads can do it ahead.

    Attributes:
        pixels: uint8 RGB (H, W, 3), in pinned memory if it goes to a GPU.
        noise: What is added to a sample's pixels, float32 (h, w, 3), by its number.
    """

    pixels: Tensor
    noise: Mapping[int, NDArray[np.float32]]


def prepared(
    image: Pixels, plan: SamplePlan, samples: Sequence[Sample], device: torch.device | str
) -> Prepared:
    """Prepare an image, and the noise of its samples as far as memory for it is bounded."""
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))
    if torch.device(device).type == "cuda":
        pixels = pixels.pin_memory()
    noise, left = {}, _LARGEST_TABLE
    for sample in samples:
        left -= 12 * sample.height * sample.width
        if not sample.noise or left < 0:
            break
        noise[sample.number] = draw_noise(sample, plan)
    return Prepared(pixels, noise)


def axis_taps(frames: Frames, axis: int, positions: Tensor) -> Taps:
    """Return the weights that `ws3.pixels.resize` has along one axis.

    Args:
        frames: How the samples are resized.
        axis: 0 for rows, 1 for columns.
        positions: float64 (samples, results, 1), which pixels of the resized array are wanted; one
            outside of it is 0.
    """
    old, new, at = frames.old[axis], frames.new[axis], positions
    tap = torch.arange(frames.taps[axis], dtype=torch.float64, device=at.device)
    scale = old / new

    # Bilinear; `corner` is OpenCV's variant of it where one side shrinks and the other grows.
    centre = (at + 0.5) * scale - 0.5
    corner = torch.floor(at * scale)
    beyond = (at + 1) - (corner + 1) / scale
    beyond = torch.where(beyond <= 0, 0.0, beyond - beyond.floor())
    first = torch.where(frames.area, corner, centre.floor())
    share = torch.where(frames.area, beyond, centre - centre.floor())
    share = torch.where((first < 0) | (first >= old - 1), 0.0, share)
    first = first.clamp(min=0)
    weight = torch.where(tap == 0, 1 - share, torch.where(tap == 1, share, 0.0))

    # The mean over the pixels that a result's pixel covers, wholly or in part.
    begin = at * scale
    end = begin + scale
    size = torch.minimum(scale, old - begin)
    last = torch.minimum(end.floor(), old - 1)
    whole = torch.minimum(begin.ceil(), last)
    place = begin.floor() + tap
    left, right = whole - begin, end - last
    left = torch.where(left > _IGNORED, left, 0.0)
    right = torch.where(right > _IGNORED, torch.minimum(right.clamp(max=1), size), 0.0)
    covered = torch.where(place < whole, left, torch.where(place < last, 1.0, right)) / size
    covered = torch.where(place > last, 0.0, covered)

    inside = (at >= 0) & (at < new)
    weights = torch.where(inside, torch.where(frames.averages, covered, weight), 0.0)
    places = torch.where(frames.averages, place, first + tap)
    places = torch.minimum(places.clamp(min=0), old - 1).to(torch.int64)
    return Taps(places, weights.to(torch.float32))


def product(table: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Return sum_k weights[i, k] table[places[i, k]], (rows, columns) of a table (n, columns)."""
    return F.embedding_bag(places, table, per_sample_weights=weights, mode="sum")


class ImageOnDevice:
    """An image on the device, from which samples are drawn in the form that the network takes.

    They are those of `render_sample`, but for rounding: where a window is enlarged, OpenCV works on
    bytes with numbers of 11 bits, and of a hundred values some six differ, by 1 of 255.

    Example:
        >>> from ws3.config.recipes import Samples
        >>> place = {"image": "i", "height": 9, "width": 8, "seed": 0, "recipe": "r"}
        >>> plan = SamplePlan(Samples(kind="crops"), **place, input_size=32)
        >>> image = np.zeros((9, 8, 3), np.uint8)
        >>> view = ImageOnDevice(image, plan, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "cpu")
        >>> view.render([plan.sample(0), plan.sample(1)]).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        image: Pixels | Prepared,
        plan: SamplePlan,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
    ) -> None:
        """Bring an image to the device.

        Args:
            image: uint8 RGB (H, W, 3), or what `prepared` made of it.
            plan: The plan that the samples are from; it seeds noise and masking.
            mean: Per channel, for RGB in [0, 1].
            std: Per channel, for RGB in [0, 1].
            device: Where to compute.
        """
        self._plan, self._device = plan, torch.device(device)
        self._height, self._width = plan.whole.height, plan.whole.width
        if not isinstance(image, Prepared):
            image = prepared(image, plan, (), self._device)
        self._noise = image.noise
        there = sent(image.pixels, self._device)
        # A table whose rows are the image's columns: these are resized first.
        self._columns = there.permute(1, 0, 2).to(torch.float32).reshape(self._width, -1)
        self._mean, self._std = sent(torch.tensor([mean, std]), self._device)

    def render(self, samples: Sequence[Sample]) -> Tensor:
        """Return what the network sees of some samples.

        Args:
            samples: Samples of one size.

        Returns:
            float32 (samples, 3, h, w), normalised and channels-last.
        """
        per_sample = 24 * samples[0].width * max(self._height, samples[0].height)
        size = max(1, _LARGEST_TABLE // per_sample)
        divided = [samples[begin : begin + size] for begin in range(0, len(samples), size)]
        parts = [self._normalised(self._resized(part), part) for part in divided]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).permute(0, 3, 1, 2)

    def _resized(self, samples: Sequence[Sample]) -> Tensor:
        """Return float32 (samples, h, w, 3) in [0, 255], whole numbers as a file has them."""
        count, height, width = len(samples), samples[0].height, samples[0].width
        sizes = frames(samples, self._device)
        across = _numbers(width, self._device)[None, :, None]
        columns = axis_taps(sizes, 1, torch.where(sizes.flips, width - 1 - across, across))
        places = columns.places + sizes.corners[1].long()
        narrow = product(self._columns, places.flatten(0, 1), columns.weights.flatten(0, 1))
        table = narrow.view(count, width, self._height, 3).transpose(1, 2).reshape(-1, width * 3)
        rows = axis_taps(
            sizes, 0, _numbers(height, self._device)[None, :, None].expand(count, -1, -1)
        )
        start = self._height * _numbers(count, self._device)[:, None, None]
        places = (rows.places + (start + sizes.corners[0]).long()).flatten(0, 1)
        resized = product(table, places, rows.weights.flatten(0, 1))
        resized = resized.view(count, height, width, 3)
        return resized.add_((_HALF - _TRUNCATED * ~sizes.averages[..., None]).float()).floor_()

    def _normalised(self, pixels: Tensor, samples: Sequence[Sample]) -> Tensor:
        pixels = pixels.div_(255)
        if samples[0].noise:
            noise = [
                drawn
                if (drawn := self._noise.get(one.number)) is not None
                else draw_noise(one, self._plan)
                for one in samples
            ]
            pixels += sent(torch.from_numpy(np.stack(noise)), self._device)
        pixels = pixels.sub_(self._mean).div_(self._std)
        if samples[0].masking is not None:
            hidden = np.stack([hidden_pixels(sample, self._plan) for sample in samples])
            pixels.masked_fill_(sent(torch.from_numpy(hidden), self._device)[..., None], 0)
        return pixels


class DeviceSums:
    """The running sum, or maximum, of one sample chunk of one image, on the device.

    `Accumulator` makes the same on the CPU; sums differ by the rounding of float32.
    """

    def __init__(
        self,
        aggregation: Aggregation,
        classes: int,
        height: int,
        width: int,
        device: torch.device | str,
        stored: SampleChunk | None = None,
    ) -> None:
        """Begin with zeros, or with a chunk that was stored before it was full."""
        self._aggregation, self._device = aggregation, torch.device(device)
        self._shape = classes, height, width
        self.samples: tuple[int, ...] = ()
        by_class = aggregation.weight == "probability"
        weights = (classes, height, width) if by_class else (height, width)
        if stored is None:
            self.sums = torch.zeros(self._shape, device=self._device)
            self.weights = torch.zeros(weights, device=self._device)
        else:
            self.samples = stored.samples
            self.sums = torch.from_numpy(stored.sums).to(self._device, copy=True)
            counted = torch.from_numpy(stored.weights.astype(np.float32))
            self.weights = counted.to(self._device, copy=True)

    def add(self, samples: Sequence[Sample], scores: Tensor, probabilities: Tensor) -> None:
        """Paste the maps of some samples back and add them.

        Args:
            samples: The samples; their numbers follow those added before.
            scores: float32 (classes, samples, h, w), finite and not negative.
            probabilities: float32 (samples, classes) of the classifier on these samples.
        """
        classes, height, width = self._shape
        per_sample = 4 * classes * width * max(scores.shape[2], height)
        size = max(1, _LARGEST_TABLE // per_sample)
        for begin in range(0, len(samples), size):
            part = slice(begin, begin + size)
            self._add(samples[part], scores[:, part], probabilities[part])
        self.samples = (*self.samples, *(sample.number for sample in samples))

    def _add(self, samples: Sequence[Sample], scores: Tensor, probabilities: Tensor) -> None:
        classes, height, width = self._shape
        count, inner_height, inner_width = len(samples), scores.shape[2], scores.shape[3]
        scores = relative(scores, self._aggregation)
        sizes = frames(samples, self._device, (inner_height, inner_width))
        down = _numbers(height, self._device)[None, :, None] - sizes.corners[0]
        across = _numbers(width, self._device)[None, :, None] - sizes.corners[1]
        rows, columns = axis_taps(sizes, 0, down), axis_taps(sizes, 1, across)
        within = [
            ((at >= 0) & (at < new))[:, :, 0].float()
            for at, new in zip((down, across), sizes.new, strict=True)
        ]
        if self._aggregation.weight == "probability":
            scores = scores * probabilities.T[:, :, None, None]
            each = probabilities.T[:, :, None] * within[0]
            self.weights += torch.einsum("cby,bx->cyx", each, within[1])
        else:
            self.weights += within[0].T @ within[1]

        number = _numbers(count, self._device).long()[:, None, None]
        places = torch.where(sizes.flips, inner_width - 1 - columns.places, columns.places)
        places += inner_width * number
        # A table whose rows are the maps' columns, all classes and rows of a map in each.
        table = scores.permute(1, 3, 0, 2).reshape(count * inner_width, classes * inner_height)
        wide = product(table, places.flatten(0, 1), columns.weights.flatten(0, 1))
        wide = wide.view(count, width, classes, inner_height).permute(0, 3, 2, 1)
        table = wide.reshape(count * inner_height, classes * width)
        places = rows.places + inner_height * number
        if self._aggregation.combine_samples == "max":
            pasted = product(table, places.flatten(0, 1), rows.weights.flatten(0, 1))
            largest = pasted.view(count, height, classes, width).amax(dim=0).transpose(0, 1)
            torch.maximum(self.sums, largest, out=self.sums)
            return
        # All samples at once: what a row of the sum takes from each of them is one bag.
        taken = [part.transpose(0, 1).reshape(height, -1) for part in (places, rows.weights)]
        self.sums += product(table, *taken).view(height, classes, width).transpose(0, 1)

    def chunk(self) -> SampleChunk:
        """Return the sum so far; this waits for the device."""
        return as_chunk(self.samples, self.sums.cpu(), self.weights.cpu())


def _numbers(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, dtype=torch.float64, device=device)


def relative(scores: Tensor, aggregation: Aggregation) -> Tensor:
    """Divide each map (..., h, w) by its maximum or mean, if asked; see `accumulate.normalised`."""
    if aggregation.normalise_samples == "none":
        return scores
    if aggregation.normalise_samples == "max":
        divisor = scores.amax(dim=(-2, -1), keepdim=True)
    else:
        divisor = scores.mean(dim=(-2, -1), keepdim=True)
    return torch.where(divisor > 0, scores / divisor, 0.0)


def as_chunk(samples: tuple[int, ...], sums: Tensor, weights: Tensor) -> SampleChunk:
    """Return a chunk in the form of the store.

    Args:
        samples: The samples' numbers.
        sums: float32 (classes, H, W) on the CPU.
        weights: float32 (H, W), numbers of samples, or float32 (classes, H, W), on the CPU.
    """
    counted: NDArray[np.float32] = weights.numpy()
    return SampleChunk(
        samples, sums.numpy(), counted.astype(np.uint16) if counted.ndim == 2 else counted
    )
