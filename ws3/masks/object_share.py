"""The share of images that maps mark, for every background threshold: no ground truth is needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ws3.labels import checked_maps

BINS = 256
"""Thresholds are k / `BINS`, as those of `ws3.metrics.sweep`."""


class ObjectShares:
    """The share of an image's pixels that thresholded maps mark as any class, a mean over images.

    How wide a recipe's maps are differs by far more than how large the objects are: the best
    constant of one recipe is 0.06, of another 0.6. At their best thresholds they mark about the
    same share of the images all the same. So an expected share gives each recipe a threshold.

    Example:
        >>> shares = ObjectShares()
        >>> shares.update(np.array([[[0.1, 0.3, 0.5, 0.9]]], np.float32))
        >>> shares.nearest(0.25)
        (0.50390625, 0.25)
    """

    def __init__(self) -> None:
        self.images = 0
        self._shares = np.zeros(BINS + 1)

    def update(self, maps: npt.NDArray[np.floating]) -> None:
        """Add one image; all images weigh the same.

        Args:
            maps: Floating point (C, H, W) in [0, 1], C at least 1.

        Raises:
            ValueError: If the maps are not as above.
        """
        maps = checked_maps(maps, range(1, len(maps) + 1))
        if not maps.size:
            raise ValueError("an image without maps marks nothing, whatever the threshold")
        steps = (maps.max(axis=0) * np.float32(BINS)).astype(np.int32)
        counts = np.bincount(steps.ravel(), minlength=BINS + 1)
        self._shares += counts[::-1].cumsum()[::-1] / steps.size
        self.images += 1

    def curve(self) -> list[tuple[float, float]]:
        """Return (threshold, share) for every threshold k / 256 above 0, in ascending order.

        Raises:
            ValueError: If there is no image.
        """
        if not self.images:
            raise ValueError("no image was counted")
        shares = (self._shares / self.images).tolist()
        return [(step / BINS, share) for step, share in enumerate(shares) if step]

    def nearest(self, share: float) -> tuple[float, float]:
        """Return the threshold whose share is nearest, the lowest of equals, and that share."""
        return min(self.curve(), key=lambda point: (abs(point[1] - share), point[0]))


__all__ = ["BINS", "ObjectShares"]
