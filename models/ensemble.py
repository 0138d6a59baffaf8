"""Combination of members by their own past errors, and the library of past error paths.

Shapes: n series, K origins, H cells of a segment, M members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import Array32, Member, Origins
from models.panel import Panel
from models.registry import MEMBERS

# Weights are (mean absolute error) ** -POWER within a bucket of horizon, shrunk to equal weights like this many
# origins of no information. Bates & Granger (1969) with the power of Stock & Watson (2004), made sharper.
POWER = 4.0
PRIOR_ORIGINS = 4.0


@dataclass(frozen=True)
class Combination:
    """The members that apply to a panel, what they learned, and their weights ``[n, M, H]`` (sum over M is 1)."""

    members: tuple[Member, ...]
    fitted: tuple[Any, ...]
    weights: Array32


def buckets(horizon: int) -> NDArray[np.int64]:
    """Bucket of each of ``horizon`` cells: 1, 2–3, 4–7, 8–15 … cells ahead.

    >>> buckets(8)
    array([0, 1, 1, 2, 2, 2, 2, 3])
    """
    return np.floor(np.log2(np.arange(1, horizon + 1))).astype(np.int64)


def actuals(panel: Panel, origins: Origins, horizon: int) -> Array32:
    """What came after each origin, ``[n, K, H]``; NaN where missing or not yet there."""
    column = origins[:, None] + np.arange(horizon)
    value = panel.observed[:, np.minimum(column, panel.T - 1)]
    return np.where(column < panel.T, value, np.nan).astype(np.float32)


def combine(parts: Array32, weights: Array32) -> Array32:
    """Weighted mean of ``parts [M, n, K, H]`` with ``weights [n, M, H]``, leaving out members that have no answer."""
    total = np.zeros(parts.shape[1:], np.float32)
    mass = np.zeros(parts.shape[1:], np.float32)
    for j, part in enumerate(parts):
        w = weights[:, j, None, :]
        there = np.isfinite(part)
        total += np.where(there, part, 0) * w
        mass += np.where(there, w, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / mass).astype(np.float32)


def weigh(parts: Array32, truth: Array32) -> Array32:
    """Weights ``[n, M, H]`` from the members' errors over the origins, bucket by bucket.

    A member without any answer in the backtest gets the least weight given, so that it is used only where nothing
    else answers.
    """
    M, n, _, H = parts.shape
    bucket = buckets(H)
    onehot = (bucket[:, None] == np.arange(bucket[-1] + 1)).astype(np.float32)  # [H, B]
    error = np.full((n, M, onehot.shape[1]), np.nan)
    origins = np.zeros((n, M, onehot.shape[1]))
    for j in range(M):
        e = np.abs(parts[j] - truth)
        there = np.isfinite(e)
        count = there.astype(np.float32) @ onehot  # [n, K, B]
        total = np.where(there, e, 0) @ onehot
        with np.errstate(invalid="ignore"):
            error[:, j] = total.sum(1) / count.sum(1)
        origins[:, j] = (count > 0).sum(1)
    floor = 1e-30 + 1e-3 * np.nan_to_num(error).max(axis=1, keepdims=True)
    raw = np.nan_to_num(np.maximum(error, floor), nan=np.inf) ** -POWER
    total_raw = raw.sum(1, keepdims=True)
    raw = np.where(total_raw > 0, raw / np.where(total_raw > 0, total_raw, 1), 1.0 / M)
    trust = origins.max(1, keepdims=True) / (origins.max(1, keepdims=True) + PRIOR_ORIGINS)
    weight = trust * raw + (1 - trust) * np.where(np.isfinite(error), 1.0, 1e-6) / M
    weight /= weight.sum(1, keepdims=True)
    return np.asarray(weight[:, :, bucket], np.float32)


def predict_all(c: tuple[tuple[Member, ...], tuple[Any, ...]], panel: Panel, origins: Origins, H: int) -> Array32:
    """Forecasts of every member, ``[M, n, K, H]``."""
    return np.stack([m.predict(panel, f, origins, H) for m, f in zip(*c, strict=True)])


def fit_combination(panel: Panel, origins: Origins, horizon: int) -> tuple[Combination, Array32]:
    """Fit the members, weigh them on ``origins``; returns the combination and its own backtest ``[n, K, H]``."""
    members = tuple(m for m in MEMBERS.values() if m.applies(panel))
    fitted = tuple(m.fit(panel) for m in members)
    parts = predict_all((members, fitted), panel, origins, horizon)
    weights = weigh(parts, actuals(panel, origins, horizon))
    return Combination(members, fitted, weights), combine(parts, weights)


def predict_now(c: Combination, panel: Panel, horizon: int) -> Array32:
    """The combined forecast from the end of the panel, ``[n, H]``; the last value where no member answers."""
    origin = np.array([panel.T], np.int64)
    out = combine(predict_all((c.members, c.fitted), panel, origin, horizon), c.weights)[:, 0]
    return np.where(np.isfinite(out), out, panel.values[:, -1:]).astype(np.float32)
