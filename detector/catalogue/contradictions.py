"""What no single key shows: pairs of keys of one query that cannot both hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.catalogue.durations import format_duration

if TYPE_CHECKING:
    from detector.catalogue.schema import Catalogue, Query

Contradiction = tuple[str, str, str]
"""(key, what was expected, what stands there)."""


def contradictions(query: Query) -> list[Contradiction]:
    """Every pair of keys of one query that cannot both hold, blamed on the key that is easier to change."""
    return [*_range_contradictions(query), *_time_contradictions(query), *_alert_contradictions(query)]


def _inside(query: Query, level: float) -> bool:
    """Strictly: what lies at the end of the range can never be beyond it, and no alert would ever fire."""
    low, high = query.data_range
    return (low is None or level > low) and (high is None or level < high)


def _range_text(query: Query) -> str:
    low, high = query.data_range
    return f"[{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}]"


def _range_contradictions(query: Query) -> list[Contradiction]:
    low, high = query.data_range
    if low is not None and high is not None and low >= high:
        return [("data_range", "[low, high] with low < high", _range_text(query))]
    found: list[Contradiction] = []
    if query.threshold is not None and not _inside(query, query.threshold):
        found.append(("objective", f"a threshold inside data_range {_range_text(query)}", f"{query.threshold:g}"))
    level = query.threshold_alert_level
    own = query.threshold_alert and (query.threshold_alert.above, query.threshold_alert.below) != (None, None)
    if own and level is not None and not _inside(query, level[1]):
        found.append(("threshold_alert", f"a level inside data_range {_range_text(query)}", f"{level[1]:g}"))
    return found


def _time_contradictions(query: Query) -> list[Contradiction]:
    found: list[Contradiction] = []
    step = query.step
    for horizon in query.horizons:
        if horizon < step or horizon % step:
            want = f"multiples of step {format_duration(step)}"
            found.append(("horizons", want, format_duration(horizon)))
    if list(query.horizons) != sorted(set(query.horizons)):
        shown = "[" + ", ".join(map(format_duration, query.horizons)) + "]"
        found.append(("horizons", "horizons in rising order, each once", shown))
    if query.history % step:
        found.append(("history", f"a multiple of step {format_duration(step)}", format_duration(query.history)))
    if query.history < max(query.horizons):
        want = f"at least the longest horizon {format_duration(max(query.horizons))}"
        found.append(("history", want, format_duration(query.history)))
    return found


def _alert_contradictions(query: Query) -> list[Contradiction]:
    found: list[Contradiction] = []
    if query.default_objective and query.objective is None:
        found.append(("default_objective", "an objective beside it", "none"))
    if query.threshold_alert and query.threshold_alert_level is None:
        found.append(("threshold_alert", "an objective, or a level of its own (above or below)", "neither"))
    elif query.threshold_alert and query.objective and query.threshold_alert_level:
        side, _ = query.threshold_alert_level
        if (side == ">") != query.breach_above:
            want = "above" if query.breach_above else "below"
            found.append(("threshold_alert", f"{want} (the breach's side)", "below" if side == "<" else "above"))
    if query.alert is None:
        return found
    if query.objective is None:
        found.append(("alert", "an objective to predict the breach of", "none"))
    if query.alert.clear >= query.alert.probability:
        want = f"clear below probability {query.alert.probability:g}"
        found.append(("alert.clear", want, f"{query.alert.clear:g}"))
    if query.alert.horizon is not None and query.alert.horizon not in query.horizons:
        want = "one of horizons " + ", ".join(map(format_duration, query.horizons))
        found.append(("alert.horizon", want, format_duration(query.alert.horizon)))
    if query.threshold_alert and query.threshold_alert.name == query.alert.name:
        found.append(("alert.name", "a name that differs from the threshold alert's", query.alert.name))
    return found


def loose_ends(catalogue: Catalogue) -> list[Contradiction]:
    """Every name in one section that another section does not have; the key is the whole path."""
    found = []
    for name, slo in catalogue.service_level_objectives.items():
        if slo.query is not None and (slo.query not in catalogue.queries or not catalogue.queries[slo.query].objective):
            found.append((f"service_level_objectives.{name}.query", "a query with an objective", slo.query))
    told = catalogue.notifications
    if told is None:
        return found
    for path, channel in _channels(catalogue):
        if channel not in told.channels:
            found.append((f"{path}.channel", f"one of the channels {', '.join(told.channels)}", channel))
    for name, service in catalogue.services.items():
        if service.experts and service.experts not in told.experts:
            found.append((f"services.{name}.experts", f"one of the experts {', '.join(told.experts)}", service.experts))
    return found


def _channels(catalogue: Catalogue) -> list[tuple[str, str]]:
    named = [(f"queries.{name}", one.channel) for name, one in catalogue.queries.items()]
    named += [(f"services.{name}", one.channel) for name, one in catalogue.services.items()]
    named += [(f"events.{name}", one.channel) for name, one in catalogue.events.items()]
    objectives = catalogue.service_level_objectives
    named += [(f"service_level_objectives.{name}", one.channel) for name, one in objectives.items()]
    return [*named, ("worker", catalogue.worker.channel)]
