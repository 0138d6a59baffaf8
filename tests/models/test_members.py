"""What single members are for, and how a caller chooses among them."""

from __future__ import annotations

import numpy as np
import pytest

from models import Forecaster, forecast


def test_a_forecast_of_named_members_is_theirs_and_an_unknown_name_lists_those_there_are():
    y = np.sin(np.arange(400.0) / 4)[None] + np.arange(400.0) / 50
    naive = forecast(y, step=3600, horizon=6, members=["level_newest"]).quantile([0.5])
    assert not np.allclose(naive, forecast(y, step=3600, horizon=6).quantile([0.5]), atol=0.05)
    with pytest.raises(ValueError, match=r"level_newest.*ets.*got \['nope'\]"):
        Forecaster(step=3600, horizon=7200, members=["nope"])
