"""The dashboard of forecasts and anomalies: what is measured and what comes, when it breaks, and how far to trust it.

It looks ahead as far as it looks back. Only the charts of the future use that range; every other panel has the time
range of the past, or its query would be asked for tomorrow and find nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from detector import conventions as names
from detector.catalogue.schema import Catalogue, Query
from detector.prometheus_syntax import matcher
from detector.render.grafana import words
from detector.render.grafana.board import ALL, Board, Row, Variable, without_empty
from detector.render.grafana.fields import color, from_on, override
from detector.render.grafana.panels import Column, Target, View, bars, chart, number, rows
from detector.render.grafana.selectors import narrowed
from detector.render.grafana.views import BY_MODEL, FORECASTS_UID, alerts_and_events, one_of

DAY = 86400
AHEAD = DAY
"""Seconds the charts look ahead, and back."""
_OF_CURVE = f'{matcher(names.SOURCE, names.FROM_FORECAST)},{names.ISSUED}=""'
"""The newest curve, from `detector serve`: Prometheus asks it for selectors with exactly this source."""
_PUSHED = 'for=~"$query",for=~"$service",instance=~"$instance",model=~"$model|"'
_NOT_OF_SERIES = f"job, {names.SHARD}"
_NEVER = 1e15
"""Seconds from which on a time to breach is none."""
_LOW, _MIDDLE, _HIGH = 0.1, 0.5, 0.9
_LOW_NAME, _HIGH_NAME = "80% band, lower end", "80% band, upper end"
_STATE_COLORS = {"ok": words.GOOD, "insufficient_history": "blue", "not_skilful": words.CLOSE}
_UNUSUAL: words.Steps = [(None, words.GOOD), (1, words.BAD)]
_SKILL: words.Steps = [(None, words.BAD), (0, words.GOOD)]
_NONE: words.Steps = [(None, words.GOOD)]
_NONE_IS_GOOD: words.Steps = [(None, words.GOOD), (1, words.CLOSE)]


def forecasts(catalogue: Catalogue) -> Board:
    """The board: a panel with its future for every query of the catalogue."""
    by_service: dict[str, list[View]] = {}
    for query in catalogue.queries.values():
        if not query.alert:
            by_service.setdefault(query.service or "other", []).append(future_chart(query))
    threatened = [future_chart(query) for query in catalogue.queries.values() if query.alert]
    content = [
        Row("Now", tuple(_past(_now(catalogue), "1h"))),
        Row("Will it break", tuple(_past(_breaches(catalogue), "24h"))),
        Row("What comes, where an objective may be missed", tuple(threatened)),
        *(Row(f"What comes: {service}", tuple(views), collapsed=True) for service, views in by_service.items()),
        Row("Anomalies", tuple(_past(_anomalies(), "24h"))),
        Row("How good the forecasts are", tuple(_past(_quality(), "24h"))),
        Row("The worker", tuple(_past(_worker(), "24h")), collapsed=True),
    ]
    return Board(
        FORECASTS_UID,
        "Forecasts and anomalies",
        "What is measured and what comes, with its band; when an objective will be missed and how likely; anomalies; "
        "and how good past forecasts were.",
        without_empty(content),
        _variables(catalogue),
        alerts_and_events(catalogue),
        back=DAY,
        ahead=AHEAD,
    )


def fresh(selector: str) -> str:
    """PromQL: what a worker pushed, while it may be believed."""
    return f"({selector} and on (job, {names.FOR}, {names.SHARD}) ({names.VALID_UNTIL} > time()))"


def future_chart(query: Query) -> View:
    """What was measured, what is expected with its band, and what was expected, in one panel."""
    own = f'{matcher(names.FOR, query.name)},instance=~"$instance",model=~"$model|"'
    horizon = names.horizon_label(max((h for h in query.horizons if h <= AHEAD), default=min(query.horizons)))
    earlier = f'{names.FORECAST_VALUE}{{{own},{names.HORIZON}="{horizon}",{_quantile(_MIDDLE)}}} offset {horizon}'
    targets = [
        Target(narrowed(query.expr, BY_MODEL), words.legend(query)),
        Target(
            f"{names.FORECAST_CURVE}{{{_OF_CURVE},{own},{_quantile(_MIDDLE)}}}",
            f"expected {words.published_legend(curve=True)}",
        ),
        Target(f"max({names.FORECAST_CURVE}{{{_OF_CURVE},{own},{_quantile(_HIGH)}}})", _HIGH_NAME),
        Target(f"min({names.FORECAST_CURVE}{{{_OF_CURVE},{own},{_quantile(_LOW)}}})", _LOW_NAME),
        Target(f"max without ({_NOT_OF_SERIES}) ({earlier})", f"expected {horizon} before {words.published_legend()}"),
    ]
    panel = chart(
        targets,
        words.UNITS[query.unit],
        words.thresholds(query),
        overrides=[
            override("byFrameRefID", "B", custom__lineStyle={"fill": "dash", "dash": [8, 6]}, custom__lineWidth=2),
            override("byName", _HIGH_NAME, custom__fillBelowTo=_LOW_NAME, custom__fillOpacity=18,
                     custom__lineWidth=0, color=color("purple")),
            override("byName", _LOW_NAME, custom__lineWidth=0, color=color("purple")),
            override("byFrameRefID", "E", custom__lineStyle={"fill": "dot", "dash": [1, 6]}),
        ],
        calcs=("lastNotNull",),
    )  # fmt: skip
    what = (
        "Measured, and expected from now on (dashed) with the band that holds 80% of what may come: of several "
        f"series, from the lowest to the highest. Dotted is what was expected {horizon} before. {words.about(query)}"
    )
    return View(query.name, words.title(query), what, panel, 12, 9, (query.name,))


def _past(views: Iterable[View], back: str) -> Iterator[View]:
    for view in views:
        view.panel.time_from = back
        view.panel.hide_time_override = False
        yield view


def _now(catalogue: Catalogue) -> list[View]:
    pushed = f"{{{_PUSHED}}}"
    alert = fresh(f"{names.FORECAST_ALERT}{pushed}")
    chance = fresh(f"{names.BREACH_PROBABILITY}{pushed}")
    when = fresh(f"{names.TIME_TO_BREACH}{{{_PUSHED},{_quantile(_MIDDLE)}}}")
    score = fresh(f"{names.ANOMALY_SCORE}{pushed}")
    age = f'time() - max({names.GENERATED}{{for=~"$query",for=~"$service"}})'
    return [
        View("alerts", "Predicted breaches", "Series whose objective the worker expects to be missed: its decision "
             "after hold and hysteresis, while it is fresh.",
             number([Target(f"sum({alert}) or vector(0)", "predicted", instant=True)], "short", _NONE_IS_GOOD), 4, 5),
        View("probability", "Highest probability", "Of a breach within any horizon, of any chosen series.",
             number([Target(f"max({chance})", "probability", instant=True)], "percentunit", _odds(catalogue)), 5, 5),
        View("soonest", "Soonest breach", "The shortest median time until an objective is missed.",
             number([Target(f"min({when})", "time to breach", instant=True)], "s", _NONE,
                    mappings=[from_on(_NEVER, "not in sight", words.GOOD)]), 5, 5),
        View("unusual", "Unusual now", "Series whose newest point is an anomaly: a score of 1 or more.",
             number([Target(f"count({score} >= 1) or vector(0)", "unusual", instant=True)], "short", _NONE_IS_GOOD),
             4, 5),
        View("age", "Age of the newest forecast", "How long ago the moment lies that the newest forecast was made for.",
             number([Target(age, "age", instant=True)], "s", _NONE), 6, 5),
    ]  # fmt: skip


def _breaches(catalogue: Catalogue) -> list[View]:
    horizons = sorted(
        {h for query in catalogue.queries.values() if query.threshold is not None for h in query.horizons}
    )
    if not horizons:
        return []
    targets, columns = [], [Column(names.FOR, "metric")]
    for seconds in horizons:
        horizon = names.horizon_label(seconds)
        chance = fresh(f'{names.BREACH_PROBABILITY}{{{_PUSHED},{names.HORIZON}="{horizon}"}}')
        targets.append(Target(f"max without ({_NOT_OF_SERIES}, {names.HORIZON}) ({chance})"))
        columns.append(Column(_value(targets), f"P within {horizon}", "percentunit", _odds(catalogue)))
    for quantile, said in ((_LOW, "early"), (_MIDDLE, "median"), (_HIGH, "late")):
        when = fresh(f"{names.TIME_TO_BREACH}{{{_PUSHED},{_quantile(quantile)}}}")
        targets.append(Target(f"max without ({_NOT_OF_SERIES}, {names.QUANTILE}) ({when})"))
        never = (from_on(_NEVER, "not in sight", words.GOOD),)
        columns.append(Column(_value(targets), f"breach in, {said}", "s", [], never))
    longest = names.horizon_label(horizons[-1])
    table = rows(targets, columns, hidden=("exported_job", "service"), sort=f"P within {longest}")
    median = fresh(f"{names.TIME_TO_BREACH}{{{_PUSHED},{_quantile(_MIDDLE)}}}")
    return [
        View("table", "Probability and time of a breach", "Each series with an objective: how likely it is missed "
             "within each horizon, and in how long (10%, 50% and 90% of what may come).", table, 24, 9),
        View("odds", f"Probability within {longest}, by metric", "The highest of each metric's series. Orange and red "
             "are the lowest levels at which the catalogue's alerts clear and fire.",
             chart([_by_metric("max", fresh(f'{names.BREACH_PROBABILITY}{{{_PUSHED},{names.HORIZON}="{longest}"}}'))],
                   "percentunit", _odds(catalogue)), 12, 8),
        View("times", "Time to breach, by metric", "The shortest median of each metric's series; at the top, the "
             "longest horizon, while no breach is in sight.",
             chart([_by_metric("min", f"clamp_max({median}, {horizons[-1]})")], "s", _NONE), 12, 8),
    ]  # fmt: skip


def _anomalies() -> list[View]:
    score = fresh(f"{names.ANOMALY_SCORE}{{{_PUSHED}}}")
    listed = rows(
        [Target(f"sort_desc(topk(20, max without ({_NOT_OF_SERIES}) ({score})))")],
        [Column(names.FOR, "metric"), Column("Value", "score", "short", _UNUSUAL)],
        hidden=("exported_job", "service"),
        sort="score",
    )
    return [
        View("scores", "Anomaly score, by metric", "The highest of each metric's series; 1 is an anomaly.",
             chart([_by_metric("max", score)], "short", _UNUSUAL), 12, 9),
        View("list", "Most unusual now", "The series with the highest scores.", listed, 12, 9),
    ]  # fmt: skip


def _quality() -> list[View]:
    figures: tuple[tuple[names.Metric, str, str, words.Steps], ...] = (
        (names.QUALITY_COVERAGE, "Truth inside the band", "percentunit", _NONE),
        (names.QUALITY_MASE, "Error against the seasonal naive forecast", "percentunit", _UNUSUAL),
        (names.QUALITY_LINEAR, "Error against predict_linear", "percentunit", _UNUSUAL),
        (names.QUALITY_BRIER_SKILL, "Skill of the probabilities", "percentunit", _SKILL),
        (names.QUALITY_BIAS, "Bias", "short", _NONE),
    )
    views = [
        View(metric.name, title, f"{metric.help} Mean of each metric's series, by horizon.",
             chart([Target(f"avg by ({names.FOR}, {names.HORIZON}) ({metric}{{{_PUSHED}}})", "{{for}} {{horizon}}")],
                   unit, steps, calcs=("lastNotNull", "mean")), 8, 8)
        for metric, title, unit, steps in figures
    ]  # fmt: skip
    states = chart(
        [Target(f"sum by ({names.STATE}) ({names.FORECAST_STATE}{{{_PUSHED}}})", "{{state}}")], "short", _NONE,
        stacked=True, calcs=("lastNotNull", "max"),
        overrides=[override("byName", one, color=color(_STATE_COLORS.get(one, words.BAD))) for one in names.STATES],
    )  # fmt: skip
    what = "How many series are forecast, and why others are not. A series that is not_skilful raises no alert."
    return [*views, View("states", "State of the forecasts", what, states, 8, 8)]


def _worker() -> list[View]:
    chosen = '{for=~"$query",for=~"$service"}'
    return [
        View("cycles", "Cycles", "Cycles finished a second, by outcome.",
             chart([Target(f"sum by (outcome) (rate({names.CYCLES}{chosen}[$__rate_interval]))", "{{outcome}}")],
                   "cps", _NONE), 8, 8),
        View("seconds", "Time of a cycle", "Seconds the last cycle of the slowest query took, by stage.",
             chart([Target(f"max by (stage) ({names.QUERY_DURATION}{chosen})", "{{stage}}")], "s", _NONE), 8, 8),
        View("failed", "Queries that fail", "Queries whose last cycle failed, by kind of error; 0 while none does.",
             chart([Target(f"sum by (kind) ({names.QUERY_ERROR}{chosen}) or vector(0)", "{{kind}}")],
                   "short", _NONE_IS_GOOD), 8, 8),
        View("series", "Series read", "Series each query found.",
             bars([Target(f"sort_desc(sum by ({names.FOR}) ({names.QUERY_SERIES}{chosen}))", "{{for}}", instant=True)],
                  "short", _NONE), 12, 10),
        View("missed", "Slots missed", "Slots that were never computed because the worker was late, in an hour.",
             chart([Target(f"sum by ({names.FOR}) (increase({names.SLOTS_MISSED}{chosen}[1h])) or vector(0)",
                           "{{for}}")], "short", _NONE_IS_GOOD), 12, 10),
    ]  # fmt: skip


def _variables(catalogue: Catalogue) -> tuple[Variable, ...]:
    services: dict[str, list[str]] = {}
    for query in catalogue.queries.values():
        services.setdefault(query.service or "other", []).append(query.name)
    options = {"All": ALL} | {service: one_of(queries) for service, queries in services.items()}
    of = f'{names.FORECAST_STATE}{{for=~"$service"}}'
    chosen = f'{names.FORECAST_STATE}{{for=~"$query",for=~"$service"}}'
    return (
        Variable("service", "Service", "Whose metrics.", options=options),
        Variable("query", "Metric", "Which metrics of the catalogue.", f"label_values({of}, {names.FOR})"),
        Variable("instance", "Instance", "Which instances.", f"label_values({chosen}, instance)"),
        Variable("model", "Model", "Which models; series without one stay.", f"label_values({chosen}, model)"),
    )


def _odds(catalogue: Catalogue) -> words.Steps:
    """Where the catalogue's predictive alerts clear and fire, the lowest of each."""
    alerts = [query.alert for query in catalogue.queries.values() if query.alert]
    if not alerts:
        return _NONE
    clear, fire = min(alert.clear for alert in alerts), min(alert.probability for alert in alerts)
    return [(None, words.GOOD), *([(clear, words.CLOSE)] if clear < fire else []), (fire, words.BAD)]


def _by_metric(joined: str, expr: str) -> Target:
    return Target(f"{joined} by ({names.FOR}) ({expr})", "{{for}}")


def _quantile(quantile: float) -> str:
    return matcher(names.QUANTILE, names.quantile_label(quantile))


def _value(targets: list[Target]) -> str:
    """The field of the last target in a merged table."""
    return f"Value #{chr(ord('A') + len(targets) - 1)}"
