"""What Prometheus answered, checked and turned into arrays: bytes in, a frame or one of our errors out."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from detector.errors import BadResponse, PartialData, QueryRejected, SourceUnavailable, TooManySeries
from detector.frame import LabelKey, SeriesFrame, label_key
from detector.http import Answer

_REJECTED = {"bad_data", "execution"}
"""The `errorType`s that blame the expression; the others blame the server or the moment."""
_HARMLESS = "PromQL info:"
"""How Prometheus 2 marks a remark that is no warning."""
SLIP = 1e-3
"""How far, in steps, a point may stand from its column: Prometheus writes times in milliseconds."""
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)


def decode(answer: Answer, *, url: str, expr: str | None = None) -> Any:
    """The `data` of an API answer. Raises SourceError for every answer that is not a plain success."""
    where = f"Prometheus at {url}"
    envelope: Any = None
    try:
        envelope = loads(answer.body)
    except orjson.JSONDecodeError as error:
        if answer.status == 200:
            raise BadResponse(f"{where}: expected JSON, got {answer.text[:120]!r} ({error})") from error
    if not isinstance(envelope, dict):
        envelope = {}
    said = str(envelope.get("error") or f"HTTP {answer.status} {answer.text[:120]}".strip())
    kind = str(envelope.get("errorType") or "")
    if kind in _REJECTED and answer.status in (200, 400, 422):
        raise QueryRejected(f"Prometheus rejected the query: {said}", expr=expr)
    if answer.status in (401, 403, 407):
        raise SourceUnavailable(f"{where} refused our credentials: {said}")
    if answer.status in (408, 429) or answer.status >= 500 or envelope.get("status") == "error":
        raise SourceUnavailable(f"{where} cannot answer now: {said}")
    if answer.status != 200:
        target = answer.headers.get("Location")
        raise BadResponse(f"{where} has no query API there: {said}" + (f" (moved to {target})" if target else ""))
    if envelope.get("status") != "success" or "data" not in envelope:
        raise BadResponse(f"{where}: expected an API answer, got {answer.text[:120]!r}")
    _refuse_warnings(envelope.get("warnings"), where)
    return envelope["data"]


def parse_matrix(
    data: Any, start: int, end: int, step: int, *, max_series: int | None = None, expr: str | None = None
) -> SeriesFrame:
    """The `data` of a range query as a frame from start to end. Raises SourceError for anything else."""
    result = _result(data, ("matrix",), expr)
    if max_series is not None and len(result) > max_series:
        raise TooManySeries(expected=max_series, got=len(result), expr=expr)
    try:
        keys = [_labels(entry, expr) for entry in result]
        values = _grid([entry["values"] for entry in result], start, end, step)
    except _MALFORMED as error:
        raise BadResponse(f"Prometheus answered with series of an unknown shape: {error!r:.200}") from error
    order = sorted(range(len(keys)), key=keys.__getitem__)
    if len(set(keys)) < len(keys):
        raise QueryRejected("some series differ in their metric name only; aggregate or select one", expr=expr)
    return SeriesFrame(values[order], tuple(dict(keys[row]) for row in order), start, step)


def parse_instant(data: Any, *, expr: str | None = None) -> list[tuple[dict[str, str], float]]:
    """The `data` of an instant query: labels (with `__name__`) and value. Raises SourceError."""
    result = _result(data, ("vector", "scalar"), expr)
    try:
        if data["resultType"] == "scalar":
            return [({}, float(result[1]))]
        for entry in result:
            _labels(entry, expr)
        return [(dict(entry["metric"]), float(entry["value"][1])) for entry in result]
    except _MALFORMED as error:
        raise BadResponse(f"Prometheus answered with elements of an unknown shape: {error!r:.200}") from error


def excerpt(data: Any) -> str:
    """The beginning of anything, for a message."""
    return f"{data!r:.120}"


def _refuse_warnings(said: Any, where: str) -> None:
    found = said if isinstance(said, list) else [said] if said else []
    serious = [str(warning) for warning in found if not str(warning).startswith(_HARMLESS)]
    if serious:
        raise PartialData(f"{where} warns, so its data may be partial: {'; '.join(serious)}")


def _result(data: Any, kinds: tuple[str, ...], expr: str | None) -> list[Any]:
    kind = data.get("resultType") if isinstance(data, dict) else None
    if kind in ("matrix", "vector", "scalar", "string") and kind not in kinds:
        raise QueryRejected(f"expected a result of type {' or '.join(kinds)}, got {kind}", expr=expr)
    result = data.get("result") if kind in kinds else None
    if not isinstance(result, list):
        raise BadResponse(f"Prometheus answered without a list of series: {excerpt(data)}")
    return result


def _labels(entry: Any, expr: str | None) -> LabelKey:
    """The labels of one series without `__name__`. Raises QueryRejected for a native histogram."""
    if "histogram" in entry or "histograms" in entry:
        raise QueryRejected("the result is a native histogram; take a number of it (histogram_quantile, …)", expr=expr)
    labels = entry["metric"]
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise TypeError(f"labels are no texts: {excerpt(labels)}")
    return tuple(pair for pair in label_key(labels) if pair[0] != "__name__")


def loads(body: bytes) -> Any:
    """JSON of the API, with the points of every series as float64 [k, 2] where they have their usual form.

    Points are nearly all of a large answer: taken out as bytes and converted by numpy at once, they cost
    a fraction of what a general parser does. Everything unusual goes the general way.
    """
    pieces: list[bytes] = []
    sections: list[bytes] = []
    place = 0
    while (begin := body.find(_POINTS, place)) >= 0:
        end = body.find(b"]]", begin)
        if end < 0:
            return orjson.loads(body)
        pieces += [body[place : begin + len(_POINTS) - 2], str(len(sections)).encode()]
        sections.append(body[begin + len(_POINTS) - 1 : end + 1])
        place = end + 2
    if sections:
        try:
            return _refill(orjson.loads(b"".join([*pieces, body[place:]])), sections)
        except _MALFORMED:
            return orjson.loads(body)
    return orjson.loads(body)


_POINTS = b'"values":[['


def _refill(envelope: Any, sections: list[bytes]) -> Any:
    """Put the points back in place of their numbers. Raises one of `_MALFORMED` where they do not fit."""
    counts = [section.count(b"],[") + 1 for section in sections]
    if any(section.count(b'"') != 2 * count for section, count in zip(sections, counts, strict=True)):
        raise ValueError("a point is not a pair of time and quoted value")
    flat = np.array(b",".join(sections).translate(None, b'[]"').split(b","), dtype=np.float64)
    if flat.size != 2 * sum(counts):
        raise ValueError("a point is not a pair of time and value")
    points = np.split(flat.reshape(-1, 2), np.cumsum(counts)[:-1])
    entries = envelope["data"]["result"]
    if [entry["values"] for entry in entries] != list(range(len(sections))):
        raise ValueError("the points do not stand in the series")
    for entry, its_points in zip(entries, points, strict=True):
        entry["values"] = its_points
    return envelope


def _grid(series: list[Any], start: int, end: int, step: int) -> NDArray[np.float64]:
    """The points of every series as float64 [n, T], all in one conversion."""
    T = (end - start) // step + 1
    values = np.full((len(series), T), np.nan)
    if not any(len(one) for one in series):
        return values
    times, numbers = _columns(series)
    places = (times - start) / step
    if not np.isfinite(places).all():
        raise ValueError("a point has no time")
    columns = np.rint(places)
    if not np.all(np.abs(places - columns) < SLIP) or columns.min() < 0 or columns.max() >= T:
        raise ValueError(f"a point is off the grid from {start} to {end} every {step}s")
    numbers[np.isinf(numbers)] = np.nan
    rows = np.repeat(np.arange(len(series)), [len(one) for one in series])
    values[rows, columns.astype(np.int64)] = numbers
    return values


def _columns(series: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and values of all points in turn, from arrays or from lists of [seconds, "value"]."""
    if all(isinstance(one, np.ndarray) for one in series):
        flat = np.concatenate(series)
        return flat[:, 0], flat[:, 1].copy()
    points = list(chain.from_iterable(series))
    if set(map(len, points)) != {2}:
        raise ValueError("a point is not a pair of time and value")
    plain = list(chain.from_iterable(points))
    return np.array(plain[::2], dtype=np.float64), np.array(plain[1::2], dtype=np.float64)
