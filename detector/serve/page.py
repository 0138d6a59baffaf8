"""The status page: every query, what it is now, what is expected, how likely a breach is and when."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo

from detector import __version__
from detector.reasons import reason
from detector.serve.shelf import Place, Shelf
from detector.showing import Line, Showing
from detector.wording import NOTHING, labels_text, level_text, probability_text, span_text, split_common, value_text

SHOWN = 12
"""Series of a query that are listed, the most worrying first; the others are counted."""
LIKELY, POSSIBLE = 0.8, 0.2
REFRESH_SECONDS = 30

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; --bad: #c22; --warn: #b70; --good: #283; }
@media (prefers-color-scheme: dark) { :root { --dim: #999; --bad: #f66; --warn: #fb4; --good: #6c7; } }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.25rem; margin: 0; } h2 { font-size: 1rem; margin: 1.6rem 0 .2rem; }
p { margin: .1rem 0; } .dim { color: var(--dim); } .bad { color: var(--bad); font-weight: 600; }
.why { margin-top: .3rem; max-width: 60rem; } .warn { color: var(--warn); } .good { color: var(--good); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 500; color: var(--dim); } th:first-child, td:first-child { text-align: left; white-space: normal; }
"""


def status_page(shelf: Shelf, now: float) -> str:
    """The page as HTML. ``now``: unix seconds."""
    settings = shelf.catalogue.settings
    zone = ZoneInfo(settings.timezone)
    places = shelf.places
    computed = {place.query.name for place in places}
    waiting = [name for name in shelf.catalogue.queries if name not in computed]
    body = [*_summary(shelf, places, waiting, now, zone)]
    for place in sorted(places, key=_calm):
        if place.showing is not None:
            body += _query(place, place.showing, now, zone)
    if waiting:
        body.append(f'<h2>Not computed yet</h2><p class="dim">{escape(", ".join(waiting))}</p>')
        body.append(
            '<p class="why">No cycle of the worker has left anything of these here: is it running, with the same '
            "store? The first cycle learns and takes longest.</p>"
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>detector: {escape(settings.environment)}'
        f'</title><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" '
        f'content="{REFRESH_SECONDS}"><style>{_STYLE}</style></head><body>{"".join(body)}</body></html>'
    )


def _summary(shelf: Shelf, places: Sequence[Place], waiting: list[str], now: float, zone: ZoneInfo) -> Iterator[str]:
    firing = sum(line.firing for place in places if place.showing for line in place.showing.lines)
    series = sum(len(place.showing.lines) for place in places if place.showing)
    late = sum(_is_late(place.showing, now) for place in places if place.showing)
    failed = sum(bool(place.showing.error) for place in places if place.showing)
    settings = shelf.catalogue.settings
    time = datetime.fromtimestamp(now, zone)
    yield f"<h1>detector · {escape(settings.environment)}</h1>"
    yield f'<p class="dim">{time:%a %Y-%m-%d %H:%M:%S %Z} · version {__version__}</p>'
    facts = [f"{_count(len(places), 'query', 'queries')}, {series} series"]
    alerts = _count(firing, "predictive alert", "predictive alerts")
    facts.append(_tagged("bad", alerts) if firing else _tagged("good", "no predictive alert"))
    facts += [_tagged("bad", f"{failed} failed")] if failed else []
    facts += [_tagged("warn", f"{late} late")] if late else []
    facts += [f"{len(waiting)} not computed yet"] if waiting else []
    yield f"<p>{' · '.join(facts)}</p>"
    if shelf.problem:
        yield f'<p class="bad">The worker’s store cannot be read: {escape(shelf.problem)}</p>'


def _query(place: Place, showing: Showing, now: float, zone: ZoneInfo) -> Iterator[str]:
    query = place.query
    slot = datetime.fromtimestamp(showing.slot, zone)
    age = f"{span_text(max(0.0, now - showing.slot))} ago" if now - showing.slot >= 1 else "now"
    newest = f"newest slot {slot:%H:%M:%S}, {age}"
    shard = f" · shard {escape(place.shard)}" if place.shard != "0" else ""
    yield f"<h2>{escape(query.name)}</h2><p class='dim'>{escape(query.description or query.expr)}</p><p class='dim'>"
    if query.threshold is not None:
        side = "below" if query.breach_above else "above"
        yield f"objective: {side} {escape(level_text(query.threshold, query.unit))} · "
    late = _is_late(showing, now)
    yield (_tagged("warn", f"late: {newest}") if late else escape(newest)) + f"{shard}</p>"
    if late:
        yield _why("late", "these forecasts are no longer valid and raise no alert; is the worker running?")
    if showing.error:
        yield f'<p class="bad">error: {escape(showing.error)}</p>'
        return
    if not showing.lines:
        yield _why("no_data", reason("no_data", query))
        return
    yield from _table(place, showing)


def _table(place: Place, showing: Showing) -> Iterator[str]:
    lines = sorted(showing.lines, key=_worry)
    common, own = split_common([line.labels for line in lines])
    common.pop("__name__", None)
    if common:
        yield f'<p class="dim">{escape(labels_text(common))}</p>'
    heads = ["series", "now", *(f"in {horizon}" for horizon in showing.horizons)]
    if place.query.threshold is not None:
        heads += [*(f"P in {horizon}" for horizon in showing.horizons), "time to breach"]
    yield '<div class="scroll"><table><tr>' + "".join(f"<th>{escape(one)}</th>" for one in [*heads, "state"]) + "</tr>"
    for line, labels in list(zip(lines, own, strict=True))[:SHOWN]:
        labels.pop("__name__", None)
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in _cells(place, showing, line, labels_text(labels)))
        yield "</tr>"
    yield "</table></div>"
    if len(lines) > SHOWN:
        yield f'<p class="dim">and {len(lines) - SHOWN} more</p>'
    for state, number in sorted(Counter(line.state for line in lines).items()):
        if why := reason(state, place.query):
            yield _why(f"{state} ({number} of {len(lines)})", why)


def _cells(place: Place, showing: Showing, line: Line, name: str) -> Iterator[str]:
    unit, width = place.query.unit, len(showing.horizons)
    yield escape(name)
    for value in [line.now, *(line.median or [None] * width)]:
        yield NOTHING if value is None else escape(value_text(value, unit))
    if place.query.threshold is not None:
        for chance in line.probability or [None] * width:
            yield NOTHING if chance is None else _chance(chance)
        yield _time(line, showing)
    if line.firing:
        yield _tagged("bad", f"ALERT · {line.state}")
    else:
        yield _tagged("good" if line.state == "ok" else "warn", line.state)


def _chance(chance: float) -> str:
    style = "bad" if chance >= LIKELY else "warn" if chance >= POSSIBLE else "dim"
    return _tagged(style, probability_text(chance))


def _time(line: Line, showing: Showing) -> str:
    if len(line.time_to) < 3 or None in line.time_to:
        return NOTHING
    early, middle, late = (float("inf") if one is None or one < 0 else one for one in line.time_to)
    if early == float("inf"):
        return _tagged("dim", f"not within {showing.horizons[-1]}")
    beyond = f"> {showing.horizons[-1]}"
    first, second, third = (span_text(one) if one != float("inf") else beyond for one in (early, middle, late))
    return f"{escape(second)} {_tagged('dim', f'({first} … {third})')}"


def _calm(place: Place) -> int:
    """The order of the queries: predictive alerts, then errors, then as in the catalogue."""
    if place.showing is None:
        return 2
    return 0 if any(line.firing for line in place.showing.lines) else 1 if place.showing.error else 2


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _worry(line: Line) -> tuple[bool, float, bool, str]:
    """The order of the lines: alerts, then by probability, then what is not ok."""
    chance = max((one for one in line.probability if one is not None), default=0.0)
    return not line.firing, -chance, line.state == "ok", labels_text(line.labels)


def _is_late(showing: Showing, now: float) -> bool:
    return now > showing.valid_until


def _why(state: str, reason: str) -> str:
    """A line that says what a state means and what to do."""
    text = re.sub("`([^`]+)`", r"<code>\1</code>", escape(reason))
    return f'<p class="why">{_tagged("warn", state)}: {text}</p>'


def _tagged(style: str, text: str) -> str:
    return f'<span class="{style}">{escape(text)}</span>'
