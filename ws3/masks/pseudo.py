"""One image's pseudo-mask from its score maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ws3.config.masks import ConstantBackground, CrfParameters, PowerBackground
from ws3.errors import Ws3Error
from ws3.labels import IGNORED
from ws3.masks.background import add_background, hard_labels
from ws3.masks.crf import DenseCrf, normalise
from ws3.masks.regions import Segments, merged, vote


@dataclass(frozen=True)
class Voters:
    """The segments of an image that vote on its mask.

    Attributes:
        segments: uint16 (H, W); pixels of segment 0 keep what they have.
        vote: `mean` or `share`; see `ws3.masks.regions.vote`. `merge`: the mask is merged with
            them; see `ws3.masks.regions.merged`.
        place: `after_crf`: on the CRF's probabilities, or on the maps if there is no CRF.
            `before_crf`: on the maps. `instead`: on the maps, and no CRF refines them.
    """

    segments: Segments
    vote: str = "mean"
    place: str = "after_crf"

    def on_maps(
        self,
        maps: npt.NDArray[np.float32],
        background: ConstantBackground | PowerBackground | float,
    ) -> npt.NDArray[np.float32]:
        """Let the segments vote on maps, float32 (C, H, W), and put a background score in front.

        Returns:
            float32 (C + 1, H, W) in [0, 1].
        """
        if self.vote == "mean":
            return add_background(vote(maps, self.segments, "mean"), background)
        # A pixel is of a class if its score reaches the background's, also where they tie.
        labels = hard_labels(add_background(maps, background))
        won = labels == np.arange(len(maps) + 1)[:, None, None]
        return vote(won.astype(np.float32), self.segments, "mean")


def pseudo_mask(
    image: npt.NDArray[np.uint8],
    maps: npt.NDArray[np.floating],
    class_values: Sequence[int],
    background: ConstantBackground | PowerBackground | float,
    crf: CrfParameters | None,
    ignore_below: float = 0.0,
    regions: Voters | None = None,
) -> npt.NDArray[np.uint8]:
    """Return the pseudo-mask of one image; the labels are background and its own classes only.

    See `mask_and_confidence`, which also returns how sure each pixel is.

    Args:
        image: uint8 (H, W, 3), RGB.
        maps: Floating point (C, H, W) in [0, 1]; C may be 0.
        class_values: The C mask values (class index + 1) of the maps.
        background: How the background is scored; see `add_background`.
        crf: The CRF's numbers, or None for no CRF.
        ignore_below: Pixels whose confidence is under this become 255.
        regions: The segments of the image that vote, and how.

    Returns:
        uint8 (H, W): 0, one of `class_values`, or 255.

    Raises:
        Ws3Error: If the maps hold NaN, or their size is not the image's.
        ValueError: If the maps, the class values, the image or the segments are otherwise not as
            described.

    Example:
        >>> image = np.zeros((1, 2, 3), np.uint8)
        >>> maps = np.array([[[0.2, 0.8]]], np.float32)
        >>> pseudo_mask(image, maps, [7], background=0.5, crf=None)
        array([[0, 7]], dtype=uint8)
    """
    mask, _ = mask_and_confidence(image, maps, class_values, background, crf, ignore_below, regions)
    return mask


def mask_and_confidence(
    image: npt.NDArray[np.uint8],
    maps: npt.NDArray[np.floating],
    class_values: Sequence[int],
    background: ConstantBackground | PowerBackground | float,
    crf: CrfParameters | None,
    ignore_below: float = 0.0,
    regions: Voters | None = None,
    of_maps: bool = False,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return the pseudo-mask of one image, and the confidence of each pixel.

    Without a CRF the label is `hard_labels` of the scores, and its confidence the label's score
    divided by the sum over the labels; with a CRF it is the label of highest probability, and
    that probability. An image without classes is background of confidence 1. Regions vote on the
    maps or on the probabilities, as `Voters` says.

    A CRF's probabilities are nearly all close to 1. With `of_maps` the confidence is the share of
    the scores that the label has before the CRF, whatever label the CRF chooses.

    Args:
        image: As for `pseudo_mask`.
        maps: As for `pseudo_mask`.
        class_values: As for `pseudo_mask`.
        background: As for `pseudo_mask`.
        crf: As for `pseudo_mask`.
        ignore_below: As for `pseudo_mask`.
        regions: As for `pseudo_mask`.
        of_maps: Whether the confidence that is returned is that of the scores before the CRF;
            `ignore_below` is of the CRF's all the same.

    Returns:
        The mask, uint8 (H, W), and the confidence, float32 (H, W) in [0, 1]; a pixel that is
        ignored keeps the confidence of the label that it would have had.

    Raises:
        Ws3Error: As for `pseudo_mask`.
        ValueError: As for `pseudo_mask`.

    Example:
        >>> image = np.zeros((1, 2, 3), np.uint8)
        >>> maps = np.array([[[0.25, 0.75]]], np.float32)
        >>> mask, confidence = mask_and_confidence(image, maps, [7], background=0.25, crf=None)
        >>> mask.tolist(), confidence.tolist()
        ([[7, 7]], [[0.5, 0.75]])
    """
    scores = scores_before_crf(image, maps, background, crf is not None, regions)
    if len(scores) == 1:
        return np.zeros(image.shape[:2], np.uint8), np.ones(image.shape[:2], np.float32)
    if crf is None or (regions is not None and regions.place == "instead"):
        probabilities = normalise(scores)
        labels = _with_regions(hard_labels(scores), regions)
    else:
        refined = DenseCrf(image, len(scores), crf).refine(scores)
        labels, probabilities = cut_refined(refined, regions)
    mask = np.array([0, *class_values], np.uint8)[labels]
    confidence = _of_labels(probabilities, labels)
    if ignore_below > 0:
        mask[confidence < ignore_below] = IGNORED
    return mask, _of_labels(normalise(scores), labels) if of_maps else confidence


def _of_labels(
    shares: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Return of each pixel the share of its own label."""
    own = np.zeros(labels.shape, np.float32)
    for label, share in enumerate(shares):
        np.copyto(own, share, where=labels == label)
    return own


def scores_before_crf(
    image: npt.NDArray[np.uint8],
    maps: npt.NDArray[np.floating],
    background: ConstantBackground | PowerBackground | float,
    refined: bool = True,
    regions: Voters | None = None,
) -> npt.NDArray[np.float32]:
    """Return the scores of an image's labels that a CRF refines, or that its mask is cut from.

    Args:
        image: As for `pseudo_mask`.
        maps: As for `pseudo_mask`.
        background: As for `pseudo_mask`.
        refined: Whether a CRF follows.
        regions: As for `pseudo_mask`.

    Returns:
        float32 (C + 1, H, W) in [0, 1], the background first.

    Raises:
        Ws3Error: As for `pseudo_mask`.
        ValueError: As for `pseudo_mask`.
    """
    if maps.shape[1:] != image.shape[:2]:
        raise Ws3Error(
            f"the score maps are {maps.shape[-2:]} pixels and the image is {image.shape[:2]}: "
            "make the maps again from this image"
        )
    if np.isnan(maps).any():
        raise Ws3Error("the score maps hold NaN: make the maps of this image again")
    vote_on_maps = regions is not None and (regions.place != "after_crf" or not refined)
    if len(maps) and regions is not None and vote_on_maps and regions.vote != "merge":
        return regions.on_maps(maps.astype(np.float32), background)
    return add_background(maps, background)


def cut_refined(
    probabilities: npt.NDArray[np.float32], regions: Voters | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return an image's labels after the CRF, with what its regions say, and their probabilities.

    Args:
        probabilities: Of the CRF, float32 (labels, H, W).
        regions: As for `pseudo_mask`.

    Returns:
        Positions in the labels, uint8 (H, W), and the probabilities, those that regions voted on.
    """
    if regions is not None and regions.place == "after_crf" and regions.vote != "merge":
        probabilities = vote(probabilities, regions.segments, regions.vote)
    return _with_regions(probabilities.argmax(axis=0).astype(np.uint8), regions), probabilities


def _with_regions(labels: npt.NDArray[np.uint8], regions: Voters | None) -> npt.NDArray[np.uint8]:
    """Return labels, uint8 (H, W), merged with regions if these are to be merged."""
    if regions is not None and regions.vote == "merge":
        return merged(labels, regions.segments)
    return labels


__all__ = [
    "Voters",
    "cut_refined",
    "mask_and_confidence",
    "pseudo_mask",
    "scores_before_crf",
]
