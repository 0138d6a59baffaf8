"""Parts of a history that are not what the series is now: before a lasting step, and excursions that are over.

After a disk is enlarged, its old level is no precedent; after one is cleaned up, neither is the climb before it. The
members would forget such a past within days, the odds only when it leaves the history. A step is taken for one where
the series never moved nearly as far within so short a time, and stayed. Where it leads back to where the series has
been for most of its past, what came before it was an *excursion*, and is left out at once. Where it leads to a new
level, the past is moved to that level once it has *lasted*: until then the old one may come back.

Shapes: n series, T columns, C parts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.grid import DAY, MINUTE
from models.panel import Float, Index, coarsen, fill

CELL = 5 * MINUTE  # steps are looked for on cells of this width
SPAN_SECONDS, LEAST_SPAN = 1800, 3  # of the medians on both sides of a step; in cells at least
UNPRECEDENTED = 2.5  # times what the series otherwise moved within two spans
HALF = 0.5  # of a step is on its side, and as much as the step
DAYS = 7  # before, whose same hours a cell is compared with
MOST_STEPS = 2  # in a history; a series with more is one that steps
NEAR = 0.25  # of a step, within which the series is where the step led
STAYS = 0.95  # of the cells since a step that must be on its side of the middle
LASTED = 12 * 3600  # seconds after which a new level has come to stay
RESCALES = 1.25  # ratio of two levels from which on it is asked whether the swing changed with the level
EXCURSION_MOST = 0.25  # of the history that an excursion may be


@dataclass(frozen=True)
class Regimes:
    """Columns ``begin [C]`` up to ``end [C]``, counted back from the last, of the series ``row [C]``; they are ``times
    [C]`` the columns ``back [C]`` before them (0: themselves, which no excursion is), and what to ``add [C]``; NaN:
    nothing is known of them.
    """

    row: Index
    begin: Index
    end: Index
    back: Index
    times: Float
    add: Float

    def __len__(self) -> int:
        return len(self.row)

    def levelled(self, values: Float, excursions: bool = False) -> Float:
        """``values [n, T]`` as if the series had always been what it is now, or, with its ``excursions``, always at its
        level; the same array where it was.
        """
        if not len(self):
            return values
        out, T = values.copy(), values.shape[1]
        for i, begin, end, back, times, add in zip(*(getattr(self, f.name) for f in fields(self)), strict=True):
            if excursions and back:
                continue
            first, last = max(0, T - begin), max(0, T - end)
            for a in range(first, last, back or T):
                b = min(last, a + (back or T))
                out[i, a:b] = times * out[i, a - back : b - back] + add if a >= back else np.nan
        return out

    def later(self, columns: int) -> Regimes:
        """The same after as many new ``columns``."""
        return replace(self, begin=self.begin + columns, end=self.end + columns)

    def unlike(self, other: Regimes, n: int, within: int) -> NDArray[np.bool_]:
        """Which of ``n`` series have other parts than in ``other``, or ones that end over ``within`` columns apart."""
        out = np.zeros(n, np.bool_)
        for i in np.union1d(self.row, other.row):
            mine, its = (np.sort(one.end[one.row == i]) for one in (self, other))
            out[i] = len(mine) != len(its) or np.abs(mine - its).max() > within
        return out

    def select(self, rows: Index) -> Regimes:
        """The same of the series ``rows``, in that order."""
        where = [(new, at) for new, old in enumerate(rows) for at in np.flatnonzero(self.row == old)]
        new, at = np.array(where, np.int64).reshape(-1, 2).T
        return Regimes(new, *(getattr(self, f.name)[at] for f in fields(self)[1:]))

    def beside(self, other: Regimes, n: int) -> Regimes:
        """These of ``n`` series and then those of ``other``."""
        both = (np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)[1:])
        return Regimes(np.concatenate([self.row, other.row + n]), *both)


_NOTHING = np.empty(0, np.int64)
NONE = Regimes(_NOTHING, _NOTHING, _NOTHING, _NOTHING, np.empty(0), np.empty(0))  # histories that are all of one piece


Part = tuple[int, int, int, float, float]


def span_of(step: int) -> int:
    """Columns of ``step`` seconds in the medians on both sides of a step."""
    width = max(1, CELL // step)
    return width * max(LEAST_SPAN, SPAN_SECONDS // (width * step))


def find_regimes(values: Float, step: int) -> Regimes:
    """The parts of ``values [n, T]``, NaN missing, a column each ``step`` seconds, that are not what is now."""
    width = max(1, CELL // step)
    seconds = width * step
    cells = coarsen(values, width)
    span = span_of(step) // width
    day = DAY // seconds if DAY % seconds == 0 else 0
    found = []
    for i, row in enumerate(fill(cells, np.zeros(len(cells), np.int64))):
        there = np.flatnonzero(np.isfinite(cells[i]))
        if not len(there) or there[-1] + 1 - there[0] < 8 * span:
            continue
        y = row[there[0] : there[-1] + 1]  # a level does not last because nothing is observed
        gone = len(row) - 1 - there[-1]
        for first, last, cycle, times, add in _parts(y, span, day if len(y) >= 2 * day else 0, -(-LASTED // seconds)):
            start = values.shape[1] if first == 0 else (gone + len(y) - first) * width
            found.append((i, start, (gone + len(y) - last) * width, cycle * width, times, add))
    if not found:
        return NONE
    table = np.array(found)
    whole = table[:, :4].astype(np.int64).T
    return Regimes(whole[0], whole[1], whole[2], whole[3], table[:, 4], table[:, 5])


@dataclass(frozen=True)
class _Step:
    """A step at cell ``at``, from the level ``before`` to that ``after`` it."""

    at: int
    before: float
    after: float

    @property
    def height(self) -> float:
        return self.after - self.before

    def beyond(self, cells: Float, share: float) -> NDArray[np.bool_]:
        """Which ``cells`` are on its side of the level that is this ``share`` of the way back."""
        return np.asarray(np.sign(self.height) * (cells - self.after + share * self.height) >= 0)


def _parts(y: Float, span: int, day: int, lasted: int) -> list[Part]:
    """What of ``y [T]`` is not as it is now: the cells from and up to, how far back to look instead, by what to
    multiply and what to add, in the order in which that is to be done.
    """
    d = _from_days(y, day) if day else y
    first = day * min(DAYS, len(y) // day // 2) if day else 0  # the first days are too few to compare with
    out: list[Part] = []
    now, end = y.copy(), len(y)
    for step in _steps(y, d, span, first, DAYS * day):
        s = step.at
        since = d[s : min(end, s + 3 * day)] if day else d[s:end]
        if len(since) < span or step.beyond(since, HALF).mean() < STAYS:
            continue
        times, add, moved = _moved(now, s, end, day)
        lasting = moved / step.height >= HALF  # or other hours say that it is none
        left = _left(d, step, span, first, day) or (_away(now, s, moved, day) if lasting else 0)
        if left:
            over = s + int(step.beyond(d[s:end], NEAR).argmax()) + 1  # the way back is no part of it either
            later = d[max(over, left + DAYS * day) : over + DAYS * day] if day else d[:0]
            if len(later) >= span and step.beyond(later, HALF).mean() < HALF:
                continue  # it comes again a week later: a weekend
            cycle = DAYS * day if left >= 2 * DAYS * day else day
            out.append((left, over, cycle or len(y), 1.0, 0.0 if cycle else np.nan))  # no days: it is unknown
            end = left
        elif lasting and end - s >= lasted:
            out += [(0, s, 0, times, add), (s - 1, s + 1, 0, 1.0, np.nan)]  # a mean over the step is of neither level
            now[:s] = times * now[:s] + add
            end = s
        else:
            break
    # Levels first: what takes the place of an excursion is then at the present one.
    return sorted(out, key=lambda part: (part[2] > 0, part[0]))


def _left(d: Float, step: _Step, span: int, first: int, day: int) -> int:
    """The cell from which on the series was away from where ``step`` led it back to; 0 if it led to a new level."""
    there = np.flatnonzero(step.beyond(_running_median(d[: max(0, step.at - span)], span)[first + span :], NEAR))
    if not len(there):
        return 0
    left = int(there[-1]) + first + span + 1
    stay = step.beyond(d[max(first, left - (day or step.at - left)) : left], HALF)
    return left if step.at - left <= EXCURSION_MOST * step.at and stay.mean() >= HALF else 0


def _away(y: Float, s: int, moved: float, day: int) -> int:
    """The same of a step at ``s`` by ``moved``, from the median of a day: of one that ended what took longer than the
    days that a cell is compared with; 0 too where the series has not been there for most of its past.
    """
    if not day or s <= 2 * day:
        return 0
    medians = _running_median(y[:s], day)
    there = np.abs(medians - medians[-1] - moved) <= NEAR * abs(moved)
    return int(np.flatnonzero(there)[-1]) + 1 - day // 2 if there[day:].mean() >= HALF else 0


def _moved(y: Float, s: int, end: int, day: int) -> tuple[float, float, float]:
    """What brings the cells before ``s`` to the level since: by what to multiply, what to add, and how far the level
    moved; by the same hours of the day before where there is one.
    """
    many = min(end - s, day) if day and s >= day else min(end - s, s)
    since, before = y[s : s + many], y[s - (day or many) :][:many]
    old, new = float(np.median(before)), float(np.median(since))
    times = 1.0
    if np.fmin.reduce(y) >= 0 and min(old, new) * RESCALES < max(old, new):
        # A rate that halves halves its swing too; a disk that is enlarged keeps it.
        spread = [float(np.subtract(*np.quantile(part, [0.75, 0.25]))) for part in (before, since)]
        if min(*spread, old, new) > 0:
            wider = np.log(spread[1] / spread[0])
            times = new / old if abs(wider - np.log(new / old)) < abs(wider) else 1.0
        elif new == 0:  # what has come to nothing has no swing left
            times = float(since.mean() / before.mean())
    return times, float(np.median(since - times * before)), new - old


def _steps(y: Float, d: Float, span: int, first: int, week: int) -> list[_Step]:
    """Unprecedented steps of ``y [T]``, newest first; none where there are more than MOST_STEPS.

    ``d [T]``: from the days before. What moves only in it, or did so a week before or after too, is no step.
    """
    medians = _running_median(d, span)
    plain, moved = _difference(_running_median(y, span), span), _difference(medians, span)
    moved[np.sign(moved) * plain < HALF * np.abs(moved)] = 0
    moved[: first + span] = 0
    size, at = np.abs(moved), []
    for _ in range(MOST_STEPS):
        s = int(size.argmax())
        again = [plain[max(0, o - span) : o + span + 1] for o in (s - week, s + week) if week and 0 <= o < len(y)]
        if not any((np.sign(moved[s]) * one >= HALF * size[s]).any() for one in again):
            at.append((s, size[s]))
        size[max(0, s - 2 * span) : s + 2 * span + 1] = 0
    out = []
    for s in sorted((s for s, height in at if height > UNPRECEDENTED * size.max()), reverse=True):
        step = _Step(s, float(medians[s - 1]), float(medians[s + span - 1]))
        wrong = np.flatnonzero(~step.beyond(d[s - span : s + span], HALF))
        out.append(replace(step, at=s - span + (int(wrong[-1]) + 1 if len(wrong) else 0)))
    return out


def _difference(medians: Float, span: int) -> Float:
    """How far the median of ``span`` cells from each on is from that of those before it; 0 near the ends, ``[T]``."""
    out = np.zeros(len(medians))
    out[span : len(out) - span + 1] = medians[2 * span - 1 :] - medians[span - 1 : len(medians) - span]
    return out


@njit(cache=True)
def _from_days(y: Float, day: int) -> Float:
    """``y [T]`` from the median of the same hour of up to DAYS days before; 0 on the first day."""
    out = np.zeros(len(y))
    ordered = np.empty(DAYS)
    for t in range(day, len(y)):
        count = min(t // day, DAYS)
        for j in range(count):
            v = y[t - (j + 1) * day]
            k = j
            while k > 0 and ordered[k - 1] > v:
                ordered[k] = ordered[k - 1]
                k -= 1
            ordered[k] = v
        out[t] = y[t] - 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
    return out


@njit(cache=True)
def _running_median(y: Float, span: int) -> Float:
    """Median of the ``span`` cells up to and with each one, ``[T]``; of the first ones: of what is there."""
    out = np.empty(len(y))
    ordered = np.empty(span)
    count = 0
    for t in range(len(y)):
        k = count
        if count == span:  # the oldest leaves: its place is free
            k = 0
            while ordered[k] != y[t - span]:
                k += 1
            while k < count - 1:
                ordered[k] = ordered[k + 1]
                k += 1
        else:
            count += 1
        while k > 0 and ordered[k - 1] > y[t]:
            ordered[k] = ordered[k - 1]
            k -= 1
        ordered[k] = y[t]
        out[t] = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
    return out
