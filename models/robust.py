"""Quantiles and scales that ignore NaN and say NaN, without a warning, where there is nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

# A normal distribution's standard deviation over its median absolute deviation.
MAD_TO_SD = 1.4826


def nan_quantile(values: ArrayLike, q: ArrayLike, axis: int) -> Float:
    """``numpy.nanquantile`` whose result is NaN where a slice holds no number.

    >>> nan_quantile([[1.0, np.nan, 3.0], [np.nan] * 3], 0.5, axis=1)
    array([ 2., nan])
    """
    v = np.asarray(values, dtype=np.float64)
    empty = np.isnan(v).all(axis=axis)
    safe = np.where(np.expand_dims(empty, axis), 0.0, v)
    return np.where(empty, np.nan, np.nanquantile(safe, np.asarray(q, dtype=np.float64), axis=axis))


def scale_about_zero(values: ArrayLike, axis: int) -> Float:
    """Standard deviation of zero-mean data from the median absolute value.

    >>> round(float(scale_about_zero([[-1.0, 1.0, 2.0, np.nan]], axis=1)[0]), 4)
    1.4826
    """
    return MAD_TO_SD * nan_quantile(np.abs(np.asarray(values, dtype=np.float64)), 0.5, axis=axis)
