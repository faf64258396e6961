"""Where a recipe marks pixels, relative to a reference recipe; and recall of known parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ws3.labels import IGNORED
from ws3.metrics.base import Counts, EvaluatedImage, FloatArray, Metric
from ws3.metrics.checks import check_class_values, check_classes, check_masks, check_values
from ws3.metrics.ratios import mean_defined, ratio

REGIONS = ("dr_recall", "ndr_recall", "fpr_region_rate", "tn_region_rate")
PARTS = {"discriminative": 1, "shared": 2}


class RegionProfile(Counts):
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
        classes: Number of classes, the background not counted.

    Attributes:
        classes: As given.
        pixels: int64 (classes, 4), pixels of each region, in the order of `REGIONS`.
        marked: int64 (classes, 4), how many of them are marked as the class.

    Example:
        >>> truth = np.array([[1, 1, 1, 1, 0, 0]], np.uint8)
        >>> reference = np.array([[1, 1, 0, 0, 1, 0]], np.uint8)
        >>> mask = np.array([[1, 1, 1, 0, 0, 0]], np.uint8)
        >>> profile = RegionProfile(classes=1)
        >>> profile.update(truth, reference, mask, class_values=[1])
        >>> list(profile.mean_profile().values())
        [1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, classes: int) -> None:
        check_classes(classes)
        self.classes = classes
        self.pixels = np.zeros((classes, len(REGIONS)), np.int64)
        self.marked = np.zeros((classes, len(REGIONS)), np.int64)

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
            reference: uint8 (H, W), the reference recipe's mask, the same values.
            prediction: uint8 (H, W), the mask of the recipe itself, the same values.
            class_values: Mask values of the classes that the image is labelled with.

        Raises:
            ValueError: If a dtype, shape or value is not as above.
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
                self.pixels[value - 1, index] += np.count_nonzero(inside)
                self.marked[value - 1, index] += np.count_nonzero(inside & marked)

    def add(self, image: EvaluatedImage) -> None:
        """Add the mask of an image."""
        self.update(image.truth, image.reference, image.mask, image.class_values)

    def profile(self) -> dict[str, FloatArray]:
        """Return the four shares by name, one number per class; NaN where the region is empty."""
        return dict(zip(REGIONS, ratio(self.marked, self.pixels).T, strict=True))

    def mean_profile(self) -> dict[str, float]:
        """Return the four shares' means over the classes where they are defined, else NaN."""
        return {name: mean_defined(values) for name, values in self.profile().items()}


class PartRecall(Counts):
    """Recall of objects' known parts, for the built-in dataset's part masks.

    What the reference recipe says in `RegionProfile` is here known by construction: which part of
    an object tells its class apart, and which it shares with others.

    Args:
        classes: Number of classes, the background not counted.
    """

    needs = ("parts",)

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
            ValueError: If a dtype, shape or value is not as above.
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

    def add(self, image: EvaluatedImage) -> None:
        """Add the mask of an image whose parts are known.

        Raises:
            ValueError: If they are not, or the masks don't fit each other.
        """
        if image.parts is None:
            raise ValueError("the image came without a mask of its parts")
        self.update(image.truth, image.parts, image.mask)

    def recall(self) -> dict[str, FloatArray]:
        """Return the recall of each part by name, one number per class; NaN without such pixels."""
        return dict(zip(PARTS, ratio(self._found, self._pixels).T, strict=True))

    def mean_recall(self) -> dict[str, float]:
        """Return the parts' mean recall over the classes where it is defined, else NaN."""
        return {name: mean_defined(values) for name, values in self.recall().items()}

    def _per_class(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = np.bincount(values, minlength=self.classes + 1)[1:]
        return counts


class _RegionShare(Metric[RegionProfile]):
    """One of the four shares of the region profile."""

    counts = RegionProfile
    table = "regions"

    def per_class(self, counts: RegionProfile) -> FloatArray:
        """Return the share of each class."""
        return counts.profile()[self.name]


class DrRecall(_RegionShare):
    """Recall of what the reference recipe finds."""

    name, title = "dr_recall", "DR recall"
    formula = "marked pixels / all pixels of DR, the part of the object that the reference finds"
    note = "1 for the reference's own maps."


class NdrRecall(_RegionShare):
    """Recall of what the reference recipe misses."""

    name, title = "ndr_recall", "NDR recall"
    formula = "marked pixels / all pixels of NDR, the part of the object that the reference misses"
    note = "0 for the reference's own maps."


class FprRegionRate(_RegionShare):
    """False positives where the reference recipe has them too."""

    name, title = "fpr_region_rate", "FPR-region rate"
    formula = "marked pixels / all pixels of the FPR-region, which the reference marks wrongly"
    note = DrRecall.note
    direction = "lower"


class TnRegionRate(_RegionShare):
    """False positives where the reference recipe has none."""

    name, title = "tn_region_rate", "TN-region rate"
    formula = "marked pixels / all pixels of the TN-region, which the reference leaves out rightly"
    note = NdrRecall.note
    direction = "lower"


class _PartMetric(Metric[PartRecall]):
    """Recall of one kind of known parts."""

    counts = PartRecall
    table = "regions"
    note = (
        "Only where parts are known, as in the built-in dataset; it does not depend on the "
        "reference recipe."
    )
    part: ClassVar[str]

    def per_class(self, counts: PartRecall) -> FloatArray:
        """Return the recall of each class."""
        return counts.recall()[self.part]


class DiscriminativePartRecall(_PartMetric):
    """Recall of the parts that tell a class."""

    name, title, part = "discriminative_part_recall", "Known own part", "discriminative"
    formula = "marked pixels / all pixels of the parts that only this class has"


class SharedPartRecall(_PartMetric):
    """Recall of the parts that classes share."""

    name, title, part = "shared_part_recall", "Known shared part", "shared"
    formula = "marked pixels / all pixels of the parts that classes share"


__all__ = [
    "PARTS",
    "REGIONS",
    "DiscriminativePartRecall",
    "DrRecall",
    "FprRegionRate",
    "NdrRecall",
    "PartRecall",
    "RegionProfile",
    "SharedPartRecall",
    "TnRegionRate",
]
