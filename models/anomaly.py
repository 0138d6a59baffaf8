"""Causal anomaly scores of many series: how unusual each point is for its own series. 1.0 is the alert threshold.

What a score is made of, and how a series' own past calibrates it, is told in models/stream.py; here are its rhythm, its
thresholds and the interface. Scores need no forecaster: O(1) work and memory for a point of a series.

The seasons that scores are told from are each series' own. They are looked for in its history as that grows, at fixed
numbers of columns, so that no score knows what comes after it; what a look finds is used from there on, as if it had
been known from the start.

Shapes: n series, T columns, k new columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.scorer_seasons import ASSUMED, looks_within, seasons_of, two_of
from models.scorer_state import State, new_state, rhythm_of
from models.stream import FIRST, SECOND, watch

Float = NDArray[np.float64]

KINDS = ("none", "point", "collective", "level")
"""Names of the kinds, by number: nothing unusual; a single point; a run of unusual points or a change of variance; a
change of level, a drop to zero or a flat line."""

DIRECTIONS = ("both", "above_expected", "below_expected")


@dataclass(frozen=True)
class Scores:
    """Evidence that values are above or below what was expected, each in units of the alert threshold.

    ``above, below``: float ``[n, k]``, NaN where the value is missing; ``kind``: int8 ``[n, k]``, see KINDS; 0 where
    neither reaches 1. Evidence without a direction (a flat line, values that scatter) is in both.
    """

    above: Float
    below: Float
    kind: NDArray[np.int8]

    def read(self, direction: str = "both") -> Float:
        """Scores ``[n, k]`` for a direction: both, above_expected or below_expected.

        Raises:
            ValueError: another direction.
        """
        if direction not in DIRECTIONS:
            raise ValueError(f"direction: expected one of {', '.join(DIRECTIONS)}, got {direction!r}")
        if direction == "both":
            return np.asarray(np.maximum(self.above, self.below))
        return self.above if direction == "above_expected" else self.below

    def then(self, later: Scores, keep: int) -> Scores:
        """These and the ``later`` scores of the same series, the newest ``keep`` columns of them."""
        first = max(0, self.above.shape[1] + later.above.shape[1] - keep)
        return Scores(
            np.concatenate([self.above, later.above], axis=1)[:, first:],
            np.concatenate([self.below, later.below], axis=1)[:, first:],
            np.concatenate([self.kind, later.kind], axis=1)[:, first:],
        )

    def newest(self, keep: int) -> Scores:
        """The newest ``keep`` columns of them."""
        first = max(0, self.above.shape[1] - keep)
        return Scores(self.above[:, first:], self.below[:, first:], self.kind[:, first:])

    def select(self, rows: NDArray[np.int64]) -> Scores:
        """The same of some of the series."""
        return Scores(self.above[rows], self.below[rows], self.kind[rows])

    def beside(self, other: Scores) -> Scores:
        """These, then those of ``other`` series in the same columns."""
        return Scores(
            np.concatenate([self.above, other.above]),
            np.concatenate([self.below, other.below]),
            np.concatenate([self.kind, other.kind]),
        )


class AnomalyScorer:
    """Scores of the series of one query as their columns come in; never looks back.

    ``step`` in seconds; ``seasons``: up to two periods in seconds, the shorter first (None: those that
    :meth:`run_history` finds, before that a day and a week). Columns fed in any chunks get the same scores.

    Raises:
        ValueError: a step below 1.

    >>> y = np.random.default_rng(0).normal(size=(2, 700))
    >>> y[1, 650] -= 30
    >>> scorer = AnomalyScorer(step=300)
    >>> past, now = scorer.run(y[:, :650]), scorer.run(y[:, 650:651])
    >>> (now.read() > 1).ravel().tolist(), (now.read("above_expected") > 1).ravel().tolist()
    ([False, True], [False, False])
    """

    def __init__(self, step: int, seasons: tuple[int, ...] | None = None) -> None:
        if step < 1:
            raise ValueError(f"step: expected 1 s or more, got {step}")
        self.step = int(step)
        self.seasons = None if seasons is None else tuple(int(s) for s in seasons)
        self.column = 0
        self._rhythm = rhythm_of(self.step)
        self._state: State | None = None

    def run(self, columns: ArrayLike) -> Scores:
        """Score new ``columns [n, k]`` (anything but a finite number: missing), then learn from them.

        Raises:
            ValueError: not two-dimensional, or another number of series than before.
        """
        values = np.ascontiguousarray(columns, dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(f"values: expected an array [n, T], got shape {values.shape}")
        if self._state is None:
            assumed = ASSUMED if self.seasons is None else self.seasons
            self._state = new_state(np.tile(two_of(assumed, self.step), (len(values), 1)), self._rhythm)
        if len(values) != len(self._state.scalars):
            raise ValueError(f"columns: expected [{len(self._state.scalars)}, k], got shape {values.shape}")
        above, below = np.empty(values.shape), np.empty(values.shape)
        kind = np.zeros(values.shape, np.int8)
        watch(values, self.column, self._state, self._rhythm, above, below, kind)
        self.column += values.shape[1]
        return Scores(above, below, kind)

    def run_history(self, values: ArrayLike) -> Scores:
        """Score ``values [n, T]``, the first columns there are, and find each series' seasons on the way.

        Raises:
            ValueError: not two-dimensional, or columns were scored before.
        """
        v = np.asarray(values, dtype=np.float64)
        if v.ndim != 2 or self.column:
            raise ValueError(f"values: expected the first [n, T], got shape {v.shape} after {self.column} columns")
        looks = looks_within(v.shape[1]) if self.seasons is None else []
        ends = [*looks, v.shape[1]]
        scores = self.run(v[:, : ends[0]])
        for look, end in pairwise(ends):
            self._follow(seasons_of(v[:, :look], self.step), v[:, :look])
            scores = scores.then(self.run(v[:, look:end]), end)
        return scores

    def _follow(self, periods: NDArray[np.int64], past: Float) -> None:
        """From here on tell scores from ``periods [n, 2]`` in seconds; series that had others learn ``past`` anew."""
        if self._state is None or not len(past):
            return
        others = np.flatnonzero((self._state.seasons[:, [FIRST, SECOND]] != periods).any(axis=1))
        anew = new_state(periods[others], self._rhythm)
        watch(np.ascontiguousarray(past[others]), 0, anew, self._rhythm, *_unread(len(others), past.shape[1]))
        for mine, its in zip(self._state, anew, strict=True):
            mine[others] = its

    def copy(self) -> AnomalyScorer:
        """One that goes on from here by itself."""
        return AnomalyScorer.from_arrays(self.to_arrays())

    def select(self, rows: NDArray[np.int64]) -> AnomalyScorer:
        """One that goes on from here with some of the series."""
        return self._with({} if self._state is None else {k: v[rows] for k, v in self._state._asdict().items()})

    def beside(self, other: AnomalyScorer) -> AnomalyScorer:
        """One that goes on with these series and then those of ``other``, which has seen as many columns.

        Raises:
            ValueError: of another step, other seasons, or another number of columns.
        """
        mine, its = (self.step, self.seasons, self.column), (other.step, other.seasons, other.column)
        if mine != its or self._state is None or other._state is None:
            raise ValueError(f"scorer: expected step, seasons and columns {mine}, got {its}")
        pairs = zip(State._fields, self._state, other._state, strict=True)
        return self._with({name: np.concatenate([a, b]) for name, a, b in pairs})

    def _with(self, state: dict[str, Float]) -> AnomalyScorer:
        scorer = AnomalyScorer(self.step, self.seasons)
        scorer.column = self.column
        scorer._state = State(**state) if state else None
        return scorer

    def to_arrays(self) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
        """What :meth:`from_arrays` needs to go on from here: plain arrays, for an npz file without objects."""
        head: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
            "step": np.array(self.step),
            "column": np.array(self.column),
        }
        if self.seasons is not None:
            head["given"] = np.array(self.seasons, np.int64)
        return head | ({} if self._state is None else {k: v.copy() for k, v in self._state._asdict().items()})

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.float64] | NDArray[np.int64]]) -> AnomalyScorer:
        """The scorer whose :meth:`to_arrays` gave ``arrays``.

        Raises:
            ValueError: arrays of another version: learn anew.
        """
        given = tuple(int(s) for s in arrays["given"]) if "given" in arrays else None
        scorer = cls(int(arrays["step"]), given)
        scorer.column = int(arrays["column"])
        if State._fields[0] not in arrays:
            return scorer
        state = new_state(np.zeros((len(arrays[State._fields[0]]), 2), np.int64), scorer._rhythm)
        for name, field in state._asdict().items():
            if name not in arrays or arrays[name].shape != field.shape:
                raise ValueError(f"arrays: expected {name} {list(field.shape)}, as this version makes them")
            field[...] = arrays[name]
        scorer._state = state
        return scorer


@overload
def score_anomalies(
    values: ArrayLike,
    *,
    start: float = 0,
    step: int,
    seasons: tuple[int, ...] | None = None,
    kinds: Literal[False] = False,
) -> Float: ...


@overload
def score_anomalies(
    values: ArrayLike,
    *,
    start: float = 0,
    step: int,
    seasons: tuple[int, ...] | None = None,
    kinds: Literal[True],
) -> tuple[Float, NDArray[np.int8]]: ...


def score_anomalies(
    values: ArrayLike,
    *,
    start: float = 0,
    step: int,
    seasons: tuple[int, ...] | None = None,
    kinds: bool = False,
) -> Float | tuple[Float, NDArray[np.int8]]:
    """Anomaly score of every point of ``values [n, T]``: 1.0 = the alert threshold, NaN where missing.

    Column t uses columns up to t only; 0 in the grace period. A score of 1.0 comes about once in four weeks of a clean
    series. ``seasons`` in seconds (None: each series' own are found as its history grows, and a day and a week are
    assumed where it has fewer). ``start`` (unix seconds of column 0) changes nothing: a season is known by its period.
    With ``kinds``: the scores and the number in KINDS of each point's kind, int8 ``[n, T]``.

    Raises:
        ValueError: not a two-dimensional array, or a step below 1.

    >>> y = np.random.default_rng(0).normal(size=(1, 700)); y[0, 650] += 30
    >>> scores, kind = score_anomalies(y, step=300, kinds=True)
    >>> bool(scores[0, 650] > 1), KINDS[kind[0, 650]]
    (True, 'point')
    """
    found = AnomalyScorer(step, seasons).run_history(values)
    return (found.read(), found.kind) if kinds else found.read()


def _unread(n: int, columns: int) -> tuple[Float, Float, NDArray[np.int8]]:
    """Room for scores that nobody asked for."""
    return np.empty((n, columns)), np.empty((n, columns)), np.empty((n, columns), np.int8)
