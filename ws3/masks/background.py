"""A score for the background, and the label of each pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.config.masks import ConstantBackground, PowerBackground
from ws3.labels import checked_maps, label_argmax


def add_background(
    maps: npt.NDArray[np.floating], background: ConstantBackground | PowerBackground | float
) -> npt.NDArray[np.float32]:
    """Put a background score in front of the score maps.

    - constant: the same score everywhere, the threshold of the field's usual CAM evaluation
      (IRNet, Ahn et al. 2019, calls it `cam_eval_thres`). A tuned threshold comes here as a
      constant.
    - power: (1 - max over classes) ** alpha (PSA, Ahn and Kwak 2018, equation 2); 1 where there
      is no class at all.

    Args:
        maps: Floating point (C, H, W) in [0, 1]; C may be 0.
        background: Its configuration, or a constant score in [0, 1].

    Returns:
        float32 (C + 1, H, W): the background first, then the maps.

    Raises:
        ValueError: If the maps are not floating point (C, H, W) in [0, 1], hold NaN, or the
            constant is outside [0, 1].

    Example:
        >>> maps = np.array([[[0.2, 0.8]]], np.float32)
        >>> add_background(maps, 0.5).tolist() == [[[0.5, 0.5]], maps[0].tolist()]
        True
    """
    maps = checked_maps(maps, range(1, len(maps) + 1))
    scores = np.empty((len(maps) + 1, *maps.shape[1:]), np.float32)
    scores[1:] = maps
    if isinstance(background, PowerBackground):
        strongest = scores[1:].max(axis=0, initial=0)
        scores[0] = (1 - strongest) ** np.float32(background.alpha)
        return scores
    constant = background.score if isinstance(background, ConstantBackground) else background
    if not 0 <= constant <= 1:
        raise ValueError(f"the background score must lie in [0, 1], not {constant}")
    scores[0] = constant
    return scores


def hard_labels(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the label that wins each pixel: a position in `scores`, 0 being the background.

    A pixel is foreground if and only if its highest class score reaches the background score
    (max >= background), so a plain argmax, where the background would win a tie, won't do. The
    first of several equal classes wins. `ws3.metrics.sweep` counts by the same rule.

    Args:
        scores: float32 (C + 1, H, W) in [0, 1], as `add_background` returns them.

    Returns:
        uint8 (H, W).

    Raises:
        ValueError: If the scores hold NaN or values outside [0, 1].

    Example:
        >>> maps = np.array([[[0.2, 0.5, 0.8]]], np.float32)
        >>> hard_labels(add_background(maps, 0.5))
        array([[0, 1, 1]], dtype=uint8)
    """
    labels, strongest = label_argmax(scores[1:], range(1, len(scores)))
    labels[strongest < scores[0]] = 0
    return labels


__all__ = ["add_background", "hard_labels"]
