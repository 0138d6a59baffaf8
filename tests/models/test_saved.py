"""A forecaster that was saved goes on as if nothing had happened, and what is no forecaster is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest

from models import Forecaster
from models.synthetic import ar_noise, ramp

STEP, T = 300, 2016
DAY = 86400


def platform() -> np.ndarray:
    """A season, a ramp, gaps, a short history, a constant, nothing at all."""
    t = np.arange(T + 40)
    y = 50 + 10 * np.sin(2 * np.pi * t / 288) + ar_noise(6, T + 40, seed=4)
    y[1] += ramp(T + 40, T - 100, 0.2)
    y[2, 300:420] = np.nan
    y[3, :1500] = np.nan
    y[4] = 7.0
    y[5] = np.nan
    return y


def answers(f: Forecaster) -> list[np.ndarray]:
    fc = f.forecast()
    odds = fc.breach(65.0, run=3), fc.breach(40.0, above=False)
    return [fc.paths, *(o.chance for o in odds), f.scores(288), f.scores(3, "below_expected"), f.state]


def same(one: Forecaster, two: Forecaster) -> None:
    assert one.end == two.end
    for a, b in zip(answers(one), answers(two), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("horizon", [DAY, 7 * DAY])
@pytest.mark.parametrize("before", [0, 7])
def test_a_saved_forecaster_goes_on_to_the_last_bit(horizon: int, before: int) -> None:
    y = platform()
    f = Forecaster(STEP, horizon, bounds=(0, None), seed=3).fit(y[:, :T], start=900)
    f.update(y[:, T : T + before])
    again = Forecaster.from_bytes(f.to_bytes())
    same(f, again)
    for one in (f, again):
        one.update(y[:, T + before : T + 20]).update(y[:, T + 20 :])
    same(f, again)


def test_the_history_may_be_kept_elsewhere() -> None:
    y = platform()
    f = Forecaster(STEP, DAY).fit(y[:, :T], start=0)
    slim = f.to_bytes(values=False)
    assert len(slim) < len(f.to_bytes()) - y[:, :T].nbytes * 0.9
    same(Forecaster.from_bytes(slim, y[:, :T]), f)
    with pytest.raises(ValueError, match=r"expected its history, \[6, 2016\], got none"):
        Forecaster.from_bytes(slim)
    with pytest.raises(ValueError, match=r"expected its history, \[6, 2016\], got \[6, 5\]"):
        Forecaster.from_bytes(slim, y[:, :5])


@pytest.mark.parametrize("chunk", [1, 5, 40])
def test_new_columns_give_what_the_same_coefficients_give_on_the_whole_moved_history(chunk: int) -> None:
    y = platform()
    f = Forecaster(STEP, 7 * DAY).fit(y[:, :T], start=0)
    coefficients = f.to_bytes(values=False)
    for first in range(T, T + 40, chunk):
        f.update(y[:, first : first + chunk])
    anew = Forecaster.from_bytes(coefficients, y[:, 40:])  # nothing of it was ever updated
    np.testing.assert_allclose(f.forecast().paths, anew.forecast().paths, rtol=1e-5)
    scored_at_once = Forecaster(STEP, DAY).fit(y, start=0)
    np.testing.assert_allclose(f.scores(T - 40), scored_at_once.scores(T - 40), rtol=1e-5)


@pytest.mark.parametrize("columns", [1, 47, 60])
def test_a_history_too_short_to_learn_from_is_saved_too(columns: int) -> None:
    y = platform()[:, -columns:]
    f = Forecaster(STEP, DAY).fit(y, start=0)
    same(Forecaster.from_bytes(f.to_bytes()), f)


def test_the_members_it_was_made_of_are_saved_too() -> None:
    y = platform()[:2, -700:]
    f = Forecaster(STEP, DAY, members=["ets", "ridge"]).fit(y[:, :680], start=0)
    again = Forecaster.from_bytes(f.to_bytes())
    same(f, again)
    for one in (f, again):
        one.fit(y, start=0)
    same(f, again)
    assert set(again.explain().members) <= {"ets", "ridge"}


def rewritten(data: bytes, **changes: object) -> bytes:
    """The same file with some arrays replaced, or left out (None)."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    out = io.BytesIO()
    np.savez(out, **{name: a for name, a in arrays.items() if a is not None})
    return out.getvalue()


def test_what_is_no_saved_forecaster_is_refused_with_what_was_expected_and_what_came() -> None:
    data = Forecaster(STEP, DAY).fit(platform()[:, :T], start=0).to_bytes()
    for other in (b"", b"not a forecaster", data[: len(data) // 2], rewritten(data, header=None)):
        with pytest.raises(ValueError, match=f"expected the bytes of one, got {len(other)} others"):
            Forecaster.from_bytes(other)
    newer = np.frombuffer(b'{"format": "detector-forecaster", "version": 99}', np.uint8)
    with pytest.raises(ValueError, match=r"version \d+, got detector-forecaster version 99"):
        Forecaster.from_bytes(rewritten(data, header=newer))
    with pytest.raises(ValueError, match="expected 'learned_to'"):
        Forecaster.from_bytes(rewritten(data, learned_to=None))


def test_objects_are_never_unpickled() -> None:
    data = Forecaster(STEP, DAY).fit(platform()[:, :T], start=0).to_bytes()
    evil = rewritten(data, learned_to=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="expected the bytes of one"):
        Forecaster.from_bytes(evil)
