"""The dashboard of the prediction service: its models, how fast it answers, what it costs, where it errs."""

from __future__ import annotations

from detector import conventions as names
from detector.catalogue.schema import Catalogue, Query
from detector.render.grafana import words
from detector.render.grafana.board import Board, Row, without_empty
from detector.render.grafana.panels import Column, Target, View, bars, chart, heat, rows
from detector.render.grafana.selectors import histogram_of, narrowed
from detector.render.grafana.views import (
    BY_INSTANCE,
    BY_MODEL,
    DAY,
    MONTH,
    WEEK,
    alerts_and_events,
    charts,
    instance_variable,
    model_variable,
    one_of,
    pattern_chart,
    present,
    query_chart,
    resolution,
    worst_now,
)

UID = "detector-ml-service"
SERVICE = "ml-service"
ACCURACY = ("ml_ensemble_accuracy",)
TREND = ("ml_ensemble_accuracy", "ml_accuracy_trend")
MODELS = ("ml_model_performance", "ml_prediction_confidence", "ml_prediction_throughput")
DURATION = ("ml_prediction_duration",)
RESOURCES = ("ml_memory_usage", "ml_cpu_usage")
_QUANTILES = (0.5, 0.9, 0.95, 0.99)


def ml_service(catalogue: Catalogue) -> Board | None:
    """The board, or None for a catalogue without such a service."""
    queries = [query for query in catalogue.queries.values() if query.service == SERVICE]
    if not queries:
        return None
    arranged = {*TREND, *MODELS, *DURATION, *RESOURCES}
    rest = [query_chart(query, BY_INSTANCE) for query in queries if query.name not in arranged]
    content = [
        Row("Accuracy", (*_trend(catalogue),)),
        Row("Models compared", (*_models(catalogue),)),
        Row("Response time", tuple(view for query in present(catalogue, DURATION) for view in _durations(query))),
        Row("Memory and CPU", _resources(catalogue)),
        Row("Errors", (*_errors(catalogue, queries),)),
        Row("More of the service", tuple(rest)),
    ]
    return Board(
        UID,
        "ML service",
        "Models side by side, the accuracy's trend, the distribution of response times, memory and CPU, errors.",
        without_empty(content),
        (instance_variable(queries), model_variable(present(catalogue, (*TREND, *MODELS)))),
        alerts_and_events(catalogue, SERVICE),
        back=86400,
    )


def _trend(catalogue: Catalogue) -> list[View]:
    views = [worst_now(query, BY_INSTANCE, width=6) for query in present(catalogue, ACCURACY)]
    views += [_means(query) for query in present(catalogue, ACCURACY)]
    return views + charts(catalogue, TREND, BY_INSTANCE, width=12)


def _means(query: Query) -> View:
    expr = narrowed(query.expr, BY_INSTANCE)
    targets = [
        Target(f"avg(avg_over_time(({expr})[{window}:{resolution(window)}]))", text, instant=True)
        for window, text in (("1h", "last hour"), (DAY, "last day"), (WEEK, "last week"), (MONTH, "last 30 days"))
    ]
    panel = bars(targets, words.UNITS[query.unit], words.thresholds(query))
    what = f"Means over longer and longer windows: a falling trend has its shortest bar on top. {words.about(query)}"
    return View(f"{query.name} means", f"Trend: {words.title(query)}", what, panel, 18, 5, (query.name,))


def _models(catalogue: Catalogue) -> list[View]:
    compared = present(catalogue, MODELS)
    return [*([_table(compared)] if compared else []), *charts(catalogue, MODELS, BY_MODEL)]


def _table(compared: list[Query]) -> View:
    targets, columns = [], [Column("model", "model")]
    for query in compared:
        joined = "sum" if query.unit == "per_second" else "avg"
        for window, text in (("", "now"), (DAY, "mean of a day"), (WEEK, "mean of a week")):
            expr = narrowed(query.expr, BY_MODEL)
            over = f"avg_over_time(({expr})[{window}:{resolution(window)}])" if window else expr
            targets.append(Target(f"{joined} by (model) ({over})"))
            field = f"Value #{chr(ord('A') + len(targets) - 1)}"
            columns.append(
                Column(field, f"{words.title(query)}, {text}", words.UNITS[query.unit], words.thresholds(query))
            )
    what = "Each model now, and its means of a day and a week, over the chosen instances."
    panel = rows(targets, columns, sort="model", descending=False)
    return View("models", "Models side by side", what, panel, 24, 8, tuple(query.name for query in compared))


def _durations(query: Query) -> list[View]:
    views = [query_chart(query, BY_INSTANCE)]
    histogram = histogram_of(query.expr)
    if histogram is None:
        return views
    unit = words.UNITS[query.unit]
    rate = f'sum by (le) (rate({histogram}_bucket{{instance=~"$instance"}}[$__rate_interval]))'
    quantiles = chart(
        [Target(f"histogram_quantile({q:g}, {rate})", f"{100 * q:g}%") for q in _QUANTILES],
        unit,
        words.thresholds(query),
    )
    spread = heat(Target(rate.replace("rate(", "increase("), "{{le}}", heat=True), unit)
    return [
        *views,
        View(f"{query.name} quantiles", f"Quantiles: {words.title(query)}", "How long the faster part of all "
             f"predictions of the chosen instances took. {words.about(query)}", quantiles, 8, 8, (query.name,)),
        View(f"{query.name} spread", f"Distribution: {words.title(query)}", "How many took how long: one column of the "
             "histogram for each moment, darker where more fell.", spread, 8, 8, (query.name,)),
    ]  # fmt: skip


def _resources(catalogue: Catalogue) -> tuple[View, ...]:
    queries = present(catalogue, RESOURCES)
    return (
        *(query_chart(query, BY_INSTANCE, width=12) for query in queries),
        *(pattern_chart(query, BY_INSTANCE) for query in queries),
    )


def _errors(catalogue: Catalogue, queries: list[Query]) -> list[View]:
    wrong = [_wrong(query) for query in present(catalogue, ("ml_ensemble_accuracy", "ml_model_performance"))]
    slow = [view for query in present(catalogue, DURATION) for view in _slow(query)]
    which = one_of(query.name for query in queries)
    scores = chart(
        [Target(f'max by (for) ({names.ANOMALY_SCORE}{{for=~"{which}",instance=~"$instance"}})', "{{for}}")],
        "short",
        [(None, words.GOOD), (1, words.BAD)],
    )
    unusual = View(
        "anomalies",
        "How unusual",
        "The highest anomaly score of each of the service's metrics; 1 is an anomaly.",
        scores,
    )
    return [*wrong, *slow, unusual]


def _wrong(query: Query) -> View:
    panel = chart(
        [Target(f"1 - ({narrowed(query.expr, BY_MODEL)})", words.legend(query))], "percentunit", words.missed(query)
    )
    what = f"Share that did not come true, what is missing to 100%. {words.about(query)}"
    return View(f"{query.name} wrong", f"Wrong: {words.title(query)}", what, panel, 8, 8, (query.name,))


def _slow(query: Query) -> list[View]:
    """Share of what took longer than the objective; the objective must be a bound of the histogram."""
    histogram = histogram_of(query.expr)
    if histogram is None or query.threshold is None or not query.breach_above:
        return []
    rate = 'sum by (instance) (rate({}{{{}instance=~"$instance"}}[$__rate_interval]))'
    within = rate.format(f"{histogram}_bucket", f'le="{query.threshold!r}",')
    everything = rate.format(f"{histogram}_count", "")
    panel = chart([Target(f"1 - {within} / {everything}", "{{instance}}")], "percentunit", [(None, words.GOOD)])
    what = f"Share that took longer than the objective allows. {words.about(query)}"
    return [View(f"{query.name} slow", f"Too slow: {words.title(query)}", what, panel, 8, 8, (query.name,))]
