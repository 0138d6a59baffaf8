"""What an anomaly scorer remembers of its series, as plain arrays, and what all of them share.

Shapes: n series, C and D cells of the first and the second season, W points of the longest mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.stream import (
    EVIDENCE,
    FEWEST_EXCEEDED,
    HOUR,
    LEVEL_HOURS,
    SCALARS,
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


class Rhythm(NamedTuple):
    """What all series of a scorer share; times in seconds, spans in points."""

    step: int
    first: int  # period of the first season, 0: none
    second: int
    level_cell: int  # an "hour"
    per_day: float
    grace: float  # points before the first score
    cycle: float  # points of the first season
    settled: float  # points after which it counts: two of it
    alarm: float  # nats of a score of 1.0
    points: float  # of the quiet time
    short: int
    middle: int
    long: int


class State(NamedTuple):
    """Everything that is remembered, float64: scalars ``[n, SCALARS]``; ``first [n, 2, C]`` and ``second [n, 2, D]``
    (values and visits); ``spread [n, SPREAD_CELLS]``; ``hours [n, 2, LEVEL_HOURS]`` (level, error); ``sums [n, 2 W +
    1]`` of deviations; ``surprises [n, W]``, signed; ``means [n, 3, 3]`` (scale and two moments for each span);
    ``runs [n, 2, 2]`` (mean surprise, signed and not, for each span); ``tails [n, EVIDENCE, 2, TAIL_FIELDS]``.
    """

    scalars: Float
    first: Float
    second: Float
    spread: Float
    hours: Float
    sums: Float
    surprises: Float
    means: Float
    runs: Float
    tails: Float


def new_state(n: int, first_cells: int, second_cells: int, longest: int) -> State:
    """The state of ``n`` series before their first point."""
    scalars = np.zeros((n, SCALARS))
    scalars[:, HOUR] = -1.0
    scalars[:, VALUE] = np.nan
    scalars[:, USUAL] = USUAL_START
    scalars[:, USUAL_EXCESS] = USUAL_EXCESS_START
    scalars[:, USUAL_EXCEEDED] = FEWEST_EXCEEDED
    return State(
        scalars,
        np.zeros((n, 2, first_cells)),
        np.zeros((n, 2, second_cells)),
        np.ones((n, SPREAD_CELLS)),
        np.zeros((n, 2, LEVEL_HOURS)),
        np.zeros((n, 2 * longest + 1)),
        np.zeros((n, longest)),
        np.zeros((n, len(SPANS), 3)),
        np.zeros((n, 2, 2)),
        np.zeros((n, EVIDENCE, 2, TAIL_FIELDS)),
    )
