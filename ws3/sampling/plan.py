"""The samples of one image, by number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ws3.config.recipes import Masking, Samples
from ws3.sampling.windows import Window, WindowSequence, sliding_windows, windows_to_cover

# Every network here halves its input five times; other sizes would be padded inside it.
_STRIDE = 32

WHOLE_IMAGE = -1
"""Number of the first sample of the whole image beside crops; the next are -2, -3 and so on."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One view of an image: what is cut out, how it is changed, and the size the network sees."""

    number: int
    window: Window
    height: int
    width: int
    flip: bool = False
    noise: float | None = None
    masking: Masking | None = None


class Place(NamedTuple):
    """A sample's place in the network's batches, which doesn't depend on the other samples.

    Attributes:
        regular: Whether the sample is none of those of the whole image beside crops.
        batch: Number of the batch, among those of its kind.
        slot: The place in it.
        size: Of the batch; slots without a sample are padded.
    """

    regular: bool
    batch: int
    slot: int
    size: int


class SamplePlan:
    """All samples of one image for one recipe; a pure function of its arguments."""

    def __init__(
        self,
        samples: Samples,
        *,
        image: str,
        height: int,
        width: int,
        seed: int,
        recipe: str,
        input_size: int,
        windows: Sequence[Window] | None = None,
    ) -> None:
        """Plan the samples.

        Args:
            samples: The recipe's `samples` section.
            image: The image's id.
            height: Of the image, in pixels.
            width: Of the image, in pixels.
            seed: The run's seed.
            recipe: The recipe's name.
            input_size: Side of the network's input where `samples.input_size` is null.
            windows: Where to crop, in place of the windows that would be drawn; kind crops only.
        """
        self._samples = samples
        self.whole = Window(0, 0, height, width)
        self._input_size = samples.input_size or input_size
        self.seed, self.recipe, self.image = seed, recipe, image
        self.covering = windows_to_cover(height, width, samples.side)
        self._windows: WindowSequence | Sequence[Window]
        if windows is None and samples.kind == "sliding":
            self._windows = sliding_windows(height, width, samples.scales, samples.step)
            self.total = len(self._windows)
            leaves_out = False
        elif windows is None:
            self._windows = WindowSequence(height, width, samples.side, seed, recipe, image)
            self.total = samples.total
            leaves_out = samples.kind == "crops" and samples.total < self.covering
        else:
            self._windows = windows
            self.total = len(windows)
            leaves_out = not _cover(windows, height, width)
        self.needs_cover = leaves_out and not samples.whole_image

    @property
    def cover(self) -> tuple[int, ...]:
        """Numbers of the whole-image samples beside the crops.

        They are those of `samples.whole_image`, each size followed by its mirror image. Without
        these it is one, if the crops leave pixels out, and else none.
        """
        views = 2 * len(self._samples.whole_image) or int(self.needs_cover)
        return tuple(range(WHOLE_IMAGE, WHOLE_IMAGE - views, -1))

    def place(self, number: int) -> Place:
        """Return where sample `number` has its place in the network's batches."""
        if number >= 0:
            size = self._samples.network_batch
            return Place(True, number // size, number % size, size)
        size = 2 if self._samples.whole_image else 1
        beside = WHOLE_IMAGE - number
        return Place(False, beside // size, beside % size, size)

    def sample(self, number: int) -> Sample:
        """Return sample `number`, or one of the whole image for `WHOLE_IMAGE` and below."""
        samples, size = self._samples, self._input_size
        cut = samples.kind in ("crops", "sliding")
        if number < 0 and samples.whole_image:
            scale, mirrored = divmod(WHOLE_IMAGE - number, 2)
            height, width = self._fitted(samples.whole_image[scale])
            return Sample(number, self.whole, height, width, flip=mirrored == 1)
        if number < 0:
            return Sample(WHOLE_IMAGE, self.whole, size, size)
        if samples.kind == "scales":
            views = 2 if samples.flip else 1
            height, width = self._fitted(samples.scales[number // views])
            flip = number % views == 1
        else:
            flip = samples.flip and number % 2 == 1
            height, width = (size, size) if cut else self._fitted(1.0)
        return Sample(
            number=number,
            window=self._windows[number] if cut else self.whole,
            height=height,
            width=width,
            flip=flip,
            noise=samples.noise,
            masking=samples.masking,
        )

    def _fitted(self, scale: float) -> tuple[int, int]:
        """Return the size with the image's aspect and scale x the network's area."""
        factor = self._input_size * scale / math.sqrt(self.whole.height * self.whole.width)
        height, width = self.whole.height * factor, self.whole.width * factor
        return (
            max(_STRIDE, round(height / _STRIDE) * _STRIDE),
            max(_STRIDE, round(width / _STRIDE) * _STRIDE),
        )


def _cover(windows: Sequence[Window], height: int, width: int) -> bool:
    """Return whether every pixel lies in at least one window."""
    covered = np.zeros((height, width), np.bool_)
    for window in windows:
        covered[window.slices] = True
    return bool(covered.all())
