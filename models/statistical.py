"""Reference members from statsmodels, for few series: exponential smoothing, ARIMA, and both after an MSTL.

They are a thousand times slower than the members of the ensemble. Parameters are learned at a few columns of a series'
history (KNOTS), each time from what was before; one pass of the filter from there to the next gives the state at every
origin between, so that no forecast knows what came after its origin.

Shapes: n series, T columns, K origins, H cells, P parameters of a fit.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import Array32, Fitted, Member, Origins
from models.panel import Float, Panel

KNOTS = (0.3, 0.6, 1.0)  # of a history: where the parameters are learned; before the first there is no answer
FEWEST = 24  # columns to learn from
MOST, MOST_CYCLES = 600, 6  # columns that parameters are learned from: this many, or cycles if that is more,
LIMIT = 2400  # but never more than these; a longer season than half of them is left out
ORDERS = ((0, 1, 1), (1, 1, 1), (2, 1, 1))  # all differenced once: their AICs compare
MAX_ITERATIONS = 25

Ahead = Callable[[int, int], Float]  # forecast [H] from so many columns into a pass, H cells ahead


def knots(first: int, end: int) -> NDArray[np.int64]:
    """Columns that parameters are learned before, of a history over ``first .. end - 1``.

    >>> knots(100, 200)
    array([130, 160, 200])
    """
    return np.asarray(first + np.ceil(np.array(KNOTS) * (end - first)), np.int64)


class Refitted(Member):
    """A member that learns at the knots. A subclass writes ``_learn`` and ``_pass``, both on standardised values."""

    windowed = None

    def _fit(self, panel: Panel) -> Fitted:
        rows = [[np.empty(0)] * len(KNOTS) for _ in range(panel.n)]
        where = np.full((panel.n, len(KNOTS), 4), np.nan)
        for i in range(panel.n):
            first = int(panel.first[i])
            for j, knot in enumerate(knots(first, panel.T)):
                season = usable_season(panel.seasons_of(i), int(knot) - first)
                begin = max(first, int(knot) - history(season))
                y = panel.values[i, begin:knot]
                if len(y) < FEWEST:
                    continue
                centre, scale = y.mean(), y.std()
                where[i, j] = knot - begin, season, centre, scale
                if scale > 1e-9 * abs(centre):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # of a search that ends early: its best parameters serve
                        rows[i][j] = self._learn((y - centre) / scale, season)
        widest = max((len(p) for row in rows for p in row), default=0)
        learned = np.full((panel.n, len(KNOTS), widest), np.nan)
        for i, row in enumerate(rows):
            for j, p in enumerate(row):
                learned[i, j, : len(p)] = p
        return {"learned": learned, "where": where, "end": np.full(panel.n, float(panel.T))}

    def _predict(self, panel: Panel, fitted: Fitted, origins: Origins, rows: NDArray[np.int64], out: Array32) -> None:
        for i in rows:
            at = knots(int(panel.first[i]), panel.T)
            next_knot = np.append(at[1:], panel.T + 1)
            for j, (knot, stop) in enumerate(zip(at, next_knot, strict=True)):
                inside = np.flatnonzero((origins[i] >= knot) & (origins[i] < stop))
                length, season, centre, scale = fitted["where"][i, j]
                if len(inside) and np.isfinite(length):
                    begin = max(int(panel.first[i]), int(knot) - int(length))
                    self._answer(panel.values[i, begin : stop - 1], fitted["learned"][i, j], int(season),
                                 (centre, scale), origins[i, inside] - begin, out[i], inside)  # fmt: skip

    def _answer(
        self, y: Float, learned: Float, season: int, unit: tuple[float, float], at: Origins, out: Array32,
        which: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Write the forecasts from columns ``at`` of ``y`` into ``out[which]``."""
        centre, scale = unit
        known = learned[np.isfinite(learned)]
        H = out.shape[1]
        if not len(known):  # it was constant
            out[which] = y[at - 1][:, None]
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ahead = self._pass((y - centre) / scale, known, season)
        for k, o in zip(which, at, strict=True):
            out[k] = centre + scale * ahead(int(o), H)

    @abstractmethod
    def _learn(self, y: Float, season: int) -> Float:
        """Parameters ``[P]`` from ``y``; ``season`` in columns, 0 for none."""

    @abstractmethod
    def _pass(self, y: Float, learned: Float, season: int) -> Ahead:
        """Filter ``y``, which begins where the parameters were learned from and goes on beyond."""


def history(season: int) -> int:
    """Columns that parameters are learned from."""
    return min(LIMIT, max(MOST, MOST_CYCLES * season))


def usable_season(seasons: tuple[int, ...], columns: int) -> int:
    """The shortest season of which ``columns`` hold three cycles and LIMIT two, or 0.

    >>> usable_season((24, 168), 100), usable_season((24,), 60)
    (24, 0)
    """
    return next((s for s in seasons if 3 * s <= columns and 2 * s <= LIMIT), 0)


def smoothing(y: Float, season: int, start: Float | None = None) -> Any:
    """ETS(A, Ad, A) or, without a season, ETS(A, Ad, N); ``start``: level, slope and season to begin from."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    options: dict[str, Any] = {"error": "add", "trend": "add", "damped_trend": True}
    if season:
        options |= {"seasonal": "add", "seasonal_periods": season}
    if start is None:
        return ETSModel(y, initialization_method="heuristic", **options)
    options |= {"initial_level": start[0], "initial_trend": start[1]}
    if season:
        options["initial_seasonal"] = start[2:]
    return ETSModel(y, initialization_method="known", **options)


def learn_smoothing(y: Float, season: int) -> Float:
    """The smoothing parameters (four with a season, three without), then level, slope and season to begin from."""
    model = smoothing(y, season)
    made = model.fit(disp=False, maxiter=MAX_ITERATIONS)
    weights = np.asarray(made.params, float)[: 4 if season else 3]
    start = np.concatenate([[made.initial_level, made.initial_trend], made.initial_seasonal if season else []])
    return np.concatenate([weights, np.asarray(start, float)])


def pass_smoothing(y: Float, learned: Float, season: int) -> Ahead:
    """Level, slope and season after each column of ``y``, and the forecasts from there."""
    count = 4 if season else 3
    _, states = smoothing(y, season, learned[count:]).smooth(learned, return_raw=True)
    level, slope, cycle = states[:, 0], states[:, 1], states[:, -1]
    damp = learned[count - 1]

    def ahead(o: int, H: int) -> Float:
        steps = np.arange(H)
        out = level[o - 1] + slope[o - 1] * np.cumsum(damp ** (steps + 1))
        if season:
            out = out + cycle[o - season + steps % season]
        return np.asarray(out, np.float64)

    return ahead


class Ets(Refitted):
    """Exponential smoothing with a damped trend and the shortest season, all additive (Hyndman et al., 2008)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _learn(self, y: Float, season: int) -> Float:
        return learn_smoothing(y, season)

    def _pass(self, y: Float, learned: Float, season: int) -> Ahead:
        return pass_smoothing(y, learned, season)


class Decomposed(Refitted):
    """What is left after the seasons of an MSTL (Bandara et al., 2021) goes on as ``rest`` says; the last cycle of each
    season repeats.
    """

    seasonal = True

    def __init__(self, name: str, rest: str) -> None:
        self.name, self.rest = name, rest

    def _learn(self, y: Float, season: int) -> Float:
        cycle = last_cycle(y, season)
        rest = y - repeated(cycle, len(y), len(y)) if season else y
        # A season of nothing else leaves a remainder of nothing, from which nothing can be learned.
        learn = learn_arima if self.rest == "arima" else lambda r: learn_smoothing(r, 0)
        learned = learn(rest) if rest.std() > 1e-6 else np.empty(0)
        return np.concatenate([[float(len(y))], cycle, learned])

    def _pass(self, y: Float, learned: Float, season: int) -> Ahead:
        length, cycle, learned = int(learned[0]), learned[1 : 1 + season], learned[1 + season :]
        of_season = repeated(cycle, length, len(y)) if season else np.zeros(len(y))
        rest = y - of_season
        going_on = pass_rest(rest, learned, self.rest)

        def ahead(o: int, H: int) -> Float:
            later = repeated(cycle, length, o + H)[o:] if season else 0.0
            return np.asarray(going_on(o, H) + later, np.float64)

        return ahead


def last_cycle(y: Float, season: int) -> Float:
    """The newest cycle of the seasonal part of ``y``, ``[season]``."""
    if not season:
        return np.empty(0)
    from statsmodels.tsa.seasonal import MSTL

    parts = MSTL(y, periods=season).fit()
    return np.asarray(parts.seasonal, float)[-season:]


def repeated(cycle: Float, end: int, length: int) -> Float:
    """The cycle that ended before column ``end``, over columns ``0 .. length - 1``.

    >>> repeated(np.array([1.0, 2.0, 3.0]), 4, 6)
    array([3., 1., 2., 3., 1., 2.])
    """
    return cycle[(np.arange(length) - end) % len(cycle)]


def pass_rest(rest: Float, learned: Float, kind: str) -> Ahead:
    """How a remainder goes on: by the parameters, or where there are none as it is."""
    if not len(learned):
        return lambda o, H: np.full(H, rest[o - 1])
    return pass_arima(rest, learned) if kind == "arima" else pass_smoothing(rest, learned, 0)


def learn_arima(y: Float) -> Float:
    """The place in ORDERS of the order with the least AIC, then its parameters."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    best, least = np.empty(0), np.inf
    for which, order in enumerate(ORDERS):
        made = SARIMAX(y, order=order).fit(disp=False, maxiter=MAX_ITERATIONS, cov_type="none")
        if made.aic < least:
            best, least = np.concatenate([[float(which)], np.asarray(made.params, float)]), made.aic
    return best


def pass_arima(y: Float, learned: Float) -> Ahead:
    """The predicted state of the Kalman filter after each column, and the forecasts from there."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    made = SARIMAX(y, order=ORDERS[int(learned[0])]).filter(learned[1:])
    states = np.asarray(made.predicted_state)
    design, transition = made.model.ssm["design"][0], made.model.ssm["transition"]

    def ahead(o: int, H: int) -> Float:
        state, out = states[:, o], np.empty(H)
        for h in range(H):
            out[h] = design @ state
            state = transition @ state
        return out

    return ahead
