"""The comparison with other methods: fair questions, figures that a slow reference agrees with, and clear gaps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.compare import ask, chosen, compare
from bench.methods.registry import METHODS
from bench.methods.simple import seasonal_naive
from bench.odds import causal_base_rate, happened, in_a_row, probability
from bench.questions import QUANTILES, Answer, Answers, Block, read_blocks, write_blocks
from bench.referee import judge
from bench.report import report
from bench.scaling import Point, Scaling, exponents, take
from bench.series import panels
from bench.tables import comparison_tables

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def block() -> Block:
    rng = np.random.default_rng(0)
    daily = np.sin(np.arange(480) * 2 * np.pi / 24)
    values = 10 + 3 * daily + rng.normal(size=(3, 480))
    threshold, above = np.array([[13.5, 7.0]] * 3), np.array([[True, False]] * 3)
    return Block("made", values[:, :456], 0, 3600, 24, 24, threshold, above, 2, values[:, 456:])


def judged(block: Block, answer: Answer) -> object:
    return judge([block], Answers("ours", (answer,), (1.0,)))[0]


def test_every_question_ends_where_its_truth_begins() -> None:
    for panel in panels(quick=True):
        for k, block in enumerate(panel.blocks()):
            origin = panel.values.shape[1] - (k + 1) * panel.ahead
            np.testing.assert_array_equal(block.past, panel.values[:, origin - panel.past : origin])
            np.testing.assert_array_equal(block.truth, panel.values[:, origin : origin + panel.ahead])
            # the thresholds too are of the past alone
            shaken = panel.values.copy()
            shaken[:, origin:] += 1e6
            again = list(replace(panel, values=shaken).blocks())[k]
            np.testing.assert_array_equal(again.threshold, block.threshold)


def test_a_method_is_never_given_the_truth(block: Block, tmp_path: Path) -> None:
    write_blocks(tmp_path / "questions.npz", [block])
    read = read_blocks(tmp_path / "questions.npz")[0]
    np.testing.assert_array_equal(read.past, block.past)
    np.testing.assert_array_equal(read.threshold, block.threshold)
    assert read.truth.shape == block.truth.shape
    assert np.isnan(read.truth).all()


def test_the_figures_are_those_of_a_plain_loop(block: Block) -> None:
    quantiles = seasonal_naive(block)
    found = judged(block, Answer(quantiles))
    errors, losses, inside = [], [], []
    for i in range(3):
        past = block.past[i]
        scale = np.mean([abs(past[t] - past[t - 24]) for t in range(24, len(past))])
        errors.append(np.mean([abs(block.truth[i, h] - quantiles[i, 6, h]) for h in range(24)]) / scale)
        total = 0.0
        for h in range(24):
            for j, q in enumerate(QUANTILES):
                miss = block.truth[i, h] - quantiles[i, j, h]
                total += 2 * (q * miss if miss > 0 else (q - 1) * miss) / len(QUANTILES)
            inside.append(quantiles[i, 1, h] <= block.truth[i, h] <= quantiles[i, 11, h])
        losses.append(total / 24 / scale)
    assert found.error == pytest.approx(np.mean(errors))
    assert found.crps == pytest.approx(np.mean(losses))
    assert found.coverage == pytest.approx(np.mean(inside))


def test_perfect_foresight_has_no_error_and_full_skill(block: Block) -> None:
    exact = np.repeat(block.truth[:, None], len(QUANTILES), axis=1)
    found = judged(block, Answer(exact))
    assert found.error == 0
    assert found.crps == pytest.approx(0)
    assert found.questions >= found.breaches > 0
    assert found.skill == pytest.approx(1)


def test_the_base_rate_itself_has_no_skill(block: Block) -> None:
    found = judged(block, Answer(seasonal_naive(block), causal_base_rate(block)))
    assert found.skill == pytest.approx(0)


def test_the_base_rate_counts_the_windows_of_the_past(block: Block) -> None:
    rate = causal_base_rate(block)[0, 0]
    beyond = block.past[0] > block.threshold[0, 0]
    windows = [in_a_row(beyond[t + 1 : t + 25], 2) for t in range(len(beyond) - 24) if not beyond[t]]
    independent = len(windows) / 24
    assert rate == pytest.approx((np.mean(windows) * independent + 0.5) / (independent + 1), abs=0.01)


@pytest.mark.parametrize("run", [1, 2, 3])
def test_a_breach_is_so_many_points_in_a_row(run: int) -> None:
    rng = np.random.default_rng(run)
    beyond = rng.random((200, 12)) < 0.4
    slow = [any(all(row[t : t + run]) for t in range(12 - run + 1)) for row in beyond]
    assert in_a_row(beyond, run).tolist() == slow


def test_a_series_in_breach_at_the_origin_is_not_asked(block: Block) -> None:
    past = block.past.copy()
    past[1, -1] = 99.0
    came = happened(replace(block, past=past))
    assert np.isnan(came[1, 0])
    assert np.isfinite(came[1, 1])


def test_odds_from_quantiles_are_those_of_the_distribution_they_came_from() -> None:
    # One step ahead of a normal variable: P(x > 1.5 sd) is known, also beyond the outermost quantile.
    from scipy.special import ndtr, ndtri

    quantiles = np.tile(ndtri(np.array(QUANTILES))[None, :, None], (1, 1, 1))
    limits = np.array([[0.0, 1.5, 2.3]])
    past = np.random.default_rng(0).normal(size=(1, 300))
    asked = Block("one", past, 0, 60, 1, 1, limits, np.ones((1, 3), bool), 1, np.zeros((1, 1)))
    np.testing.assert_allclose(probability(asked, quantiles)[0], 1 - ndtr(limits[0]), atol=0.06)


def test_without_the_foreign_environment_the_table_says_what_to_do_and_the_others_go_on(
    block: Block, tmp_path: Path
) -> None:
    nowhere = tmp_path / "venv" / "bin" / "python"
    found, scores = compare(["seasonal_naive", "prophet", "predict_linear"], [block], foreign_python=nowhere)
    assert [s.method for s in scores] == ["seasonal_naive", "predict_linear"]
    assert "Prophet needs the environment" in found[1].missing
    assert "scripts/bench_env.sh" in found[1].missing
    text = comparison_tables(found, scores)
    assert "| Prophet | missing |" in text
    assert found[1].missing in text


def test_a_method_whose_package_is_not_installed_is_missing_by_its_name(block: Block, tmp_path: Path) -> None:
    import sys

    found = ask(METHODS["prophet"], [block], foreign_python=Path(sys.executable))
    assert "No module named 'prophet'" in found.missing


def test_a_method_that_takes_too_long_is_ended_and_named(block: Block) -> None:
    found = ask(METHODS["ours"], [block], limit=0.05)
    assert found.missing == "detector: took longer than 0.05 s"


def test_an_unknown_method_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(SystemExit, match=r"expected some of ours, seasonal_naive.*got 'arima'"):
        chosen("ours,arima")


def test_our_engine_beats_the_last_season_and_the_line_on_a_noisy_day(block: Block) -> None:
    done: list[int] = []
    scores = {}
    for name in ("ours", "seasonal_naive", "predict_linear"):
        found = ask(METHODS[name], [block], progress=done.append)
        assert found.missing == ""
        assert found.peak_bytes >= found.idle_bytes > 10 * 2**20
        scores[name] = judge([block], found)[0]
    assert done == [1, 1, 1]
    assert scores["ours"].crps < scores["seasonal_naive"].crps < scores["predict_linear"].crps
    assert scores["ours"].answered == scores["ours"].asked == 3


def test_a_point_of_the_scaling_is_measured_and_exponents_are_slopes(block: Block) -> None:
    point = take(3, 500)
    assert point.seconds > 0
    assert point.rate == pytest.approx(3 / point.seconds)
    made = [Point(n, 500, 0.01 * n, 10**8, 10**7) for n in (100, 1000)]
    made += [Point(100, T, 1e-6 * T**1.5, 10**8, 10**7) for T in (1000, 2000)]
    made[0] = Point(100, 500, 1e-6 * 500**1.5, 10**8, 10**7)
    of_n, of_length = exponents(Scaling(tuple(made), ()))
    assert of_length == pytest.approx(1.5)
    assert of_n == pytest.approx(np.log10(10 / (1e-6 * 500**1.5)))
    found = Answers("seasonal_naive", (Answer(seasonal_naive(block)),), (1.0,), 10**8, 10**7)
    text = report(panels(quick=True), [found], judge([block], found), Scaling(tuple(made), ((20000, 500, 99.0),)))
    assert "20,000" in text
    assert "T^1.50" in text


def test_the_lock_of_the_foreign_methods_is_exact_hashed_and_names_no_host() -> None:
    text = (ROOT / "bench" / "requirements.lock").read_text()
    packages = [part for part in re.split(r"\n(?=\S)", text.strip()) if not part.startswith("#")]
    for part in packages:
        assert re.match(r"[a-z0-9._-]+==[^\s=]+ ", part), part
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", part), part
    names = {part.split("==")[0] for part in packages}
    assert {"statsforecast", "prophet"} <= names
    assert "://" not in text
    assert "index" not in text
