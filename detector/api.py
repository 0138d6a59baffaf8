"""For notebooks and scripts: read series, forecast them, ask when they break their objective.

>>> from detector import Detector
>>> Detector.from_catalogue("day_trade", url="http://localhost:9090")
<Detector of http://localhost:9090 with ... queries of day_trade>

Everything that goes wrong is a `detector.errors.DetectorError` whose message says what to do next.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from detector.catalogue.check import endpoint_at, endpoint_of
from detector.catalogue.durations import format_duration
from detector.catalogue.load import load_catalogue
from detector.catalogue.schema import Catalogue, Endpoint, Query
from detector.errors import ConfigError, DetectorError, Problem, SourceError
from detector.outlook import FrameForecast
from detector.source import PrometheusSource
from detector.watched import Duration, Subject, WatchedFrame, seconds_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Detector", "FrameForecast", "Subject", "WatchedFrame"]

MAX_POINTS = 10_080
"""A week of minutes: no step is chosen that gives more points."""
STEPS = (60, 300, 900, 3600, 6 * 3600, 86400)
"""The steps to choose from, in seconds."""
PROMQL_WINDOW = 7 * 86400
_SELECTOR = re.compile(r"\s*([A-Za-z_:][A-Za-z0-9_:]*)\s*(?:\{|$)")

Moment = str | int | float | datetime
"""Unix seconds, a datetime or ISO 8601; a time without a zone is UTC."""


class Detector:
    """One Prometheus, and what is to be watched on it.

    Parameters
    ----------
    url
        Where Prometheus is, or an `Endpoint` of the catalogue with credentials, TLS and a timeout.
    catalogue
        The named queries that `fetch` knows; without one everything is PromQL.
    timezone
        Of the charts, an IANA name; the catalogue's where not given, else this machine's.

    Raises ConfigError for a URL that is none or an unknown time zone.
    """

    def __init__(self, url: str | Endpoint, *, catalogue: Catalogue | None = None, timezone: str | None = None) -> None:
        endpoint = endpoint_at(url) if isinstance(url, str) else url
        self.catalogue = catalogue
        self.timezone = timezone or (catalogue.settings.timezone if catalogue else None)
        _check_timezone(self.timezone)
        self._source = PrometheusSource(endpoint, max_series=catalogue.settings.max_series if catalogue else None)

    @classmethod
    def from_catalogue(
        cls, catalogue: str | Path | Catalogue | None = None, *, url: str | None = None, timezone: str | None = None
    ) -> Self:
        """A detector for a catalogue: a file, `day_trade`, `node_exporter`, or (not given) DETECTOR_CATALOGUE.

        `url` replaces the address in its settings. Raises ConfigError with all problems of the file.
        """
        loaded = catalogue if isinstance(catalogue, Catalogue) else load_catalogue(catalogue)
        endpoint = loaded.settings.prometheus if url is None else endpoint_of(url, loaded.settings)
        return cls(endpoint, catalogue=loaded, timezone=timezone)

    def __repr__(self) -> str:
        if self.catalogue is None:
            return f"<Detector of {self._source.url}>"
        origin = Path(self.catalogue.origin).stem if self.catalogue.origin else "a catalogue"
        return f"<Detector of {self._source.url} with {len(self.catalogue.queries)} queries of {origin}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to Prometheus."""
        self._source.close()

    def queries(self) -> pd.DataFrame:
        """What the catalogue watches, a row for each query. Raises ConfigError without a catalogue."""
        import pandas as pd

        if self.catalogue is None:
            raise ConfigError("there is no catalogue: use Detector.from_catalogue('day_trade', url=…)")
        rows = {
            query.name: {
                "description": query.description,
                "unit": query.unit,
                "objective": _objective_text(query),
                "step": format_duration(query.step),
                "history": format_duration(query.history),
                "service": query.service,
            }
            for query in self.catalogue.queries.values()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("query")

    def fetch(
        self, query: str, window: Duration | None = None, step: Duration | None = None, end: Moment | None = None
    ) -> WatchedFrame:
        """The series of a query of the catalogue, by its name, or of any PromQL expression.

        Parameters
        ----------
        window
            How much past; by default the query's own history, and 7d for PromQL.
        step
            By default the query's own, and for PromQL the finest of 1m, 5m, 15m, 1h … with at most 10,080 points.
        end
            The last moment; by default now.

        Raises:
        ------
        SourceError
            Prometheus is out of reach, or rejects the expression.
        DetectorError
            Nothing found; the message names what might have been meant.
        ConfigError
            A window, step or end that makes no sense.
        """
        known = self.catalogue.queries.get(query) if self.catalogue else None
        subject, span, grid = self._plan(query, known, window, step)
        last = int(_seconds_since_epoch(end) if end is not None else time.time()) // grid * grid
        frame = self._source.range(subject.expr, last - span, last, grid)
        if not frame.n:
            raise DetectorError(self._nothing(subject, span, known is not None))
        return WatchedFrame.of(frame, subject)

    def _plan(
        self, query: str, known: Query | None, window: Duration | None, step: Duration | None
    ) -> tuple[Subject, int, int]:
        default = known.history if known else PROMQL_WINDOW
        span = seconds_of(window, "window") if window is not None else default
        finest = known.step if known else choose_step(span)
        grid = finest if step is None else seconds_of(step, "step")
        if grid * 2 > span:
            raise ConfigError(Problem("", key="window", expected="several steps", got=f"{span}s at step {grid}s"))
        if known is not None:
            return Subject.of_query(known, self.timezone or "UTC"), span, grid
        return Subject(query, query, timezone=self.timezone), span, grid

    def _nothing(self, subject: Subject, span: int, known: bool) -> str:
        what = (
            f"Prometheus at {self._source.url} has no series for {subject.expr!r} in the last {format_duration(span)}"
        )
        if known:
            return f"{what}; is the exporter of {subject.name} scraped? (`detector check-config --against URL`)"
        close = self._suggest(subject.expr)
        hint = f"did you mean {close}?" if close else "look at the metric's name and labels, or take a longer window"
        return f"{what}; {hint}"

    def _suggest(self, expr: str) -> str | None:
        """A query or metric whose name is like that of the expression, where that is a plain selector."""
        found = _SELECTOR.match(expr)
        if found is None:
            return None
        names = list(self.catalogue.queries) if self.catalogue else []
        with contextlib.suppress(SourceError):
            names += self._source.metric_names()
        close = [name for name in difflib.get_close_matches(found[1], names, n=1, cutoff=0.7) if name != found[1]]
        return repr(close[0]) if close else None


def choose_step(span: int) -> int:
    """The finest step that gives a window no more than MAX_POINTS points.

    >>> [choose_step(days * 86400) for days in (1, 7, 14, 90)]
    [60, 60, 300, 900]
    """
    return next((step for step in STEPS if span <= step * MAX_POINTS), STEPS[-1])


def _objective_text(query: Query) -> str:
    if query.threshold is None:
        return ""
    return f"{'below' if query.breach_above else 'above'} {query.threshold:g}"


def _check_timezone(name: str | None) -> None:
    try:
        if name is not None:
            ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            Problem("", key="timezone", expected="an IANA time zone such as UTC or Asia/Tokyo", got=repr(name))
        ) from None


def _seconds_since_epoch(moment: Moment) -> float:
    try:
        value = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        expected = "unix seconds, a datetime or ISO 8601"
        raise ConfigError(Problem("", key="end", expected=expected, got=repr(moment))) from None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value)
