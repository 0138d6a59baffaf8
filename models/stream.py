"""The kernel of the anomaly scores: one pass over each series, point by point, with a state of fixed size.

Shapes: n series, k new columns, C and D cells of the first and the second season, W points of the longest mean.

Every point is compared with what its own series led to expect:

* the *expectation* is a level (the median of a day's hourly means, so that a new level counts once it has lasted half
  a day) plus a profile for each season, each as far as it made past errors smaller, plus what the last deviations say
  about the next one (a regression on the last deviation and on their recent mean);
* *evidence* is how rarely the series did such a thing before: one error of prediction, and means of deviations over
  three spans against the span before; and the mean surprise over two spans, which sees runs of points that are each
  only somewhat unusual, and changes of variance (after the anomaly likelihood of Ahmad et al., 2017);
* rarity is measured against the series' own past, by a generalised Pareto tail over a running high quantile (Siffer et
  al., 2017, "Anomaly detection in streams with extreme value theory"), in nats: -log of the probability.

What is far beyond the ordinary is clipped before anything learns from it: an anomaly teaches slowly.

All compiled functions and the constants in them are in this one file: numba keeps what it compiled for as long as the
file of the function is unchanged, and does not look at the files it imports from.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float64]

# ---- The tail of one kind of evidence on one side -------------------------------------------------------------------
QUANTILE, EXCESS, SQUARE, EXCEEDED, SEEN = range(5)  # its state
TAIL_FIELDS = 5
BEYOND = 0.02  # the share of points beyond the quantile: few enough to be tail, enough to learn from in a day
BEYOND_NATS = -math.log(BEYOND)
EVEN_NATS = math.log(2.0)  # of a point exactly as expected
START_QUANTILE = 2.054  # what a Gaussian has in units of its standard deviation,
START_EXCESS = 0.45  # and a little more than it has (0.37): ordinary series have heavier tails
QUANTILE_GAIN = 6.0  # 1 / (density times quantile) of a Gaussian there: the best gain of a running quantile
QUANTILE_START = 100.0  # points that the start counts for: a first cluster of large values must not carry it away
FEWEST_EXCEEDED = 50.0  # exceedances that are remembered, however short the memory, and that the start counts for
MOST_HEAVY = 0.4  # the largest tail index: moments cannot tell indices near 0.5
MOST_NATS = 200.0
TAIL_MEMORY = 8064.0  # points remembered: four weeks of five minutes

# ---- Scalars of a series --------------------------------------------------------------------------------------------
(
    COUNT,  # observed points
    LEVEL,
    SCALE,  # of an error of prediction, long run
    DAY_SCALE,  # the same, the first quartile of the last day's hours: a larger one counts once it has lasted a while
    LAST,  # deviation of the last point
    RECENT,  # running mean of deviations
    LL,  # moments of the regression of a deviation on LAST and RECENT
    LR,
    RR,
    YL,
    YR,
    ERROR_PLAIN,  # mean absolute errors: the level alone, with the first season, with both
    ERROR_FIRST,
    ERROR_BOTH,
    ERROR_SLOW,  # mean absolute errors one step ahead: without and with the regression
    ERROR_NEXT,
    ERROR_SAME,  # and of the last value as the next
    HOUR,  # number of the hour under way, and the sums of it
    HOUR_SUM,
    HOUR_ERROR,
    HOUR_COUNT,
    HOURS,  # hours completed
    VALUE,  # last value
    RUN,  # of equal values
    LONGEST,
    REPEATS,  # share of values equal to the one before
    ZEROS,  # share of zeros
    USUAL,  # the quantile of the combined evidence, its mean excess and the exceedances behind it
    USUAL_EXCESS,
    USUAL_EXCEEDED,
    SINCE,  # count at which evidence began to be learned
) = range(31)
SCALARS = 31

# ---- The seasons of a series -----------------------------------------------------------------------------------------
(
    FIRST,  # periods in seconds, 0: none
    SECOND,
    CYCLE,  # points of the first
    GRACE,  # points before the first score
    KNOWN,  # points after which the first season counts
    FIRST_VISIT,  # points of one visit to a cell of its profile
    SECOND_VISIT,
) = range(7)
SEASON_FIELDS = 7

# ---- Evidence -------------------------------------------------------------------------------------------------------
NEXT, SHORT, MIDDLE, LONG, SURPRISE_SHORT, SURPRISE_LONG = range(6)
EVIDENCE = 6
SPANS = (3, 12, 48)  # points of the means SHORT, MIDDLE and LONG at five minutes; of the surprise the last two

# ---- Constants of the expectation -----------------------------------------------------------------------------------
LEVEL_HOURS = 24
SCALE_MEMORY = 7.0  # days behind a scale, an error and the regression: a week holds every kind of day
PROFILE_MEMORY = 7.0, 4.0  # visits behind a cell of the first and second season
SPREAD_CELLS = 24  # the noise has a daily course too: one factor for each of these parts of the first season,
SPREAD_GAIN, LEAST_SPREAD = 0.2, 0.2  # learned slowly
CLIP = 4.0  # scales beyond which a value teaches a scale no more than this
CLIP_DEVIATION = 3.0  # the same for the regression and for the profiles
CLIP_MEAN = 16.0  # one point moves a mean over a span no further than by this many scales
RIDGE, STEEPEST = 1e-3, 2.0  # shrinkage and largest coefficient of the regression
MEAN_SD = 1.2533  # standard deviation over mean absolute deviation of a Gaussian
SURPRISE_MEAN, SURPRISE_SD = 1.95, 0.95  # of the nats of Gaussian points, as _nats counts them
SURPRISE_CLIP = 12.0  # nats; about once in 160,000 points: one point is not a run
SETTLED = 0.85  # of the errors of two seasons, the first of which nothing was known: a first season that matters
SPOILT = 10.0  # times the scale of the median hour of the first day: one value made that
FAR = 1e6  # scales; beyond is all the same
TINY = 1e-300
ROUNDING = 1e-12  # of the level: what is smaller than this is no change
HUGE = 1e100  # a value beyond is this: its square must be a number

# ---- A run of equal values ------------------------------------------------------------------------------------------
FLAT_POINTS, FLAT_SECONDS = 12.0, 1800.0  # no shorter run is a flat line
FLAT_BEYOND = 2.0  # times the longest run so far
FLAT_NATS = math.log(80640.0)  # how rare a run must be if values repeat by chance: a tenth of the alarms

# ---- Output ---------------------------------------------------------------------------------------------------------
NONE, POINT, COLLECTIVE, LEVEL_KIND = range(4)
# Cubic mean of the nats of the evidence that is worth one alarm in four weeks of five-minute points: measured on seeded
# noise of seventeen kinds, from white to heavy-tailed, bursty and intermittent.
ALARM_NATS = 6.4
LEAST_ALARM = 0.85  # times that, for a series whose own past is calm; a restless one must not excuse itself
USUAL_START, USUAL_EXCESS_START = 3.7, 0.6  # in the same noise
USUAL_GAIN = 10.0  # nats
CLUSTER = 1.8  # points beyond the quantile that come together


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _clip(x: float, limit: float) -> float:
    return float(max(-limit, min(limit, x)))


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _difference(x: float, level: float) -> float:
    """``x - level``, or zero where that is rounding."""
    d = x - level
    return d if abs(d) > ROUNDING * abs(level) else 0.0


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _nats(tail: Float, v: float) -> float:
    """-log P(evidence >= v): a Pareto tail beyond the quantile, a straight line to an even chance below it."""
    u = tail[QUANTILE]
    if v <= u:
        return float(EVEN_NATS + max(v, 0.0) / u * (BEYOND_NATS - EVEN_NATS))
    m = tail[EXCESS]
    index = 0.5 * (1.0 - m * m / max(tail[SQUARE] - m * m, 1e-12))  # by moments: Hosking & Wallis, 1987
    index = max(0.0, min(MOST_HEAVY, index))
    z = (v - u) / (m * (1.0 - index))
    more = z if index < 1e-3 else math.log1p(index * z) / index
    return float(BEYOND_NATS + min(more, MOST_NATS))


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _learn(tail: Float, v: float, memory: float) -> None:
    """One more value of the evidence; one far beyond the tail counts as one of its rare ones."""
    tail[SEEN] = min(tail[SEEN] + 1.0, memory)
    gain = QUANTILE_GAIN / (tail[SEEN] + QUANTILE_START)
    u = tail[QUANTILE]
    if v <= u:
        tail[QUANTILE] = u * (1.0 - gain * BEYOND)
        return
    y = min(v - u, 12.0 * tail[EXCESS])
    tail[EXCEEDED] = min(tail[EXCEEDED] + 1.0, max(memory * BEYOND, FEWEST_EXCEEDED))
    tail[EXCESS] += (y - tail[EXCESS]) / tail[EXCEEDED]
    tail[SQUARE] += (y * y - tail[SQUARE]) / tail[EXCEEDED]
    tail[QUANTILE] = u * (1.0 + gain * (1.0 - BEYOND))


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _signed_nats(tails: Float, v: float) -> float:
    """Nats of the side that ``v`` is on, negative below zero; ``tails [2, TAIL_FIELDS]``."""
    return _nats(tails[0], v) if v > 0.0 else -_nats(tails[1], -v)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _learn_both(tails: Float, v: float, memory: float) -> None:
    _learn(tails[0], v, memory)
    _learn(tails[1], -v, memory)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _ordinary(tails: Float) -> float:
    """How large a value may be and still teach a scale what it is, in scales. What is frequent in the tails of a
    bursty or mostly idle series is ordinary for it.
    """
    up, down = tails[0], tails[1]
    return float(max(CLIP, up[QUANTILE] + 2.0 * up[EXCESS], down[QUANTILE] + 2.0 * down[EXCESS]))


# What counts whole numbers says fastmath=False: a function that says nothing is compiled as its first caller is, and a
# reciprocal in place of a division misses the first point of a cell.
@njit(cache=True, error_model="numpy", fastmath=False)
def _whole(x: float, y: float) -> float:
    """``x // y`` of whole numbers below 2^52, exactly: processors divide integers far slower."""
    return float(math.floor(x / y))


@njit(cache=True, error_model="numpy", fastmath=False)
def _rest(x: float, y: float) -> int:
    """``x % y``, as of :func:`_whole`."""
    return int(x - _whole(x, y) * y)


@njit(cache=True, error_model="numpy", fastmath=False)
def _cell(seconds: float, period: float, cells: int) -> int:
    return int(_whole(_rest(seconds, period) * cells, period)) if cells else 0


@njit(cache=True, error_model="numpy", fastmath=False)
def _back(place: int, points: int, size: int) -> int:
    """The place in a ring so many points before another one; ``points`` at most the size."""
    return place - points if place >= points else place - points + size


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _weight(least: float, error: float) -> float:
    """Of a part of the expectation, by its past error: one for the least, falling with the fourth power."""
    ratio = (least + TINY) / (error + TINY)
    return (ratio * ratio) * (ratio * ratio)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _regression(s: Float) -> tuple[float, float]:
    """Coefficients of the next deviation on LAST and RECENT, a little shrunk."""
    unit = s[LL] + s[RR]
    if s[COUNT] <= 30.0 or not unit > TINY:
        return 0.5, 0.4
    ll, lr, rr, yl, yr = s[LL] / unit, s[LR] / unit, s[RR] / unit, s[YL] / unit, s[YR] / unit
    ll, rr = ll + RIDGE, rr + RIDGE
    det = ll * rr - lr * lr
    if not det > 0.0:
        return 0.5, 0.4
    return _clip((rr * yl - lr * yr) / det, STEEPEST), _clip((ll * yr - lr * yl) / det, STEEPEST)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _season(s: Float, first: float, second: float, p: Any, r: Any) -> float:
    """The two profiles, each as far as it has made the errors of the past smaller."""
    if p[FIRST] == 0.0 or s[COUNT] < p[KNOWN]:
        return 0.0
    weekly = p[SECOND] > 0.0 and s[COUNT] * r.step > 2.0 * p[SECOND]
    least = min(s[ERROR_PLAIN], s[ERROR_FIRST])
    if weekly:
        least = min(least, s[ERROR_BOTH])
    plain, one = _weight(least, s[ERROR_PLAIN]), _weight(least, s[ERROR_FIRST])
    both = _weight(least, s[ERROR_BOTH]) if weekly else 0.0
    return ((one + both) * first + both * second) / (plain + one + both)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _blend(s: Float, slow: float, fast: float, same: float) -> float:
    """The errors of three predictions, mixed by how large they have been: the expectation alone, the regression about
    it, and the last value.
    """
    if s[COUNT] <= 30.0:
        return fast
    least = min(s[ERROR_SLOW], s[ERROR_NEXT], s[ERROR_SAME])
    a, b, c = _weight(least, s[ERROR_SLOW]), _weight(least, s[ERROR_NEXT]), _weight(least, s[ERROR_SAME])
    return (a * slow + b * fast + c * same) / (a + b + c)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _sort(values: Float, count: int, order: NDArray[np.int64], scratch: Float) -> None:
    """The first ``count`` values in order, in ``scratch``: an insertion sort, for two dozen of them, that starts from
    the ``order`` of the last time; since then one value is another.
    """
    for i in range(count):
        slot = order[i]
        v = values[slot]
        j = i
        while j > 0 and scratch[j - 1] > v:
            scratch[j], order[j] = scratch[j - 1], order[j - 1]
            j -= 1
        scratch[j], order[j] = v, slot


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _end_hour(s: Float, hours: Float, sums: Float, means: Float, orders: NDArray[np.int64], scratch: Float) -> None:
    """Close the hour under way: the level and the day's scale follow; past deviations are told from the new level."""
    at = int(s[HOURS]) % LEVEL_HOURS
    hours[0, at] = s[HOUR_SUM] / s[HOUR_COUNT]
    hours[1, at] = s[HOUR_ERROR] / s[HOUR_COUNT]
    s[HOURS] += 1.0
    count = min(int(s[HOURS]), LEVEL_HOURS)
    _sort(hours[0], count, orders[0], scratch)
    level = 0.5 * (scratch[(count - 1) // 2] + scratch[count // 2])
    moved = level - s[LEVEL]
    s[LEVEL] = level
    s[LAST] -= moved
    s[RECENT] -= moved
    n, size = int(s[COUNT]), len(sums)
    place = _rest(n, size)
    newest = sums[place]
    for k in range(size):
        sums[_back(place, k, size)] += moved * k - newest
    s[HOUR_SUM] = s[HOUR_ERROR] = s[HOUR_COUNT] = 0.0
    _sort(hours[1], count, orders[1], scratch)
    if count >= LEVEL_HOURS // 2:
        s[DAY_SCALE] = MEAN_SD * scratch[count // 4]
    usual = MEAN_SD * scratch[count // 2]
    if s[HOURS] <= LEVEL_HOURS and usual > 0.0 and s[SCALE] > SPOILT * usual:
        _start_again(s, sums, means, usual)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _start_again(s: Float, sums: Float, means: Float, usual: float) -> None:
    """Forget what an impossible value in the first hours taught, before anything could tell that it was one."""
    s[SCALE] = s[ERROR_SLOW] = s[ERROR_NEXT] = s[ERROR_SAME] = usual
    s[LAST] = s[RECENT] = s[LL] = s[LR] = s[RR] = s[YL] = s[YR] = 0.0
    sums[:] = 0.0
    means[:] = 0.0


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _means(s: Float, sums: Float, means: Float, tails: Float, r: Any, out: Float, scale: float) -> None:
    """Evidence of the three means: each against the same mean a span earlier, as far as that foretold it so far."""
    n, size = int(s[COUNT]), len(sums)
    place = _rest(n + 1, size)
    for k in range(3):
        w = r.short if k == 0 else (r.middle if k == 1 else r.long)
        out[SHORT + k] = 0.0
        if n + 1 < 2 * w or w > r.per_day:
            continue
        now, middle, before = sums[place], sums[_back(place, w, size)], sums[_back(place, 2 * w, size)]
        mean, past = (now - middle) / w, (middle - before) / w
        m = means[k]
        rho = max(0.0, min(1.0, m[2] / m[1])) if m[1] > 0.0 else 0.0
        surprise = mean - rho * past
        # A mean is no steadier than one of independent points.
        sd = max(m[0], 0.5 * scale / math.sqrt(w))
        q = _clip(surprise / (sd + TINY), FAR)
        out[SHORT + k] = _signed_nats(tails[SHORT + k], q)
        every = max(1, w // 4)  # neighbours tell the same story
        if _rest(n, every) > 0:
            continue
        seen = (n + 1.0 - s[SINCE]) / every
        gain = 1.0 / min(seen, SCALE_MEMORY * r.per_day / every + 10.0)
        size_ = MEAN_SD * abs(surprise)
        m[0] += ((min(size_, _ordinary(tails[SHORT + k]) * sd) if m[0] > 0.0 else size_) - m[0]) * gain
        limit = CLIP * max(m[0], TINY)
        x, y = _clip(past, limit), _clip(mean, limit)
        m[1] += (x * x - m[1]) * gain
        m[2] += (x * y - m[2]) * gain
        if seen > 8.0:
            _learn_both(tails[SHORT + k], q, TAIL_MEMORY / every)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _runs(s: Float, nats: float, surprises: Float, runs: Float, tails: Float, r: Any, out: Float) -> None:
    """Evidence of runs: the mean surprise of the last points, whatever its direction."""
    n, size = int(s[COUNT]), len(surprises)
    place = _rest(n, size)
    new = _clip(nats, SURPRISE_CLIP)
    for k in range(2):
        w = r.middle if k == 0 else r.long
        old = surprises[_back(place, w, size)]
        runs[k, 0] += (new - old) / w
        runs[k, 1] += (abs(new) - abs(old)) / w
    surprises[place] = new
    for k in range(2):
        w = r.middle if k == 0 else r.long
        q = (runs[k, 1] - SURPRISE_MEAN) * math.sqrt(w) / SURPRISE_SD
        out[SURPRISE_SHORT + k] = 0.0
        if n <= 60:
            continue
        if q > 0.0:
            out[SURPRISE_SHORT + k] = _nats(tails[SURPRISE_SHORT + k, 0], q)
        every = max(1, w // 4)
        if _rest(n, every) == 0:
            _learn(tails[SURPRISE_SHORT + k, 0], q, TAIL_MEMORY / every)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _flat(s: Float, x: float, r: Any) -> float:
    """How far the run of equal values has come on the way to a flat line, 1 = there; learns the run."""
    same = x == s[VALUE]
    if same:
        s[RUN] += 1.0
    else:
        s[LONGEST] = max(s[LONGEST], s[RUN])
        s[RUN] = 0.0
    s[LONGEST] *= 1.0 - 1.0 / TAIL_MEMORY
    gain = 1.0 / min(s[COUNT] + 1.0, TAIL_MEMORY)
    s[REPEATS] += ((1.0 if same else 0.0) - s[REPEATS]) * gain
    s[ZEROS] += ((1.0 if x == 0.0 else 0.0) - s[ZEROS]) * gain
    s[VALUE] = x
    if s[RUN] == 0.0:
        return 0.0
    chance = max(1e-4, min(0.9999, s[REPEATS]))
    least = max(FLAT_POINTS, FLAT_SECONDS / r.step)
    return float(s[RUN] / max(least, FLAT_BEYOND * s[LONGEST], FLAT_NATS / -math.log(chance)))


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _learn_scale(s: Float, spread: Float, part: int, error: float, scale: float, limit: float, r: Any) -> None:
    """Teach the scale of an error, and the spread of this part of the first season about it."""
    size = MEAN_SD * abs(error)
    if s[COUNT] > 20.0 and scale > 0.0:
        size = min(size, limit)
        if s[COUNT] > r.per_day:
            course = SPREAD_GAIN * (size / scale - 1.0) * SPREAD_CELLS / (SCALE_MEMORY * r.per_day)
            spread[part] = max(LEAST_SPREAD, min(1.0 / LEAST_SPREAD, spread[part] * (1.0 + course)))
    s[SCALE] += (size - s[SCALE]) / min(s[COUNT] + 1.0, SCALE_MEMORY * r.per_day)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _learn_next(s: Float, deviation: float, predicted: float, same: float, ordinary: float, r: Any) -> None:
    """Teach the regression and the errors of the three predictions."""
    n = s[COUNT]
    gain = 1.0 / min(n + 1.0, SCALE_MEMORY * r.per_day)
    limit = max(CLIP_DEVIATION * s[SCALE], ordinary) if n > 20.0 else 1.0 / TINY
    s[ERROR_NEXT] += (min(abs(deviation - predicted), limit) - s[ERROR_NEXT]) * gain
    s[ERROR_SLOW] += (min(abs(deviation), limit) - s[ERROR_SLOW]) * gain
    s[ERROR_SAME] += (min(abs(same), limit) - s[ERROR_SAME]) * gain
    # LAST follows the deviation, a spike only so far.
    y = s[LAST] + _clip(deviation - s[LAST], CLIP * max(s[SCALE], s[DAY_SCALE]))
    s[LL] += (s[LAST] * s[LAST] - s[LL]) * gain
    s[LR] += (s[LAST] * s[RECENT] - s[LR]) * gain
    s[RR] += (s[RECENT] * s[RECENT] - s[RR]) * gain
    s[YL] += (s[LAST] * y - s[YL]) * gain
    s[YR] += (s[RECENT] * y - s[YR]) * gain
    s[LAST] = y
    s[RECENT] += (y - s[RECENT]) / r.middle


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _learn_profiles(
    s: Float, first: Float, second: Float, p: Any, i: int, j: int, x: float, ordinary: float, r: Any
) -> None:
    """Teach the profiles, cells ``i`` and ``j``, and the errors with and without them."""
    n = s[COUNT]
    if s[HOURS] < 3.0:  # no level to speak of
        return
    gain = 1.0 / min(n + 1.0, SCALE_MEMORY * r.per_day)
    x = _difference(x, s[LEVEL])
    most = max(10.0 * s[ERROR_PLAIN], ordinary) if n > 20.0 else 1.0 / TINY
    s[ERROR_PLAIN] += (min(abs(x), most) - s[ERROR_PLAIN]) * gain
    if p[FIRST] == 0.0:
        return
    first[1, i] = min(first[1, i] + 1.0, PROFILE_MEMORY[0] * p[FIRST_VISIT])
    if n < p[CYCLE]:  # the level goes with the season still: see _end_cycle
        first[0, i] += (s[LEVEL] + _clip(x, most) - first[0, i]) / first[1, i]
        return
    x -= first[0, i]
    s[ERROR_FIRST] += (min(abs(x), most) - s[ERROR_FIRST]) * gain
    first[0, i] += _clip(x, CLIP_DEVIATION * s[ERROR_FIRST] if n > p[KNOWN] else most) / first[1, i]
    if p[SECOND] == 0.0:
        return
    x -= second[0, j]
    s[ERROR_BOTH] += (min(abs(x), most) - s[ERROR_BOTH]) * gain
    limit = CLIP_DEVIATION * s[ERROR_BOTH] if n * r.step > 1.1 * p[SECOND] else most
    second[1, j] = min(second[1, j] + 1.0, PROFILE_MEMORY[1] * p[SECOND_VISIT])
    second[0, j] += _clip(x, limit) / second[1, j]


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _end_cycle(s: Float, first: Float) -> None:
    """The first profile is complete and the level is that of a whole season: tell the one from the other."""
    for c in range(first.shape[1]):
        if first[1, c] > 0.0:
            first[0, c] -= s[LEVEL]
    s[ERROR_FIRST] = s[ERROR_BOTH] = s[ERROR_PLAIN]


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _combined(out: Float, runs: Float, sign: float) -> float:
    """Cubic mean of the evidence of one direction, between the sum and the largest. A run counts for the direction
    that most of it has, and for both where neither has.
    """
    total = 0.0
    for k in range(4):
        v = sign * out[k]
        if v > 0.0:
            total += v * v * v
    for k in range(2):
        share = 0.5 * (1.0 + sign * runs[k, 0] / max(runs[k, 1], TINY))
        v = out[SURPRISE_SHORT + k] * max(0.0, min(1.0, 2.0 * share))
        total += v * v * v
    return float((total / EVIDENCE) ** (1.0 / 3.0))


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _settle(s: Float, hours: Float, means: Float, tails: Float) -> None:
    """The first season is known from here on. Where it matters, evidence so far was about another expectation."""
    if s[ERROR_FIRST] > SETTLED * s[ERROR_PLAIN]:
        return
    hours[0] = s[LEVEL]
    means[:] = 0.0
    _begin(tails)
    s[SINCE] = s[COUNT]
    if s[DAY_SCALE] > 0.0:
        s[SCALE] = min(s[SCALE], s[DAY_SCALE])


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _begin(tails: Float) -> None:
    """What is thought of tails ``[EVIDENCE, 2, TAIL_FIELDS]`` before anything is known."""
    for k in range(EVIDENCE):
        for side in range(2):
            tail = tails[k, side]
            tail[QUANTILE], tail[EXCESS] = START_QUANTILE, START_EXCESS
            tail[SQUARE] = 2.0 * START_EXCESS * START_EXCESS  # an exponential tail
            tail[EXCEEDED], tail[SEEN] = FEWEST_EXCEEDED, 0.0


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _alarm(s: Float, nats: float, learn: bool, r: Any) -> float:
    """The combined evidence that this series shows about once in the quiet time, within bounds; then learns ``nats``,
    of an alarm no more than an alarm.
    """
    rare = s[USUAL] + s[USUAL_EXCESS] * math.log(r.points * BEYOND / CLUSTER)
    alarm = max(LEAST_ALARM * r.alarm, min(r.alarm, rare))
    if learn:
        excess = min(nats, alarm) - s[USUAL]
        gain = USUAL_GAIN / (min(s[COUNT], TAIL_MEMORY) + 300.0)
        if excess > 0.0:
            s[USUAL_EXCEEDED] = min(s[USUAL_EXCEEDED] + 1.0, TAIL_MEMORY * BEYOND)
            s[USUAL_EXCESS] += (excess - s[USUAL_EXCESS]) / s[USUAL_EXCEEDED]
        s[USUAL] += gain * ((1.0 if excess > 0.0 else 0.0) - BEYOND)
    return float(alarm)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _kind(out: Float, flat: float, score: float, zero: bool) -> int:
    """Which kind of evidence is the strongest."""
    if zero or flat >= score:
        return LEVEL_KIND
    best = 0
    for k in range(1, EVIDENCE):
        if abs(out[k]) > abs(out[best]):
            best = k
    if best == NEXT:
        return POINT
    return LEVEL_KIND if best in (MIDDLE, LONG) else COLLECTIVE


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def watch(values: Float, column: int, state: Any, r: Any, above: Float, below: Float, kind: NDArray[np.int8]) -> None:
    """Score ``values [n, k]`` whose first column is number ``column``, and learn from them.

    Writes ``above`` and ``below`` ``[n, k]`` (NaN where the value is) and ``kind``; changes ``state``.
    """
    scratch, out = np.empty(LEVEL_HOURS), np.zeros(EVIDENCE)
    orders = np.empty((2, LEVEL_HOURS), np.int64)
    for row in range(values.shape[0]):
        s, spread = state.scalars[row], state.spread[row]
        q = state.seasons[row]
        p = q[0], q[1], q[2], q[3], q[4], q[5], q[6]  # plain numbers are cheaper to hand on than an array
        period, longer = p[FIRST], p[SECOND]
        C, D = min(state.first.shape[2], int(period // r.step)), min(state.second.shape[2], int(longer // r.step))
        first, second = state.first[row], state.second[row]
        hours, sums, surprises = state.hours[row], state.sums[row], state.surprises[row]
        means, runs, tails = state.means[row], state.runs[row], state.tails[row]
        orders[:] = np.arange(LEVEL_HOURS)
        for t in range(values.shape[1]):
            x = values[row, t]
            kind[row, t] = NONE
            if not math.isfinite(x):
                above[row, t] = below[row, t] = math.nan
                continue
            x = _clip(x, HUGE)
            seconds = float((column + t) * r.step)
            hour = _whole(seconds, r.level_cell)
            if s[COUNT] == 0.0:
                s[LEVEL] = x
            elif hour != s[HOUR]:
                _end_hour(s, hours, sums, means, orders, scratch)
            s[HOUR] = hour
            n = s[COUNT]
            if n == 0.0:
                _begin(tails)
            elif n == p[CYCLE]:
                _end_cycle(s, first)
            elif n == p[KNOWN]:
                _settle(s, hours, means, tails)
            i, j = _cell(seconds, period, C), _cell(seconds, longer, D)
            part = _cell(seconds, period, SPREAD_CELLS) if C else 0
            seasonal = _season(s, first[0, i] if C else 0.0, second[0, j] if D else 0.0, p, r)
            deviation = _difference(x, s[LEVEL]) - seasonal
            b_last, b_recent = _regression(s)
            predicted = b_last * s[LAST] + b_recent * s[RECENT]
            same = x - s[VALUE] if n > 0.0 else 0.0
            error = _blend(s, deviation, deviation - predicted, same) / spread[part]
            scale = max(s[SCALE], s[DAY_SCALE], ROUNDING * abs(s[LEVEL]))
            z = _clip(error / (scale + TINY), FAR) if scale > 0.0 else 0.0
            out[NEXT] = _signed_nats(tails[NEXT], z)
            size = len(sums)
            place = _rest(n + 1.0, size)
            sums[place] = sums[_back(place, 1, size)] + _clip(deviation, CLIP_MEAN * scale)
            _means(s, sums, means, tails, r, out, scale)
            _runs(s, out[NEXT], surprises, runs, tails, r, out)
            flat = _flat(s, x, r)
            if n > 10.0:
                _learn_both(tails[NEXT], z, TAIL_MEMORY)
            up, down = _combined(out, runs, 1.0), _combined(out, runs, -1.0)
            alarm = _alarm(s, max(up, down), n > p[GRACE], r)
            up, down = up / alarm, down / alarm
            if n <= p[GRACE]:
                up = down = 0.0
                flat = 0.0
            above[row, t], below[row, t] = max(up, flat), max(down, flat)
            score = max(up, down, flat)
            if score >= 1.0:
                kind[row, t] = _kind(out, flat, score, x == 0.0 and down >= 1.0 and s[ZEROS] < 0.01)
            limit = _ordinary(tails[NEXT]) * scale
            _learn_scale(s, spread, part, error, scale, limit, r)
            s[HOUR_SUM] += x - seasonal
            s[HOUR_ERROR] += abs(error)
            s[HOUR_COUNT] += 1.0
            _learn_next(s, deviation, predicted, same, limit, r)
            _learn_profiles(s, first, second, p, i, j, x, limit, r)
            s[COUNT] += 1.0
