"""Figures of each method on each data set, by the product's own losses (models/losses.py).

Shapes: n series, H steps ahead, Q quantiles, J thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.odds import causal_base_rate, happened, probability
from bench.questions import QUANTILES, Answer, Answers, Block, Float
from models.losses import brier_skill, coverage, crps, mase, mean_of_known

MEDIAN, LOW, HIGH = (QUANTILES.index(q) for q in (0.5, 0.1, 0.9))


@dataclass(frozen=True)
class Score:
    """One method on one data set; NaN where there is nothing to say.

    ``error``: MASE of the median; ``crps``: over the same scale; ``coverage`` of the 80 % band; ``skill``: Brier skill
    against the causal base rate, with the method's own odds where it has them; ``plain_skill``: with the odds of its
    quantiles. ``answered`` of ``asked`` forecasts came; ``questions``: breaches asked about, ``breaches``: that came.
    """

    method: str
    dataset: str
    error: float
    crps: float
    coverage: float
    skill: float
    plain_skill: float
    answered: int
    asked: int
    questions: int
    breaches: int
    series_per_second: float


def scale_of(block: Block) -> Float:
    """Mean absolute change over a season in the past, ``[n]``: what MASE is measured in; NaN for a constant."""
    change = mean_of_known(np.abs(block.past[:, block.season :] - block.past[:, : -block.season]), axis=1)
    return np.where(change > 0, change, np.nan)


def score(method: str, dataset: str, asked: list[tuple[Block, Answer, float]]) -> Score:
    """Figures over all blocks of a data set: ``asked`` has the question, the answer and its seconds."""
    errors, losses, truths, lows, highs = [], [], [], [], []
    came, own, plain, base = [], [], [], []
    for block, answer, _ in asked:
        q = answer.quantiles
        scale = scale_of(block)
        with np.errstate(invalid="ignore"):
            error = mase(block.truth, q[:, MEDIAN], block.past, block.season)
            errors.append(np.where(np.isfinite(scale), error, np.nan))
            losses.append(mean_of_known(crps(block.truth, q, QUANTILES), axis=1) / scale)
        truths.append(block.truth)
        lows.append(q[:, LOW])
        highs.append(q[:, HIGH])
        from_quantiles = probability(block, q)
        plain.append(from_quantiles)
        own.append(from_quantiles if answer.probability is None else answer.probability)
        came.append(happened(block))
        base.append(causal_base_rate(block))
    questions = np.concatenate([c.ravel() for c in came])
    known = np.isfinite(questions)
    reference = np.concatenate([b.ravel() for b in base])
    return Score(
        method,
        dataset,
        float(mean_of_known(np.concatenate(errors))),
        float(mean_of_known(np.concatenate(losses))),
        coverage(*(np.concatenate([x.ravel() for x in part]) for part in (truths, lows, highs))),
        _skill(questions, np.concatenate([p.ravel() for p in own]), reference),
        _skill(questions, np.concatenate([p.ravel() for p in plain]), reference),
        sum(int(np.isfinite(a.quantiles).all((1, 2)).sum()) for _, a, _ in asked),
        sum(len(b.past) for b, _, _ in asked),
        int(known.sum()),
        int(np.nansum(questions)),
        sum(len(b.past) for b, _, _ in asked) / max(sum(s for _, _, s in asked), 1e-9),
    )


def _skill(questions: Float, odds: Float, reference: Float) -> float:
    """Brier skill where there is a question, an answer and a base rate: both sides over the same questions."""
    there = np.isfinite(questions) & np.isfinite(odds) & np.isfinite(reference)
    return brier_skill(questions[there], odds[there], reference[there]) if there.any() else float("nan")


def judge(blocks: list[Block], found: Answers) -> list[Score]:
    """A score for each data set; none for a method that is missing."""
    if found.missing:
        return []
    named: dict[str, list[tuple[Block, Answer, float]]] = {}
    for block, answer, seconds in zip(blocks, found.answers, found.seconds, strict=True):
        named.setdefault(block.dataset, []).append((block, answer, seconds))
    return [score(found.method, dataset, asked) for dataset, asked in named.items()]
