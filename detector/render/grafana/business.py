"""The dashboard of the business: accuracy by day, week and month, what was predicted, automation, objectives kept."""

from __future__ import annotations

from detector.catalogue.schema import Catalogue, Query
from detector.render.grafana import words
from detector.render.grafana.board import Board, Row, without_empty
from detector.render.grafana.panels import Column, Target, View, bars, chart, number, rows
from detector.render.grafana.views import (
    DAY,
    EVERYTHING,
    MONTH,
    WEEK,
    alerts_and_events,
    charts,
    one_of,
    present,
    query_chart,
    resolution,
    service_variable,
    time_met,
)
from detector.render.objectives import PERIOD_DAYS, SLO

UID = "detector-business"
CHANNEL = "business"
ACCURACY = ("ml_ensemble_accuracy",)
THROUGHPUT = ("ml_prediction_throughput",)
PROCESSOR = ("ml_cpu_usage",)
AUTOMATION = ("automation_coverage", "workflow_efficiency", "schedule_adherence", "scheduler_task_success_rate")
WINDOWS = {DAY: "day", WEEK: "week", MONTH: "month"}
_SECONDS = {DAY: 86400, WEEK: 7 * 86400, MONTH: 30 * 86400}
_NONE: words.Steps = [(None, words.GOOD)]
_BUDGET: words.Steps = [(None, words.BAD), (0, words.CLOSE), (0.5, words.GOOD)]


def business(catalogue: Catalogue) -> Board | None:
    """The board, or None for a catalogue without accuracy and without a channel for the business."""
    accuracy = next(iter(present(catalogue, ACCURACY)), None)
    own = [query for query in catalogue.queries.values() if query.channel == CHANNEL]
    if accuracy is None and not own:
        return None
    rest = [query_chart(query, EVERYTHING) for query in own if query.name not in AUTOMATION]
    content = [
        Row("Accuracy by day, week and month", _accuracy(accuracy) if accuracy else ()),
        Row("Predictions", _predictions(catalogue, accuracy)),
        Row("Automation", (*_automation_now(catalogue), *charts(catalogue, AUTOMATION, EVERYTHING, width=6))),
        Row("Return and performance", (*_return(catalogue, accuracy), *rest)),
        Row("Service levels", tuple(_service_levels(catalogue))),
        Row("Objectives kept", (*_availability(catalogue), *_objectives(catalogue))),
    ]
    return Board(
        UID,
        "Business",
        "Accuracy by day, week and month, predictions made, automation, return on what it costs, and objectives kept.",
        without_empty(content),
        (service_variable(catalogue),),
        alerts_and_events(catalogue),
        back=30 * 86400,
    )


def mean_over(query: Query, window: str) -> str:
    """PromQL: mean over the window; each point counts by the outcomes behind it, where they are known."""
    step = resolution(window)
    if query.samples is None:
        return f"avg(avg_over_time(({query.expr})[{window}:{step}]))"
    weighted = f"sum(sum_over_time((({query.expr}) * ({query.samples}))[{window}:{step}]))"
    return f"{weighted} / sum(sum_over_time(({query.samples})[{window}:{step}]))"


def _accuracy(query: Query) -> tuple[View, ...]:
    unit, steps, about = words.UNITS[query.unit], words.thresholds(query), words.about(query)
    counted = " Each point counts by the outcomes behind it." if query.samples else ""
    views = []
    for window, name in WINDOWS.items():
        panel = number([Target(mean_over(query, window), name, instant=True)], unit, steps, decimals=2)
        what = f"Mean of the last {name}.{counted} {about}"
        views.append(View(f"{query.name} {name}", f"Last {name}", what, panel, 4, 5, (query.name,)))
    if query.threshold is not None:
        targets = [Target(time_met(query, window), f"last {name}", instant=True) for window, name in WINDOWS.items()]
        met = bars(targets, "percentunit", _NONE, least=0, most=1)
        what = f"Share of the time in which the objective was met. {about}"
        views.append(View(f"{query.name} met", "Time above the objective", what, met, 12, 5, (query.name,)))
    for window, name in WINDOWS.items():
        panel = chart([Target(mean_over(query, window), name)], unit, steps, bars=True, calcs=("min", "mean", "max"))
        panel.interval = window
        what = f"Report by {name}: one bar a {name}, its mean.{counted} {about}"
        views.append(View(f"{query.name} by {name}", f"By {name}", what, panel, 8, 8, (query.name,)))
    return tuple(views)


def _predictions(catalogue: Catalogue, accuracy: Query | None) -> tuple[View, ...]:
    views: list[View] = []
    for query in present(catalogue, THROUGHPUT):
        counts = [Target(_count(query, window), f"last {name}", instant=True) for window, name in WINDOWS.items()]
        what = f"The mean rate, as far back as Prometheus reaches, times the length. {words.about(query)}"
        views.append(
            View(
                "predictions",
                "Predictions made",
                what,
                number(counts, "short", _NONE, named=True),
                12,
                5,
                (query.name,),
            )
        )
        if accuracy is not None:
            right = [
                Target(f"{_count(query, window)} * {mean_over(accuracy, window)}", f"last {name}", instant=True)
                for window, name in WINDOWS.items()
            ]
            what = f"Predictions made, times the share of them that came true. {words.about(accuracy)}"
            panel = number(right, "short", _NONE, named=True)
            views.append(View("right", "Right predictions", what, panel, 12, 5, (query.name, accuracy.name)))
        daily = chart([Target(_count(query, DAY), "predictions")], "short", _NONE, bars=True, calcs=("mean", "max"))
        daily.interval = DAY
        views.append(View("daily", "Predictions by day", "One bar a day.", daily, 24, 7, (query.name,)))
    return tuple(views)


def _count(query: Query, window: str) -> str:
    """PromQL: how many there were in a window, from a rate."""
    return f"sum(avg_over_time(({query.expr})[{window}:{resolution(window)}])) * {_SECONDS[window]}"


def _automation_now(catalogue: Catalogue) -> list[View]:
    found = [query for query in present(catalogue, AUTOMATION) if query.unit == "ratio"]
    if not found:
        return []
    panel = bars(
        [Target(f"avg(avg_over_time(({query.expr})[{DAY}:{resolution(DAY)}]))", words.title(query), instant=True)
         for query in found],
        "percentunit", _NONE, least=0, most=1,
    )  # fmt: skip
    what = "How much runs by itself, and how well: means of the last day."
    return [View("automation", "Automation, last day", what, panel, 24, 6, tuple(query.name for query in found))]


def _return(catalogue: Catalogue, accuracy: Query | None) -> list[View]:
    """What is gained for what is spent. The platform has no metric of money: right predictions stand for it."""
    throughput = next(iter(present(catalogue, THROUGHPUT)), None)
    processor = next(iter(present(catalogue, PROCESSOR)), None)
    if accuracy is None or throughput is None or processor is None:
        return []
    right = f"sum({throughput.expr}) * avg({accuracy.expr})"
    made = chart([Target(right, "right predictions")], "cps", _NONE, calcs=("lastNotNull", "mean", "max"))
    paid = chart(
        [Target(f"{right} / sum({processor.expr})", "for each percent of CPU")], "cps", _NONE,
        calcs=("lastNotNull", "mean", "max"),
    )  # fmt: skip
    return [
        View("performance", "Right predictions per second", "Throughput times accuracy: what the platform is for.",
             made, 12, 8, (throughput.name, accuracy.name)),
        View("return", "Return on the processor", "Right predictions a second for each percent of CPU that the "
             "prediction service uses: the return on what is spent, as long as no metric tells money. A metric of the "
             "catalogue with the channel business is shown beside it.",
             paid, 12, 8, (throughput.name, accuracy.name, processor.name)),
    ]  # fmt: skip


def _service_levels(catalogue: Catalogue) -> list[View]:
    """The month's objectives, from the series that Prometheus records for them."""
    levels = catalogue.service_level_objectives
    if not levels:
        return []
    figures = {
        "objective": ("slo:objective:ratio", _NONE),
        "kept, 30 days": (f"1 - slo:sli_error:ratio_rate{PERIOD_DAYS}d", _NONE),
        "kept, last day": ("1 - slo:sli_error:ratio_rate1d", _NONE),
        "budget left": ("slo:period_error_budget_remaining:ratio", _BUDGET),
    }
    targets = [Target(f"max by ({SLO}) ({expr})") for expr, _ in figures.values()]
    columns = [Column(SLO, "service level")] + [
        Column(f"Value #{'ABCD'[place]}", name, "percentunit", steps)
        for place, (name, (_, steps)) in enumerate(figures.items())
    ]
    said = " ".join(f"{name}: {level.description.rstrip('.')}, {words.shown(level.objective, 'ratio')} of the time."
                    for name, level in levels.items())  # fmt: skip
    burning = chart(
        [Target(f"max by ({SLO}) (slo:current_burn_rate:ratio)", f"{{{{{SLO}}}}}")],
        "short",
        [(None, words.GOOD), (1, words.BAD)],
    )
    return [
        View("levels", "Service levels", f"What must hold over {PERIOD_DAYS} days, and the budget that is left. {said}",
             rows(targets, columns, sort="budget left", descending=False), 14, 8),
        View("burning", "Budget burn", "How fast each error budget is used: at 1 it lasts just as long as the period.",
             burning, 10, 8),
    ]  # fmt: skip


def _availability(catalogue: Catalogue) -> list[View]:
    if not catalogue.services:
        return []
    up = f'up{{job=~"{one_of(catalogue.services)}",job=~"$service"}}'
    targets = [Target(f"avg by (job) (avg_over_time({up}[{window}]))") for window in WINDOWS]
    columns = [Column("job", "service")] + [
        Column(f"Value #{'ABC'[place]}", f"last {name}", "percentunit") for place, name in enumerate(WINDOWS.values())
    ]
    what = "Share of the scrapes that each service answered: its availability."
    return [
        View("availability", "Availability", what, rows(targets, columns, sort="service", descending=False), 10, 10)
    ]


def _objectives(catalogue: Catalogue) -> list[View]:
    kept = [query for query in catalogue.queries.values() if query.threshold is not None]
    if not kept:
        return []
    targets = [Target("\nor ".join(_named(query, window) for query in kept)) for window in WINDOWS]
    columns = [Column("objective", "objective")] + [
        Column(f"Value #{'ABC'[place]}", f"last {name}", "percentunit") for place, name in enumerate(WINDOWS.values())
    ]
    what = "Share of the time in which each objective of the catalogue was met, of its worst series."
    panel = rows(targets, columns, sort="last month", descending=False)
    return [View("objectives", "Objectives met", what, panel, 14, 10)]


def _named(query: Query, window: str) -> str:
    said = f"{words.title(query)} {words.objective(query)}"
    return f'label_replace(min({time_met(query, window)}), "objective", "{said}", "", "")'
