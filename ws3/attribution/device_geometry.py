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
from itertools import groupby
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
    """Resizing along an axis: result p of sample b is sum_k weights[b, p, k] x[places[b, p, k]].

    Attributes:
        places: int64 (2, samples, results, taps), along rows and along columns.
        weights: float32 (2, samples, results, taps).
    """

    places: Tensor
    weights: Tensor


class Frames(NamedTuple):
    """Where some samples lie in their image, and how they are resized, on the device.

    Attributes:
        taps: Numbers per result that resizing along an axis takes at most.
        corners: float64 (2, samples, 1, 1), top and left of the windows.
        old: float64 (2, samples, 1, 1), heights and widths before resizing.
        new: float64 (2, samples, 1, 1), heights and widths after it.
        flips: bool (samples, 1, 1).
        mirrored: bool (2, samples, 1, 1), of rows never, of columns as `flips`.
        area: bool (samples, 1, 1): there are fewer pixels after resizing.
        averages: bool (samples, 1, 1): and along no side more.
    """

    taps: int
    corners: Tensor
    old: Tensor
    new: Tensor
    flips: Tensor
    mirrored: Tensor
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
    rows, taps = [], 1
    for sample in samples:
        window = sample.window
        inside, seen = (window.height, window.width), (sample.height, sample.width)
        old, new = (inside, seen) if maps is None else (maps, inside)
        area = new[0] * new[1] < old[0] * old[1]
        averages = area and new[0] <= old[0] and new[1] <= old[1]
        for axis in (0, 1):
            count = old[axis] // new[axis] + 2 if averages else 2
            taps = max(taps, count)
        rows.append([window.top, window.left, *old, *new, False, sample.flip, area, averages])
    facts = sent(torch.tensor(rows, dtype=torch.float64).T.contiguous(), device)[:, :, None, None]
    truths = facts[6:] > 0
    return Frames(
        taps, facts[:2], facts[2:4], facts[4:6], truths[1], truths[:2], truths[2], truths[3]
    )


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
        samples: Its samples, each with the name of its chunk.
        noise: What is added to a sample's pixels, float32 (h, w, 3), by its number.
    """

    pixels: Tensor
    samples: Sequence[tuple[str, Sample]]
    noise: Mapping[int, NDArray[np.float32]]


def prepared(
    image: Pixels,
    plan: SamplePlan,
    samples: Sequence[tuple[str, Sample]],
    device: torch.device | str,
) -> Prepared:
    """Prepare an image, and the noise of its samples as far as memory for it is bounded."""
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))
    if torch.device(device).type == "cuda":
        pixels = pixels.pin_memory()
    noise, left = {}, _LARGEST_TABLE
    for _, sample in samples:
        left -= 12 * sample.height * sample.width
        if not sample.noise or left < 0:
            break
        noise[sample.number] = draw_noise(sample, plan)
    return Prepared(pixels, samples, noise)


def axis_taps(frames: Frames, positions: Tensor) -> Taps:
    """Return the weights that `ws3.pixels.resize` has, along rows and along columns.

    Args:
        frames: How the samples are resized.
        positions: float64 (2, samples, results, 1), which rows, and which columns, of the resized
            array are wanted; what lies outside of it is 0.
    """
    old, new, at = frames.old, frames.new, positions
    tap = _numbers(frames.taps, at.device)
    inverse = new / old
    scale = 1 / inverse  # OpenCV's order of rounding: a floor follows

    # Bilinear; `corner` is OpenCV's variant of it where one side shrinks and the other grows.
    centre = ((at + 0.5) * scale - 0.5).float().double()
    corner = torch.floor(at * scale)
    beyond = ((at + 1) - (corner + 1) * inverse).float().double()
    beyond = (beyond - beyond.floor()) * (beyond > 0)
    first = torch.where(frames.area, corner, centre.floor())
    share = torch.where(frames.area, beyond, centre - centre.floor())
    share = share * ((first >= 0) & (first < old - 1))
    first = first.clamp(min=0)
    linear = (1 - (tap - share).abs()).clamp(min=0)

    # The mean over the pixels that a result's pixel covers, wholly or in part.
    begin = at * scale
    place = begin.floor() + tap
    covered = torch.minimum(place + 1, begin + scale) - torch.maximum(place, begin)
    size = torch.minimum(scale, old - begin).clamp(min=_IGNORED)  # of what lies outside, too
    covered = covered * (covered > _IGNORED) / size

    weights = torch.where(frames.averages, covered, linear) * ((at >= 0) & (at < new))
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
        at = _numbers(max(height, width), self._device)[:, None].expand(2, count, -1, -1)
        taps = axis_taps(sizes, torch.where(sizes.mirrored, width - 1 - at, at))
        places = (taps.places + sizes.corners).long()
        along = places[1, :, :width], taps.weights[1, :, :width]
        narrow = product(self._columns, *(one.flatten(0, 1) for one in along))
        table = narrow.view(count, width, self._height, 3).transpose(1, 2).reshape(-1, width * 3)
        starts = self._height * _numbers(count, self._device).long()[:, None, None]
        along = places[0, :, :height] + starts, taps.weights[0, :, :height]
        resized = product(table, *(one.flatten(0, 1) for one in along))
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
    """The running sums, or maxima, of an image's sample chunks, on the device.

    `Accumulator` makes the same of one chunk on the CPU; sums differ by the rounding of float32.

    Attributes:
        samples: Numbers of the samples added so far, by chunk.
        sums: float32 (chunks, classes, H, W).
        weights: float32 (chunks, H, W), numbers of samples, or (chunks, classes, H, W).
    """

    def __init__(
        self,
        aggregation: Aggregation,
        classes: int,
        height: int,
        width: int,
        device: torch.device | str,
        stored: Mapping[str, SampleChunk | None],
    ) -> None:
        """Begin each chunk with zeros, or with what was stored of it before it was full.

        Args:
            aggregation: The recipe's `aggregation` section.
            classes: Number of the image's classes.
            height: Of the image, in pixels.
            width: Of the image, in pixels.
            device: Where to compute.
            stored: What there is of each chunk, by its name.
        """
        self._aggregation, self._device = aggregation, torch.device(device)
        self._shape = classes, height, width
        self._place = {name: place for place, name in enumerate(stored)}
        self.samples: dict[str, tuple[int, ...]] = {}
        by_class = (classes,) if aggregation.weight == "probability" else ()
        self.sums = torch.zeros((len(stored), classes, height, width), device=self._device)
        weights = (len(stored), *by_class, height, width)
        self.weights = torch.zeros(weights, device=self._device)
        for name, chunk in stored.items():
            self.samples[name] = () if chunk is None else chunk.samples
            if chunk is not None:
                place = self._place[name]
                self.sums[place] = sent(torch.from_numpy(chunk.sums), self._device)
                counted = torch.from_numpy(chunk.weights.astype(np.float32))
                self.weights[place] = sent(counted, self._device)

    def add(
        self, samples: Sequence[tuple[str, Sample]], scores: Tensor, probabilities: Tensor
    ) -> None:
        """Paste the maps of some samples back and add them.

        Args:
            samples: The samples, each with the name of its chunk; those of a chunk are together,
                and their numbers follow those added before.
            scores: float32 (classes, samples, h, w), finite and not negative.
            probabilities: float32 (samples, classes) of the classifier on these samples.
        """
        classes, height, width = self._shape
        per_sample = 4 * classes * width * max(scores.shape[2], height)
        size = max(1, _LARGEST_TABLE // per_sample)
        for begin in range(0, len(samples), size):
            part = slice(begin, begin + size)
            self._add(samples[part], scores[:, part], probabilities[part])
        for name, group in groupby(samples, key=lambda pair: pair[0]):
            self.samples[name] = (*self.samples[name], *(sample.number for _, sample in group))

    def _add(
        self, samples: Sequence[tuple[str, Sample]], scores: Tensor, probabilities: Tensor
    ) -> None:
        classes, height, width = self._shape
        count, inner_height, inner_width = len(samples), scores.shape[2], scores.shape[3]
        scores = relative(scores, self._aggregation)
        sizes = frames([one for _, one in samples], self._device, (inner_height, inner_width))
        at = _numbers(max(height, width), self._device)[:, None] - sizes.corners
        taps = axis_taps(sizes, at)
        within = ((at >= 0) & (at < sizes.new))[..., 0].float()
        rows, columns = within[0, :, :height], within[1, :, :width]
        if self._aggregation.weight == "probability":
            scores = scores * probabilities.T[:, :, None, None]
            rows = probabilities.T[:, :, None] * rows

        # A table whose rows are the maps' columns, all classes and rows of a map in each.
        table = scores.permute(1, 3, 0, 2).reshape(count * inner_width, classes * inner_height)
        starts = _numbers(count, self._device).long()[:, None, None]
        places = taps.places[1, :, :width]
        places = torch.where(sizes.flips, inner_width - 1 - places, places) + inner_width * starts
        weights = taps.weights[1, :, :width]
        wide = product(table, places.flatten(0, 1), weights.flatten(0, 1))
        wide = wide.view(count, width, classes, inner_height).permute(0, 3, 2, 1)
        table = wide.reshape(count * inner_height, classes * width)
        places = taps.places[0, :, :height] + inner_height * starts
        weights = taps.weights[0, :, :height]
        done = 0
        for name, group in groupby(samples, key=lambda pair: pair[0]):
            part = slice(done, done + len(list(group)))
            done, place = part.stop, self._place[name]
            self.weights[place] += rows[..., part, :].mT @ columns[part]
            chosen, shares = places[part], weights[part]
            if self._aggregation.combine_samples == "max":
                pasted = product(table, chosen.flatten(0, 1), shares.flatten(0, 1))
                largest = pasted.view(-1, height, classes, width).amax(dim=0).transpose(0, 1)
                torch.maximum(self.sums[place], largest, out=self.sums[place])
                continue
            # All of a chunk's at once: what a row of the sum takes from each sample is one bag.
            bags = [one.transpose(0, 1).reshape(height, -1) for one in (chosen, shares)]
            total = product(table, *bags).view(height, classes, width)
            self.sums[place] += total.transpose(0, 1)


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
