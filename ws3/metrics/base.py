"""What a metric is: counts that images are added to, and figures that are formed of them.

Several metrics may share counts: precision, recall and mIoU are all formed of one confusion
matrix. A new metric is a `Metric` of counts that are there, or brings `Counts` of its own; see
docs/extending/metric.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ws3.metrics.ratios import mean_defined

Mask = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EvaluatedImage:
    """One image, its ground truth and what a recipe made of it.

    Attributes:
        truth: uint8 (H, W), 0 background, 1 to the number of classes, 255 ignored.
        mask: uint8 (H, W), the mask that is measured, with the same values.
        reference: uint8 (H, W), the mask of the reference recipe's maps, with the same values.
        class_values: Mask values of the classes that the image is labelled with.
        maps: float (C, H, W) in [0, 1], score maps of these classes; None if the mask is not
            that of maps.
        parts: uint8 (H, W), 1 where an object's part tells its class, 2 where classes share it;
            None if the dataset doesn't know.
        tenths: uint8 (H, W), how far an object's pixel lies from the peak of the reference
            recipe's map, 0 to 9, else 255; see `ws3.metrics.distance`. None if nobody measured it.
    """

    truth: Mask
    mask: Mask
    reference: Mask
    class_values: tuple[int, ...]
    maps: npt.NDArray[np.floating] | None = None
    parts: Mask | None = None
    tenths: Mask | None = None


class Counts(ABC):
    """Integers that images are added to, and whose size doesn't depend on their number.

    Args:
        classes: Number of classes, the background not counted.

    Attributes:
        needs: What an image must have to be counted, beside the masks. Where no image has it, a
            metric of these counts is not measured.
    """

    needs: ClassVar[tuple[Literal["maps", "parts", "tenths"], ...]] = ()

    @abstractmethod
    def __init__(self, classes: int) -> None: ...

    @abstractmethod
    def add(self, image: EvaluatedImage) -> None:
        """Add one image.

        Raises:
            ValueError: If a dtype, shape or value is not as `EvaluatedImage` says.
        """


CountsType = TypeVar("CountsType", bound=Counts)


class Metric(ABC, Generic[CountsType]):
    """One figure: how it is formed of counts, and how it is shown.

    A subclass sets the attributes and `per_class`; and `mean`, if the figure of all classes is not
    the mean over those where it is defined.

    Attributes:
        name: Key in JSON and column in CSV: lower case, digits and underscores.
        title: Head of its column in the report.
        counts: What it is formed of.
        formula: The figure of one class, in words or as a formula.
        mean_over: Which classes the mean is over.
        note: What a reader must know besides; whole sentences.
        direction: Whether a higher or a lower value is better.
        unit: "share" for a number in [0, 1], shown in percent; else the unit, such as "px".
        table: The report's table that shows it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    counts: type[CountsType]
    formula: ClassVar[str]
    mean_over: ClassVar[str] = "object classes where it is defined"
    note: ClassVar[str] = ""
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = "share"
    table: ClassVar[Literal["scores", "regions"]] = "scores"

    @property
    def class_name(self) -> str:
        """Key of one class's figure in JSON."""
        return self.name

    @abstractmethod
    def per_class(self, counts: CountsType) -> FloatArray:
        """Return the figure of each object class, float64 (classes,); NaN where undefined."""

    def mean(self, counts: CountsType) -> float:
        """Return the figure of all classes; NaN if it is undefined."""
        return mean_defined(self.per_class(counts))

    @property
    def explanation(self) -> str:
        """The formula, and the note if there is one."""
        return f"{self.formula}. {self.note}" if self.note else self.formula

    @property
    def description(self) -> str:
        """Whole sentences that explain the figure to a reader of the report."""
        text = f"Per class: {self.formula}; then the mean over {self.mean_over}."
        direction = f"{self.direction.capitalize()} is better."
        return " ".join(part for part in (text, self.note, direction) if part)

    def text(self, value: float) -> str:
        """Return a value as the report shows it: a share in percent, others with their digits.

        Example:
            >>> from ws3.metrics.confusion import MeanIou
            >>> MeanIou().text(0.5)
            '50.0'
        """
        return f"{100 * value:.1f}" if self.unit == "share" else f"{value:.3g}"


__all__ = ["Counts", "CountsType", "EvaluatedImage", "FloatArray", "Mask", "Metric"]
