"""Ratios of counts, undefined (NaN) where there is nothing to divide by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return part / whole elementwise, NaN where whole is 0."""
    result = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=result, where=np.asarray(whole) > 0)
    return result


def mean_defined(values: npt.NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN; NaN if none is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


__all__ = ["mean_defined", "ratio"]
