"""Breach odds from nothing but a method's quantiles, and the base rate every method is measured against.

A method that has no odds of its own gets them in the same way as the others: its 13 quantiles of each step are joined
(straight lines over normal scores, which also continue them outwards: normal tails), and paths move through them with
normal scores that follow an AR(1) process. Its coefficient is how much one point of the past says about the next, after
the season is taken off. The share of paths with ``run`` points in a row beyond the threshold is the probability.

Shapes: n series, T columns, H steps ahead, Q quantiles, P paths, J thresholds.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtri

from bench.questions import QUANTILES, Block, Float
from models.examples import base_rates

PATHS = 400
STICKIEST = 0.99


def in_a_row(beyond: np.ndarray, run: int) -> np.ndarray:
    """Whether ``run`` consecutive of ``beyond [..., H]`` are true, ``[...]``."""
    held = beyond
    for _ in range(run - 1):
        held = held[..., :-1] & beyond[..., beyond.shape[-1] - held.shape[-1] + 1 :]
    return held.any(-1)


def happened(block: Block) -> Float:
    """Whether each threshold was broken within the horizon, ``[n, J]``; NaN: no question, or in breach now."""
    out = np.full(block.threshold.shape, np.nan)
    for j in range(block.threshold.shape[1]):
        limit, above = block.threshold[:, [j]], block.above[:, [j]]
        beyond = np.where(above, block.truth > limit, block.truth < limit)
        last = block.past[:, [-1]]
        now = np.where(above, last > limit, last < limit)[:, 0]
        asked = np.isfinite(limit[:, 0]) & ~now & np.isfinite(block.truth).any(1)
        out[asked, j] = in_a_row(beyond, block.run)[asked]
    return out


def causal_base_rate(block: Block) -> Float:
    """How often the past of each series answered the same question with yes, ``[n, J]``."""
    out = np.full(block.threshold.shape, np.nan)
    ahead = np.array([block.horizon])
    for i, j in np.ndindex(*out.shape):
        if np.isfinite(block.threshold[i, j]):
            limit, above = float(block.threshold[i, j]), bool(block.above[i, j])
            out[i, j] = base_rates(block.past[i].copy(), limit, above, block.run, ahead)[0]
    return out


def stickiness(block: Block) -> Float:
    """Correlation of one point with the next, season taken off, ``[n]`` in 0..STICKIEST."""
    y = block.past[:, block.season :] - block.past[:, : -block.season]
    y = y - np.nanmean(y, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.nanmean(y[:, 1:] * y[:, :-1], axis=1) / np.nanmean(y * y, axis=1)
    return np.clip(np.nan_to_num(found), 0.0, STICKIEST)


def paths(quantiles: Float, phi: float, seed: int = 0) -> Float:
    """Paths ``[P, H]`` through ``quantiles [Q, H]`` of one series (see the module's head)."""
    rng = np.random.default_rng(seed)
    H = quantiles.shape[1]
    shock = rng.normal(size=(PATHS, H)) * np.where(np.arange(H) == 0, 1.0, np.sqrt(1 - phi * phi))
    score = lfilter([1.0], [1.0, -phi], shock, axis=1)
    z = ndtri(np.array(QUANTILES))
    cell = np.clip(np.searchsorted(z, score) - 1, 0, len(z) - 2)
    q = np.maximum.accumulate(quantiles, axis=0)
    h = np.arange(H)
    low, high = q[cell, h], q[cell + 1, h]
    return low + (high - low) * (score - z[cell]) / (z[cell + 1] - z[cell])


def probability(block: Block, quantiles: Float) -> Float:
    """Breach odds of each threshold from ``quantiles [n, Q, H]``, ``[n, J]``; NaN without a forecast or a question."""
    out = np.full(block.threshold.shape, np.nan)
    phi = stickiness(block)
    for i in np.flatnonzero(np.isfinite(quantiles).all((1, 2))):
        drawn = paths(quantiles[i], float(phi[i]))
        for j in np.flatnonzero(np.isfinite(block.threshold[i])):
            limit = block.threshold[i, j]
            beyond = drawn > limit if block.above[i, j] else drawn < limit
            out[i, j] = in_a_row(beyond, block.run).mean()
    return out
