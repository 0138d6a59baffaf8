"""What single members are for, and how a caller chooses among them."""

from __future__ import annotations

import numpy as np
import pytest

from models import Forecaster, forecast
from models.base import EXPLODED, drop_exploded


def test_a_forecast_of_named_members_is_theirs_and_an_unknown_name_lists_those_there_are():
    y = np.sin(np.arange(400.0) / 4)[None] + np.arange(400.0) / 50
    naive = forecast(y, step=3600, horizon=6, members=["level_newest"]).quantile([0.5])
    assert not np.allclose(naive, forecast(y, step=3600, horizon=6).quantile([0.5]), atol=0.05)
    with pytest.raises(ValueError, match=r"level_newest.*ets.*got \['nope'\]"):
        Forecaster(step=3600, horizon=7200, members=["nope"])


def test_a_forecast_that_leaves_all_that_was_known_by_far_is_dropped_whole_and_the_others_stay():
    low, high = np.full((1, 100), -1.0), np.full((1, 100), 1.0)
    low[0, :50], high[0, :50] = 0.0, 0.0  # at the first origin only zeros were known
    at = np.array([[20, 80, 80, 80, 0]])
    out = np.zeros((1, 5, 3), np.float32)
    out[0, 0, 1] = 0.5
    out[0, 1, 2] = 1 + 2 * EXPLODED * 1.01
    out[0, 2, 0] = np.nan
    out[0, 3] = [1 + 2 * EXPLODED * 0.99, -1 - 2 * EXPLODED * 0.99, 0]
    want = out.copy()
    want[0, [0, 1, 2, 4]] = np.nan  # nor is there a forecast from before the first column, or with a gap
    drop_exploded(out, at, low, high)
    np.testing.assert_array_equal(out, want)
