"""Trailing means are found with their windows, nothing else is, and what leaves a window is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from models import forecast
from models.panel import make_panel
from models.synthetic import ar_noise, make_series
from models.window import MEMORY, WindowLevel, find_windows

NAN = np.nan
COLUMNS = 2000


def trailing_mean(x, window):
    total = np.cumsum(np.pad(x, ((0, 0), (1, 0))), axis=1)
    return (total[:, window:] - total[:, :-window]) / window


INPUTS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.exponential(size=shape) ** 2,
    "right or wrong": lambda rng, shape: (rng.random(shape) < 0.9) * 1.0,
    "correlated": lambda rng, shape: ar_noise(*shape, phi=0.5, seed=int(rng.integers(1000))),
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("window", [5, 12, 48, 300])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_trailing_mean_is_found_with_its_window(inputs, window, seed):
    x = INPUTS[inputs](np.random.default_rng(seed), (3, COLUMNS + window))
    np.testing.assert_array_equal(find_windows(5 + 3 * trailing_mean(x, window)), window)


def test_a_window_is_found_in_late_and_short_series_and_not_in_too_short_ones():
    y = trailing_mean(np.random.default_rng(3).normal(size=(1, 1500)), 40)
    late = np.concatenate([np.full((1, 3000), NAN), y], axis=1)
    np.testing.assert_array_equal(find_windows(late), [40])
    np.testing.assert_array_equal(find_windows(y[:, :600]), [40])
    np.testing.assert_array_equal(find_windows(y[:, :50]), [0])
    changed = np.concatenate([100 * ar_noise(1, 5000, phi=0.99), y, y], axis=1)
    assert find_windows(changed)[0] == 40, "the newest columns decide"


def test_each_row_is_looked_at_alone_in_any_unit():
    rng = np.random.default_rng(4)
    rows = [trailing_mean(rng.normal(size=(1, COLUMNS + w - 1)), w)[0] for w in (7, 30, 100)]
    y = np.stack([*rows, rng.normal(size=COLUMNS), np.full(COLUMNS, NAN)])
    want = [7, 30, 100, 0, 0]
    np.testing.assert_array_equal(find_windows(y), want)
    np.testing.assert_array_equal(find_windows(y[::-1]), want[::-1])
    np.testing.assert_array_equal(find_windows(1e9 * y - 3), want)
    np.testing.assert_array_equal(find_windows(1e-9 * y), want)


def noise(rng, n):
    return rng.normal(size=(n, COLUMNS))


def seasonal(period, share):
    def make(rng, n):
        t = np.arange(COLUMNS)
        return np.sin(2 * np.pi * (t + rng.integers(period, size=(n, 1))) / period) + share * noise(rng, n)

    return make


def autoregression(*phi):
    def make(rng, n):
        e = noise(rng, n)
        y = np.zeros_like(e)
        for t in range(len(phi), COLUMNS):
            y[:, t] = e[:, t] + sum(p * y[:, t - 1 - k] for k, p in enumerate(phi))
        return y

    return make


def damped(period, radius=0.98):
    return autoregression(2 * radius * np.cos(2 * np.pi / period), -(radius**2))


def business_hours(rng, n):
    hour = np.arange(COLUMNS) % 24
    return 10.0 * ((hour >= 9) & (hour < 17)) + 0.5 * noise(rng, n)


def two_spikes(rng, n):
    y = 1e-3 * noise(rng, n)
    y[:, 700], y[:, 760] = 50.0, -50.0
    return y


NO_WINDOW = {
    "season": seasonal(24, 0.3),
    "season without noise": seasonal(48, 0.0),
    "weak season": seasonal(100, 2.0),
    "fast season": seasonal(8, 0.2),
    "random walk": lambda rng, n: noise(rng, n).cumsum(axis=1),
    "white noise": noise,
    "autoregression": autoregression(0.8),
    "slow autoregression": autoregression(0.98),
    "alternating": autoregression(-0.8),
    "strongly alternating": autoregression(-0.93),
    "oscillation": damped(20),
    "slow oscillation": damped(60, 0.99),
    "business hours": business_hours,
    "two spikes": two_spikes,
    "constant": lambda rng, n: np.full((n, COLUMNS), 3.0),
    "counts": lambda rng, n: rng.poisson(3.0, size=(n, COLUMNS)).astype(float),
    "day and week": lambda rng, n: make_series(n, COLUMNS, step=1800, weekly=5.0, seed=int(rng.integers(99))).values,
}


@pytest.mark.parametrize("kind", NO_WINDOW)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_no_trailing_mean_has_no_window(kind, seed):
    y = NO_WINDOW[kind](np.random.default_rng(seed), 8)
    np.testing.assert_array_equal(find_windows(y), 0)


def panel_of(y, window):
    lengths = np.zeros((len(y), 2), np.int64)
    return make_panel(y, 60, 1, lengths, np.full(len(y), window))


def slow_forecast(y, window, memory, origin, horizon):
    """The window's content place by place, from the columns before ``origin`` alone."""
    first = int(np.isfinite(y).argmax())
    inside = np.full(window, y[origin - 1])
    for w in range(window):  # what leaves the window after w more columns
        moved, where, columns = 0.0, NAN, [c for c in range(first + 1, origin) if (c - origin - w) % window == 0]
        for j, c in enumerate(columns):
            moved += window * (y[c] - y[c - 1])
            seen = min(j, MEMORY)
            where = y[c] - moved if j == 0 else (where * seen + y[c] - moved) / (seen + 1)
        if columns:
            inside[w] = where + moved
    inside += y[origin - 1] - inside.mean()
    past = y[first:origin][::-1]
    weight = np.ones(len(past)) if memory is None else np.exp(-np.arange(len(past)) / (memory * window))
    level = (weight * past).sum() / weight.sum()
    leaves = [inside[h] if h < window else level for h in range(horizon)]
    return y[origin - 1] + np.cumsum([(level - x) / window for x in leaves])


@pytest.mark.parametrize("memory", [1.0, 3.0, None])
@pytest.mark.parametrize("window", [4, 13])
def test_the_forecast_is_what_leaves_replaced_by_the_level(memory, window):
    y = trailing_mean(np.random.default_rng(5).normal(size=(2, 260)), window)
    y[1, :50] = NAN
    panel = panel_of(y, window)
    member = WindowLevel("window", memory)
    origins = np.array([52, 60, 170, panel.T, 90])  # in any order
    got = member.predict(panel, member.fit(panel), origins, 2 * window + 3)
    for i in range(2):
        for k, o in enumerate(origins):
            want = slow_forecast(panel.values[i], window, memory, int(o), 2 * window + 3)
            np.testing.assert_allclose(got[i, k], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [6, 40, 150])
@pytest.mark.parametrize("seed", [0, 1])
def test_forecasts_are_clearly_better_than_the_last_value(window, seed):
    x = np.random.default_rng(seed).normal(size=(4, COLUMNS + window - 1))
    y = trailing_mean(x, window)
    panel = panel_of(y, find_windows(y)[0])
    origins = np.arange(COLUMNS // 2, COLUMNS - window, 7)
    member = WindowLevel("window", None)
    got = member.predict(panel, member.fit(panel), origins, window)
    for h in (0, window - 1) if window < 100 else (0,):  # far ahead, a wide window has too few examples
        truth, last = y[:, origins + h], y[:, origins - 1]
        # By theory 0.71 of the error of the last value: what enters is not known, what leaves is.
        assert np.abs(got[:, :, h] - truth).mean() < 0.8 * np.abs(last - truth).mean()


def test_a_bad_minute_leaves_the_forecast_when_it_leaves_the_window():
    window, ago, lasted, size = 60, 50, 5, 20.0
    x = 10 + np.random.default_rng(6).normal(size=(2, COLUMNS))
    x[0, -ago : -ago + lasted] += size
    y = trailing_mean(x, window)
    fc = forecast(y, step=60, horizon=30)
    median = fc.quantile([0.5])[:, 0]
    gone = size * lasted / window
    left = window - ago  # columns until it begins to leave
    assert median[0, left - 2] - median[0, left + lasted] > 0.7 * gone
    assert abs(median[0, left - 2] - y[0, -1]) < 0.3 * gone
    assert np.ptp(median[1]) < 0.5 * gone
