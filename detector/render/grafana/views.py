"""Views of the catalogue's queries that several dashboards show, and the choices and events they share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from grafana_foundation_sdk.models import dashboard as dash

from detector.catalogue.schema import Catalogue, Query
from detector.render.grafana import words
from detector.render.grafana.board import Annotation, Variable
from detector.render.grafana.panels import Target, View, chart, number, stable_id
from detector.render.grafana.selectors import metrics_of, narrowed

FORECASTS_UID = "detector-forecasts"
FIRING = 'ALERTS{alertstate="firing",severity!="none",level=""}'
"""Alerts that fire: without those that prove the alert path, and without the escalations of one that is listed."""
DAY, WEEK, MONTH = "1d", "7d", "30d"
RESOLUTION = "5m"
"""Step of sub-queries over a day."""
_RESOLUTIONS = {DAY: RESOLUTION, WEEK: "15m", MONTH: "1h"}

Chosen = Mapping[str, str]
"""Matchers a dashboard adds to what it shows: a label to a variable."""

EVERYTHING: Chosen = {}
BY_SERVICE: Chosen = {"job": "$service", "instance": "$instance"}
BY_INSTANCE: Chosen = {"instance": "$instance"}
BY_MODEL: Chosen = {"instance": "$instance", "model": "$model|"}
"""Series without a model stay, whatever model is chosen."""


def present(catalogue: Catalogue, names: Iterable[str]) -> list[Query]:
    """The queries of these names that the catalogue has."""
    return [catalogue.queries[name] for name in names if name in catalogue.queries]


def query_chart(query: Query, chosen: Chosen, *, width: int = 8, height: int = 8) -> View:
    """The query's series over time against its objective, with a link to its forecast."""
    panel = chart(
        [Target(narrowed(query.expr, chosen), words.legend(query))], words.UNITS[query.unit], words.thresholds(query)
    )
    panel.links = [forecast_link(query)]
    return View(query.name, words.title(query), words.about(query), panel, width, height, (query.name,))


def charts(catalogue: Catalogue, names: Iterable[str], chosen: Chosen, *, width: int = 8) -> list[View]:
    """A chart for each of the queries that the catalogue has."""
    return [query_chart(query, chosen, width=width) for query in present(catalogue, names)]


def worst_now(query: Query, chosen: Chosen, *, width: int = 4) -> View:
    """The value nearest to, or furthest beyond, the objective among the query's series, now."""
    worst = "max" if query.breach_above else "min"
    panel = number(
        [Target(f"{worst}({narrowed(query.expr, chosen)})", words.title(query), instant=True)],
        words.UNITS[query.unit],
        words.thresholds(query),
    )
    what = f"The {'highest' if query.breach_above else 'lowest'} of its series now. {words.about(query)}"
    return View(f"{query.name} now", f"{words.title(query)} now", what, panel, width, 5, (query.name,))


def failing_chart(query: Query, chosen: Chosen, *, width: int = 8) -> View:
    """What is missing to 1: the failed share behind a success rate."""
    panel = chart(
        [Target(f"1 - ({narrowed(query.expr, chosen)})", words.legend(query))], "percentunit", words.missed(query)
    )
    what = f"Share that fails, what is missing to 100%. {words.about(query)}"
    return View(f"{query.name} failing", f"Failing: {words.title(query)}", what, panel, width, 8, (query.name,))


def pattern_chart(query: Query, chosen: Chosen, *, width: int = 12) -> View:
    """The mean of all series now, a day and a week before, one over the other."""
    expr = narrowed(query.expr, chosen)
    targets = [Target(f"avg({expr})", "now")] + [
        Target(f"avg(last_over_time(({expr})[{RESOLUTION}:1m] offset {back}))", text)
        for back, text in ((DAY, "a day before"), (WEEK, "a week before"))
    ]
    panel = chart(targets, words.UNITS[query.unit], words.thresholds(query))
    what = f"Mean of the series beside the same time a day and a week before. {words.about(query)}"
    return View(f"{query.name} pattern", f"Pattern: {words.title(query)}", what, panel, width, 8, (query.name,))


def time_met(query: Query, window: str, chosen: Chosen = EVERYTHING) -> str:
    """PromQL: share of the window in which the query's objective was met, by series. It must have one."""
    met = f"({narrowed(query.expr, chosen)}) {'<' if query.breach_above else '>'} bool {query.threshold!r}"
    return f"avg_over_time(({met})[{window}:{resolution(window)}])"


def resolution(window: str) -> str:
    """Step of a sub-query over a window: some hundred points, however long it is."""
    return _RESOLUTIONS.get(window, RESOLUTION)


def forecast_link(query: Query) -> dash.DashboardLink:
    """To the query's own panel on the dashboard of forecasts."""
    return dash.DashboardLink(
        title="Its forecast",
        type_val=dash.DashboardLinkType.LINK,
        icon="external link",
        url=f"/d/{FORECASTS_UID}?viewPanel={stable_id(f'{FORECASTS_UID} {query.name}')}",
    )


def one_of(names: Iterable[str]) -> str:
    r"""A regular expression in a matcher's quotes for exactly these values.

    >>> one_of(["a", "b.c"])
    'a|b\\\\.c'
    """
    return "|".join(re.escape(name).replace("\\-", "-").replace("\\", "\\\\") for name in names)


def instance_variable(queries: Iterable[Query], *, of_service: bool = False) -> Variable:
    """Which instances: those that expose what the queries read."""
    return Variable(
        "instance", "Instance", "Which instances.", f"label_values({_exposed(queries, of_service)}, instance)"
    )


def model_variable(queries: Iterable[Query]) -> Variable:
    """Which models: those that expose what the queries read."""
    return Variable("model", "Model", "Which models.", f"label_values({_exposed(queries, False)}, model)")


def service_variable(catalogue: Catalogue) -> Variable:
    """Which services: those of the catalogue that are scraped."""
    jobs = one_of(catalogue.services) or ".+"
    return Variable("service", "Service", "Which services.", f'label_values(up{{job=~"{jobs}"}}, job)')


def _exposed(queries: Iterable[Query], of_service: bool) -> str:
    metrics = sorted({metric for query in queries for metric in metrics_of(query.expr)})
    service = ',job=~"$service"' if of_service else ""
    return f'{{__name__=~"{one_of(metrics)}"{service}}}'


def alerts_and_events(catalogue: Catalogue, service: str | None = None) -> tuple[Annotation, ...]:
    """Alerts, predictions, the catalogue's events and restarts; of one service only, or of those that are chosen.

    Grafana draws an event where a value is above 0. It asks for about a hundred points, however long the range, so each
    expression looks back over the whole step before its point.
    """
    only = "" if service is None else f',service=~"{one_of([service])}"'
    facts = f'max_over_time({FIRING[:-1]},severity=~"critical|warning",kind!="prediction"{only}}}[$__rate_interval])'
    predictions = f'max_over_time({FIRING[:-1]},kind="prediction"{only}}}[$__rate_interval])'
    restarts = "changes(process_start_time_seconds[$__rate_interval])"
    where = "{{service}} {{instance}}"
    return (
        Annotation("Alerts", _by("alertname, severity, service, instance", facts), "red", "{{alertname}}",
                   "{{severity}} " + where, ("severity", "service")),
        Annotation("Predicted breaches", _by("alertname, service, instance", predictions), "orange", "{{alertname}}",
                   where, ("service",)),
        *(Annotation(name, f"(time() - ({event.time})) * 1000 < bool 1.5 * $__interval_ms", "blue", name,
                     f"{event.description} {{{{instance}}}} {{{{model}}}}{{{{dataset}}}}", ("service",))
          for name, event in catalogue.events.items() if service in (None, event.service)),
        Annotation("Deploys and restarts", _by("job, instance", restarts), "purple",
                   "{{job}} started anew", "{{instance}}", ("job",)),
    )  # fmt: skip


def state_of_services(catalogue: Catalogue) -> str:
    """PromQL: 1 or 0 by `job`, as the alert on the service's being down sees it, else whether it is scraped."""
    states = [
        f'label_replace(min({down.up}), "job", "{name}", "", "")'
        if down and down.up
        else f'min by (job) (up{{job="{name}"}})'
        for name, down in ((name, service.down_alert) for name, service in catalogue.services.items())
    ]
    return "(\n  " + "\n  or ".join(states) + '\n)\nand on (job) up{job=~"$service"}'


def _by(labels: str, expr: str) -> str:
    return f"max by ({labels}) ({expr})"
