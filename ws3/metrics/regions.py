"""Where a recipe marks pixels, relative to a reference recipe; and recall of known parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED
from ws3.metrics.checks import check_class_values, check_classes, check_masks, check_values
from ws3.metrics.ratios import mean_defined, ratio

FloatArray = npt.NDArray[np.float64]

REGIONS = ("dr_recall", "ndr_recall", "fpr_region_rate", "tn_region_rate")
PARTS = {"discriminative": 1, "shared": 2}


class RegionProfile:
    """The share of each of four regions that a recipe marks as the class.

    Per class and over the images labelled with it, the reference recipe (CAM) at its threshold
    cuts the pixels into discriminative regions and their complements, the definition of this
    project, named after arXiv 2308.11052:

    - `dr_recall`: the class's pixels that the reference hits (DR);
    - `ndr_recall`: the class's pixels that the reference misses (NDR);
    - `fpr_region_rate`: other pixels that the reference marks as the class;
    - `tn_region_rate`: other pixels that the reference does not mark as the class.

    Higher is better for the first two, lower for the others; the reference's own profile is
    1, 0, 1, 0. A pixel that is 255 in any of the three masks is ignored.

    Args:
        classes: number of classes, the background not counted.
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self.classes = classes
        self._pixels = np.zeros((classes, len(REGIONS)), np.int64)
        self._marked = np.zeros((classes, len(REGIONS)), np.int64)

    def update(
        self,
        truth: npt.NDArray[np.uint8],
        reference: npt.NDArray[np.uint8],
        prediction: npt.NDArray[np.uint8],
        class_values: Sequence[int],
    ) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255.
            reference: uint8 (H, W), the reference recipe's mask, likewise.
            prediction: uint8 (H, W), the mask of the recipe itself, likewise.
            class_values: mask values of the classes that the image is labelled with.

        Raises:
            ValueError: if dtypes, shapes or values are others.
        """
        masks = {"truth": truth, "reference": reference, "prediction": prediction}
        check_masks(**masks)
        for name, mask in masks.items():
            check_values(name, mask, self.classes)
        check_class_values(class_values, self.classes)
        known = (truth != IGNORED) & (reference != IGNORED) & (prediction != IGNORED)
        for value in class_values:
            object_, hit, marked = truth == value, reference == value, prediction == value
            regions = (object_ & hit, object_ & ~hit, ~object_ & hit, ~object_ & ~hit)
            for index, region in enumerate(regions):
                inside = region & known
                self._pixels[value - 1, index] += np.count_nonzero(inside)
                self._marked[value - 1, index] += np.count_nonzero(inside & marked)

    def merge(self, other: RegionProfile) -> None:
        """Add another's counts.

        Raises:
            ValueError: if it is over another number of classes.
        """
        if other.classes != self.classes:
            raise ValueError(f"can't merge counts of {other.classes} and {self.classes} classes")
        self._pixels += other._pixels
        self._marked += other._marked

    def profile(self) -> dict[str, FloatArray]:
        """Return the four shares by name, each one number a class; NaN if the region is empty."""
        return dict(zip(REGIONS, ratio(self._marked, self._pixels).T, strict=True))

    def mean_profile(self) -> dict[str, float]:
        """Return the four shares' means over the classes where they are defined, else NaN."""
        return {name: mean_defined(values) for name, values in self.profile().items()}


class PartRecall:
    """Recall of objects' known parts, for the built-in dataset's part masks.

    What the reference recipe says in `RegionProfile` is here known by construction: which part of
    an object tells its class apart, and which it shares with others.

    Args:
        classes: number of classes, the background not counted.
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self.classes = classes
        self._pixels = np.zeros((classes, len(PARTS)), np.int64)
        self._found = np.zeros((classes, len(PARTS)), np.int64)

    def update(
        self,
        truth: npt.NDArray[np.uint8],
        parts: npt.NDArray[np.uint8],
        prediction: npt.NDArray[np.uint8],
    ) -> None:
        """Add one image.

        Args:
            truth: uint8 (H, W), values 0 to `classes` and 255.
            parts: uint8 (H, W), 1 discriminative part, 2 shared part, anything else neither.
            prediction: uint8 (H, W), values 0 to `classes` and 255. Pixels that are 255 in it or
                in the truth are ignored.

        Raises:
            ValueError: if dtypes, shapes or values are others.
        """
        check_masks(truth=truth, parts=parts, prediction=prediction)
        check_values("truth", truth, self.classes)
        check_values("prediction", prediction, self.classes)
        known = (truth != 0) & (truth != IGNORED) & (prediction != IGNORED)
        right = truth == prediction
        for index, part in enumerate(PARTS.values()):
            inside = known & (parts == part)
            self._pixels[:, index] += self._per_class(truth[inside])
            self._found[:, index] += self._per_class(truth[inside & right])

    def merge(self, other: PartRecall) -> None:
        """Add another's counts.

        Raises:
            ValueError: if it is over another number of classes.
        """
        if other.classes != self.classes:
            raise ValueError(f"can't merge counts of {other.classes} and {self.classes} classes")
        self._pixels += other._pixels
        self._found += other._found

    def recall(self) -> dict[str, FloatArray]:
        """Return the recall of each part by name, one number a class; NaN without such pixels."""
        return dict(zip(PARTS, ratio(self._found, self._pixels).T, strict=True))

    def mean_recall(self) -> dict[str, float]:
        """Return the parts' mean recall over the classes where it is defined, else NaN."""
        return {name: mean_defined(values) for name, values in self.recall().items()}

    def _per_class(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = np.bincount(values, minlength=self.classes + 1)[1:]
        return counts


__all__ = ["PARTS", "REGIONS", "PartRecall", "RegionProfile"]
