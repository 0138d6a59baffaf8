"""What an anomaly scorer remembers of its series, as plain arrays, and what all of them share.

Shapes: n series, C and D cells of the first and the second season, W points of the longest mean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.grid import DAY, WEEK
from models.grid import HOUR as AN_HOUR
from models.stream import (
    ALARM_NATS,
    CYCLE,
    EVIDENCE,
    FEWEST_EXCEEDED,
    FIRST,
    FIRST_VISIT,
    GRACE,
    HOUR,
    KNOWN,
    LEVEL_HOURS,
    SCALARS,
    SEASON_FIELDS,
    SECOND,
    SECOND_VISIT,
    SPANS,
    SPREAD_CELLS,
    TAIL_FIELDS,
    USUAL,
    USUAL_EXCEEDED,
    USUAL_EXCESS,
    USUAL_EXCESS_START,
    USUAL_START,
    VALUE,
)

Float = NDArray[np.float64]

GRACE_POINTS = 96  # no score before a series has this many observations, and a whole first season
REFERENCE_STEP = 300  # seconds; the longer spans of the evidence are more points at a finer step than at this one
FINEST = 60  # where the spans stop growing: memory
QUIET = 28 * DAY  # a clean series scores 1.0 about once in this time, whatever its step
COARSEST = AN_HOUR // 2  # beyond, once in as many points as at this step: few points are few tails to learn from
FIRST_CELLS, SECOND_CELLS = DAY // REFERENCE_STEP, WEEK // AN_HOUR  # at most, of the profiles of the two seasons
LEVEL_CELLS = 3  # hours before there is a level to tell a profile from


class Rhythm(NamedTuple):
    """What all series of a scorer share; times in seconds, spans in points."""

    step: int
    level_cell: int  # an "hour"
    per_day: float
    alarm: float  # nats of a score of 1.0
    points: float  # of the quiet time
    short: int
    middle: int
    long: int


class State(NamedTuple):
    """Everything that is remembered, float64: scalars ``[n, SCALARS]``; ``seasons [n, SEASON_FIELDS]``; their profiles
    ``first [n, 2, C]`` and ``second [n, 2, D]`` (values and visits), of which a short season uses as many cells as it
    has points; ``spread [n, SPREAD_CELLS]``; ``hours [n, 2, LEVEL_HOURS]`` (level, error); ``sums [n, 2 W + 1]`` of
    deviations; ``surprises [n, W]``, signed; ``means [n, 3, 3]`` (scale and two moments for each span); ``runs [n, 2,
    2]`` (mean surprise, signed and not, for each span); ``tails [n, EVIDENCE, 2, TAIL_FIELDS]``.
    """

    scalars: Float
    seasons: Float
    first: Float
    second: Float
    spread: Float
    hours: Float
    sums: Float
    surprises: Float
    means: Float
    runs: Float
    tails: Float


def rhythm_of(step: int) -> Rhythm:
    """The constants of the kernel for a step."""
    finer = min(max(REFERENCE_STEP // step, 1), REFERENCE_STEP // FINEST)
    points = QUIET / min(step, COARSEST)
    alarm = ALARM_NATS * math.log(points) / math.log(QUIET / REFERENCE_STEP)
    short, long = SPANS[0], SPANS[2] * finer
    middle = round(math.sqrt(short * long))
    return Rhythm(
        step=step,
        level_cell=max(AN_HOUR, step),
        per_day=max(1.0, DAY / step),
        alarm=alarm,
        points=points,
        short=short,
        middle=middle,
        long=long,
    )


def new_state(periods: ArrayLike, r: Rhythm) -> State:
    """The state of series of ``periods [n, 2]`` in seconds, 0: none, before their first point."""
    seasons = _seasons(np.asarray(periods, np.int64).reshape(-1, 2), r)
    n = len(seasons)
    scalars = np.zeros((n, SCALARS))
    scalars[:, HOUR] = -1.0
    scalars[:, VALUE] = np.nan
    scalars[:, USUAL] = USUAL_START
    scalars[:, USUAL_EXCESS] = USUAL_EXCESS_START
    scalars[:, USUAL_EXCEEDED] = FEWEST_EXCEEDED
    return State(
        scalars,
        seasons,
        np.zeros((n, 2, FIRST_CELLS)),
        np.zeros((n, 2, SECOND_CELLS)),
        np.ones((n, SPREAD_CELLS)),
        np.zeros((n, 2, LEVEL_HOURS)),
        np.zeros((n, 2 * r.long + 1)),
        np.zeros((n, r.long)),
        np.zeros((n, len(SPANS), 3)),
        np.zeros((n, 2, 2)),
        np.zeros((n, EVIDENCE, 2, TAIL_FIELDS)),
    )


def _seasons(periods: NDArray[np.int64], r: Rhythm) -> Float:
    """What is to be known of seasons of ``periods [n, 2]``, ``[n, SEASON_FIELDS]``."""
    out = np.zeros((len(periods), SEASON_FIELDS))
    cycle = -(-periods[:, 0] // r.step)
    out[:, [FIRST, SECOND]] = periods
    for visit, cells, period in (
        (FIRST_VISIT, FIRST_CELLS, periods[:, 0]),
        (SECOND_VISIT, SECOND_CELLS, periods[:, 1]),
    ):
        points = period // r.step
        out[:, visit] = period / r.step / np.maximum(1, np.minimum(cells, points))
    out[:, CYCLE] = cycle
    out[:, GRACE] = np.maximum(GRACE_POINTS, cycle)
    # A profile counts when it has been through two cycles; it learns nothing before there is a level.
    out[:, KNOWN] = np.where(cycle > 0, cycle + np.maximum(cycle, LEVEL_CELLS * r.level_cell // r.step) + 1, 1)
    return out
