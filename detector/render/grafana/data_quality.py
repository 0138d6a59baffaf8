"""The dashboard of the data: how good, how fresh, how complete, and how well the symbols are chosen."""

from __future__ import annotations

from detector.catalogue.schema import Catalogue, Query
from detector.render.grafana import words
from detector.render.grafana.board import Board, Row, without_empty
from detector.render.grafana.panels import Target, View, bars, chart
from detector.render.grafana.selectors import narrowed
from detector.render.grafana.views import (
    BY_INSTANCE,
    DAY,
    MONTH,
    WEEK,
    alerts_and_events,
    charts,
    failing_chart,
    instance_variable,
    pattern_chart,
    present,
    query_chart,
    time_met,
    worst_now,
)

UID = "detector-data-quality"
SERVICE = "data-service"
SCORE = ("data_quality_score",)
FRESHNESS = ("data_freshness", "market_data_lag", "data_completeness")
FETCH = ("data_fetch_success_rate", "data_fetch_duration")
SYMBOLS = ("symbol_selection_efficiency", "data_symbols_active")


def data_quality(catalogue: Catalogue) -> Board | None:
    """The board, or None for a catalogue without such a service."""
    queries = [query for query in catalogue.queries.values() if query.service == SERVICE]
    if not queries:
        return None
    arranged = {*SCORE, *FRESHNESS, *FETCH, *SYMBOLS}
    rest = [query_chart(query, BY_INSTANCE) for query in queries if query.name not in arranged]
    fetched = present(catalogue, FETCH)
    content = [
        Row("Score", tuple(view for query in present(catalogue, SCORE) for view in _score(query))),
        Row("Freshness and gaps", tuple(charts(catalogue, FRESHNESS, BY_INSTANCE))),
        Row(
            "Fetching",
            (
                *(query_chart(query, BY_INSTANCE) for query in fetched),
                *(failing_chart(query, BY_INSTANCE) for query in fetched if query.unit == "ratio"),
            ),
        ),
        Row("Choice of symbols", _symbols(catalogue)),
        Row("More of the service", tuple(rest)),
    ]
    return Board(
        UID,
        "Data quality",
        "The score over time, freshness and gaps of market data, success of fetches, and how well symbols are chosen.",
        without_empty(content),
        (instance_variable(queries),),
        alerts_and_events(catalogue, SERVICE),
        back=86400,
    )


def _score(query: Query) -> list[View]:
    expr = narrowed(query.expr, BY_INSTANCE)
    views = [worst_now(query, BY_INSTANCE)]
    if query.threshold is not None:
        targets = [
            Target(f"min({time_met(query, window, BY_INSTANCE)})", text, instant=True)
            for window, text in ((DAY, "last day"), (WEEK, "last week"), (MONTH, "last 30 days"))
        ]
        panel = bars(targets, "percentunit", [(None, words.GOOD)], least=0, most=1)
        what = f"Share of the time in which the worst series met the objective. {words.about(query)}"
        views.append(View(f"{query.name} met", f"Time met: {words.title(query)}", what, panel, 10, 5, (query.name,)))
    panel = bars([Target(f"sort(avg by (dataset) ({expr}))", "{{dataset}}", instant=True)],
                 words.UNITS[query.unit], words.thresholds(query))  # fmt: skip
    what = f"The score of each data set now, over the chosen instances. {words.about(query)}"
    views.append(View(f"{query.name} by set", f"By data set: {words.title(query)}", what, panel, 10, 5, (query.name,)))
    return [*views, query_chart(query, BY_INSTANCE, width=12), pattern_chart(query, BY_INSTANCE)]


def _symbols(catalogue: Catalogue) -> tuple[View, ...]:
    views = charts(catalogue, SYMBOLS, BY_INSTANCE, width=12)
    chosen = present(catalogue, SYMBOLS)
    efficiency = next((query for query in chosen if query.unit == "ratio"), None)
    active = next((query for query in chosen if query.unit == "count"), None)
    if efficiency is not None:
        views.append(pattern_chart(efficiency, BY_INSTANCE))
    if efficiency is not None and active is not None:
        views.append(_worth(efficiency, active))
    return tuple(views)


def _worth(efficiency: Query, active: Query) -> View:
    share, number = (narrowed(query.expr, BY_INSTANCE) for query in (efficiency, active))
    panel = chart(
        [
            Target(f"sum(({share}) * on (instance) ({number}))", "worth selecting"),
            Target(f"sum((1 - ({share})) * on (instance) ({number}))", "not worth it"),
        ],
        "short",
        [(None, words.GOOD)],
        stacked=True,
        calcs=("lastNotNull", "mean"),
    )
    what = "The active symbols, parted by how many of those selected were worth it: what the selector gains and wastes."
    return View("selector", "What the selector gains", what, panel, 12, 8, (efficiency.name, active.name))
