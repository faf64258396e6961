"""Dense CRF (Krähenbühl and Koltun 2011), through pydensecrf."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ws3.config.masks import CrfParameters
from ws3.errors import Ws3Error
from ws3.masks.background import hard_labels
from ws3.messages import shown
from ws3.pixels import resize

_MOST_WIDTHS = 8000
PRESETS: dict[str, CrfParameters] = {
    # Chen et al. 2017, in the numbers of kazuto1011/deeplab-pytorch.
    "deeplab": CrfParameters(
        gaussian_sxy=1,
        gaussian_compat=3,
        bilateral_sxy=67,
        bilateral_srgb=3,
        bilateral_compat=4,
        iterations=10,
        unary="softmax",
    ),
    # Ahn and Kwak 2018 (PSA).
    "psa": CrfParameters(
        gaussian_sxy=3,
        gaussian_compat=3,
        bilateral_sxy=80,
        bilateral_srgb=13,
        bilateral_compat=10,
        iterations=10,
        unary="softmax",
    ),
    # Ahn, Cho and Kwak 2019 (IRNet).
    "irn": CrfParameters(
        gaussian_sxy=3,
        gaussian_compat=3,
        bilateral_sxy=50,
        bilateral_srgb=5,
        bilateral_compat=10,
        iterations=10,
        unary="labels",
        gt_prob=0.7,
    ),
}


def parameters(value: str | CrfParameters) -> CrfParameters | None:
    """Return the numbers of a preset, explicit numbers as they are, and None for "none".

    Raises:
        Ws3Error: If there is no preset of this name.
    """
    if isinstance(value, CrfParameters):
        return value
    if value == "none":
        return None
    if value not in PRESETS:
        raise Ws3Error(
            f"crf: {shown(value)} is not a preset; choose from: {', '.join(PRESETS)}, none, "
            "or give explicit numbers"
        )
    return PRESETS[value]


class DenseCrf:
    """The dense CRF of one image, for any number of score maps.

    The two permutohedral lattices depend on the image alone and are built once, in the first
    `refine`; further calls reuse them and return, bit for bit, what a fresh object would. `steps`
    looks at several numbers of iterations on the way, and takes other unary energies.

    An image of more than `parameters.max_pixels` pixels is reduced to `reduced_size` by averaging
    areas, and the scores with it; the probabilities are interpolated back to the image's size. The
    kernels' widths are then in pixels of the reduced image. So memory and time are bounded, and the
    kernels keep a size relative to the image nearer to that of the photographs, of less than half a
    megapixel, that the presets' widths are chosen for. (Tiles would keep the widths in pixels of
    the image, where the presets' are a hundredth of a large one's side, and need overlaps for what
    ten steps of inference carry across.)

    Args:
        image: uint8 (H, W, 3), the RGB photograph as it was read, with nothing subtracted.
        labels: Number of labels, the background included.
        parameters: The numbers of the CRF.

    Raises:
        ValueError: If the image is not uint8 (H, W, 3) or `labels` is less than 1.
        Ws3Error: If the image is too large for the widths.
    """

    def __init__(
        self, image: npt.NDArray[np.uint8], labels: int, parameters: CrfParameters
    ) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"the image must be uint8 (height, width, 3), not {image.dtype} {image.shape}"
            )
        if labels < 1:
            raise ValueError(f"there must be at least 1 label, not {labels}")
        self._shape = (labels, *image.shape[:2])
        self._parameters = parameters
        if labels == 1:
            return
        height, width = reduced_size(image.shape[0], image.shape[1], parameters.max_pixels)
        self._size = height, width
        image = resize(image, height, width)
        _check_widths(self._size, parameters)
        from pydensecrf.densecrf import DenseCRF2D

        self._crf = DenseCRF2D(width, height, labels)
        self._crf.addPairwiseGaussian(
            sxy=parameters.gaussian_sxy, compat=parameters.gaussian_compat
        )
        self._crf.addPairwiseBilateral(
            sxy=parameters.bilateral_sxy,
            srgb=parameters.bilateral_srgb,
            # A copy: Cython's view of it refuses an array that is read-only.
            rgbim=np.array(image, order="C"),
            compat=parameters.bilateral_compat,
        )

    def refine(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the labels' probabilities after mean-field inference.

        The unary energy is, by `parameters.unary`,

        - softmax: -log of the scores divided by their sum over the labels, clipped at
          pydensecrf's 1e-5 (`pydensecrf.utils.unary_from_softmax`);
        - labels: -log of `gt_prob` for the winning label and of (1 - gt_prob) / (labels - 1) for
          the others (`unary_from_labels`), where `hard_labels` says who wins.

        Args:
            scores: float32 (labels, H, W) in [0, 1], the background first.

        Returns:
            float32 (labels, H, W), summing to one over the labels.

        Raises:
            ValueError: If the shape is not the one promised, or a score is NaN or outside [0, 1].
        """
        (probabilities,) = self.steps(scores, [self._parameters.iterations])
        return probabilities

    def steps(
        self,
        scores: npt.NDArray[np.float32],
        iterations: Sequence[int],
        unary: CrfParameters | None = None,
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the labels' probabilities after some numbers of iterations of one inference.

        Each is, bit for bit, what `refine` returns where `parameters.iterations` is that number.

        Args:
            scores: As for `refine`.
            iterations: The numbers, ascending, from 1.
            unary: Whose `unary` and `gt_prob` are taken; None: those of `parameters`.

        Yields:
            float32 (labels, H, W), summing to one over the labels, one for each number.

        Raises:
            ValueError: As for `refine`.
        """
        if scores.shape != self._shape:
            raise ValueError(f"the scores must have shape {self._shape}, not {scores.shape}")
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise ValueError("the scores hold NaN or values outside [0, 1]")
        if len(scores) == 1:
            yield from (np.ones(self._shape, np.float32) for _ in iterations)
            return
        if self._size != self._shape[1:]:
            # An average of scores may pass 1 by a rounding.
            reduced = np.stack([resize(one, *self._size) for one in scores])
            scores = np.clip(reduced, 0, 1, out=reduced)
        self._crf.setUnaryEnergy(_unary(scores, unary or self._parameters))
        state = self._crf.startInference()
        done = 0
        for number in iterations:
            for _ in range(number - done):
                self._crf.stepInference(*state)
            done = number
            yield self._at_full_size(np.asarray(state[0]))

    def _at_full_size(self, inferred: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return a copy of the inferred probabilities, float32 (labels, H, W)."""
        if self._size == self._shape[1:]:
            return np.array(inferred, np.float32).reshape(self._shape)
        inferred = np.asarray(inferred, np.float32).reshape(self._shape[0], *self._size)
        probabilities = np.empty(self._shape, np.float32)
        for enlarged, one in zip(probabilities, inferred, strict=True):
            enlarged[:] = resize(one, *self._shape[1:])
        return probabilities


def _unary(scores: npt.NDArray[np.float32], parameters: CrfParameters) -> npt.NDArray[np.float32]:
    from pydensecrf.utils import unary_from_labels, unary_from_softmax

    unary: npt.NDArray[np.float32]
    if parameters.unary == "softmax":
        unary = unary_from_softmax(normalise(scores))
    else:
        unary = unary_from_labels(
            hard_labels(scores), len(scores), parameters.gt_prob, zero_unsure=False
        )
    return unary


def reduced_size(height: int, width: int, max_pixels: int | None) -> tuple[int, int]:
    """Return the height and width that the CRF sees of an image, its aspect kept.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        max_pixels: Its pixels are at most this many; None: as many as the image has.

    Example:
        >>> reduced_size(3648, 5472, 4_000_000)
        (1632, 2449)
        >>> reduced_size(375, 500, 4_000_000)
        (375, 500)
    """
    if max_pixels is None or height * width <= max_pixels:
        return height, width
    factor = math.sqrt(max_pixels / (height * width))
    short = max(1, int(min(height, width) * factor))
    long = max(1, min(int(max(height, width) * factor), max_pixels // short))
    return (short, long) if height <= width else (long, short)


def _check_widths(sides: Sequence[int], parameters: CrfParameters) -> None:
    """Refuse an image whose places, in widths, don't fit into pydensecrf's 16-bit numbers."""
    for name in ("gaussian_sxy", "bilateral_sxy"):
        width = getattr(parameters, name)
        if max(sides) / width > _MOST_WIDTHS:
            raise Ws3Error(
                f"crf.{name}: {width} is too small for an image of {sides[1]} x {sides[0]} pixels; "
                f"choose at least {max(sides) / _MOST_WIDTHS:.1f}"
            )


def normalise(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Divide scores by their sum over the labels; where all are 0, all labels are equal.

    Args:
        scores: float32 (labels, H, W), not negative.

    Returns:
        float32 (labels, H, W), summing to one over the labels.
    """
    total = scores.sum(axis=0)
    empty = total == 0
    if empty.any():
        scores = np.where(empty, np.float32(1), scores)
        total = np.where(empty, np.float32(len(scores)), total)
    return np.asarray(scores / total, np.float32)


__all__ = ["PRESETS", "DenseCrf", "normalise", "parameters", "reduced_size"]
