"""Quantiles and scales that ignore NaN and say NaN, without a warning, where there is nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

# A normal distribution's standard deviation over its median absolute deviation.
MAD_TO_SD = 1.4826


def nan_quantile(values: ArrayLike, q: ArrayLike, axis: int) -> Float:
    """``numpy.nanquantile`` whose result is NaN where a slice holds no number.

    One sort of the whole block: many times faster than a call for each slice.

    >>> nan_quantile([[1.0, np.nan, 3.0], [np.nan] * 3], 0.5, axis=1)
    array([ 2., nan])
    """
    v = np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1)
    share = np.asarray(q, dtype=np.float64)
    if v.shape[-1] == 0:
        return np.full((*share.shape, *v.shape[:-1]), np.nan)
    ordered = np.array(v, order="C")
    ordered.sort(axis=-1)  # NaN last
    size = v.shape[-1] - np.isnan(ordered).sum(-1)
    at = share.reshape(-1, *(1,) * size.ndim) * np.maximum(size - 1, 0)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, np.maximum(size - 1, 0))
    rest = at - low
    a, b = (np.moveaxis(np.take_along_axis(ordered, np.moveaxis(i, 0, -1), -1), -1, 0) for i in (low, high))
    with np.errstate(invalid="ignore"):
        found = np.where(rest < 0.5, a + (b - a) * rest, b - (b - a) * (1 - rest))
    found = np.where(a == b, a, found)  # of two infinite values too
    return np.asarray(found.reshape(*share.shape, *size.shape))


def edges(values: Float, share: float) -> tuple[float, float]:
    """The quantiles ``share`` and ``1 - share`` of ``values [T]``; NaN where there are none.

    For one series at a time: half the time of :func:`nan_quantile`.

    >>> edges(np.array([4.0, np.nan, 0.0, 2.0]), 0.25)
    (1.0, 3.0)
    """
    ordered = np.sort(values)  # NaN last
    newest = len(ordered) - 1 - int(np.isnan(values).sum())
    if newest < 0:
        return np.nan, np.nan
    at = share * newest
    low, rest = int(at), at - int(at)
    next_ = min(low + 1, newest)
    return (
        float(ordered[low] + (ordered[next_] - ordered[low]) * rest),
        float(ordered[newest - low] + (ordered[newest - next_] - ordered[newest - low]) * rest),
    )


def scale_about_zero(values: ArrayLike, axis: int) -> Float:
    """Standard deviation of zero-mean data from the median absolute value.

    >>> round(float(scale_about_zero([[-1.0, 1.0, 2.0, np.nan]], axis=1)[0]), 4)
    1.4826
    """
    return MAD_TO_SD * nan_quantile(np.abs(np.asarray(values, dtype=np.float64)), 0.5, axis=axis)
