"""A forecast can be taken apart into what an operator would name, and the parts add up."""

from __future__ import annotations

import numpy as np
import pytest

from models import Forecaster
from models.explain import Explanation
from models.synthetic import ar_noise, ramp

STEP, DAY, T = 300, 288, 21 * 288
t = np.arange(T)
KINDS = ("daily", "ramp", "walk", "constant", "gaps", "short", "nothing")
LEVEL, AMPLITUDE = 1e6, 40.0


def platform() -> np.ndarray:
    noise = ar_noise(len(KINDS), T, seed=6)
    daily = AMPLITUDE * np.sin(2 * np.pi * t / DAY)
    y = LEVEL + daily + noise
    y[1] = 50 + ramp(T, T - DAY, 0.1) + noise[1]
    y[2] = np.random.default_rng(1).standard_normal(T).cumsum()
    y[3] = 7.0
    y[4, 2 * DAY : 3 * DAY] = np.nan
    y[5, :-100] = np.nan
    y[6] = np.nan
    return y


@pytest.fixture(scope="module", params=[86400, 7 * 86400])
def explained(request: pytest.FixtureRequest) -> tuple[Forecaster, Explanation]:
    f = Forecaster(STEP, request.param).fit(platform(), start=0)
    return f, f.explain()


def test_the_parts_add_up_to_the_median(explained: tuple[Forecaster, Explanation]) -> None:
    f, e = explained
    median = f.forecast().quantile([0.5])[:, 0]
    total = e.level[:, None] + e.trend + e.seasonal.sum(1) + e.rest
    np.testing.assert_array_equal(np.isfinite(total), np.isfinite(median))
    np.testing.assert_allclose(total, median, rtol=1e-6, atol=1e-9)
    assert np.isnan(e.level[6])
    assert np.isfinite(e.level[:5]).all()


def test_the_members_say_and_their_weights_make_the_combined_forecast(
    explained: tuple[Forecaster, Explanation],
) -> None:
    f, e = explained
    for rows, block in f._blocks:
        base = f._now[0].base + block.about.centre
        H = base.shape[1]
        said = np.nansum(e.weights[rows] * e.said[rows], axis=1)[:, :H]
        known = e.weights[rows, :, :H].sum(1) > 0
        np.testing.assert_allclose(said[known], base[known], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(e.weights[rows, :, :H].sum(1)[known], 1.0, rtol=1e-5)
    assert {"ridge", "seasonal_naive_short"} <= set(e.members)


def test_a_daily_rhythm_is_told_as_its_season(explained: tuple[Forecaster, Explanation]) -> None:
    _, e = explained
    assert e.seasons[0, 0] == 86400
    ahead = e.offsets / STEP
    rhythm = AMPLITUDE * np.sin(2 * np.pi * (T - 1 + ahead) / DAY)
    near = e.offsets <= 86400
    np.testing.assert_allclose(e.seasonal[0, :, near].sum(1), rhythm[near], atol=0.15 * AMPLITUDE)
    assert np.abs(e.trend[0] + e.rest[0])[near].max() < 0.2 * AMPLITUDE
    assert abs(e.level[0] - LEVEL) < 0.1 * AMPLITUDE


def test_a_ramp_is_told_as_the_trend(explained: tuple[Forecaster, Explanation]) -> None:
    f, e = explained
    hour = f.forecast().at(6 * 3600)
    grown = e.median[1, hour] - e.level[1]
    assert grown > 4
    assert e.trend[1, hour] > 0.7 * grown


def test_a_constant_is_its_level(explained: tuple[Forecaster, Explanation]) -> None:
    _, e = explained
    known = np.isfinite(e.median[3])
    np.testing.assert_allclose(e.level[3], 7.0, rtol=1e-6)
    for part in (e.trend[3], e.rest[3], *e.seasonal[3]):
        np.testing.assert_allclose(part[known], 0.0, atol=1e-6)
