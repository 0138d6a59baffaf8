"""One cycle: history, forecast, verdict, push. The only module that knows all the stages.

A cycle depends on its slot and the data alone: the same slot computed again, by whichever process, pushes the same
bytes. Shapes: n series.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from detector import conventions as names
from detector.catalogue import Catalogue, Query
from detector.clock import column_of, slots_to_decide, unit_of
from detector.cycle import (
    FORECAST,
    QUANTILES,
    CycleResult,
    alert_chance,
    error_kind,
    failure_samples,
    render_samples,
    samples,
)
from detector.errors import DetectorError, SinkError, SourceUnavailable, StateError, TooManySeries
from detector.fitting import Fittings, MakeForecaster, make_forecaster, restore_forecaster, select_at_horizons
from detector.frame import SeriesFrame
from detector.groups import Groups
from detector.interfaces import ForecasterLike, HistoryLike, Source
from detector.notices import tell
from detector.outcomes import Outcomes
from detector.registers import Registers
from detector.remarks import RangeWatch
from detector.scorekeeper import Scorekeeper, Standing
from detector.showing import show
from detector.sink import Sink
from detector.store import Store
from detector.telemetry import Telemetry
from detector.verdict import DataState, Register, data_states, policy_of

log = logging.getLogger(__name__)

GONE_SECONDS = 86400
"""A series without a point for longer than this (and than twelve steps) has left; it is not published any more."""

ONE_SHARD = "0"


class EngineError(DetectorError):
    """The arithmetic failed on one query's data: a fault of ours, its traceback is in the log."""


class Worker:
    """Computes and publishes the queries of a catalogue.

    Args:
        catalogue: what to watch.
        source: Prometheus; asked only whether it is there.
        store: where alert states are kept between runs.
        sinks: where results go; none publishes nothing.
        history: where the data come from; ``History(source, store)`` when not given.
        forecaster: builds the engine for a query.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        source: Source,
        store: Store,
        sinks: Sequence[Sink] = (),
        *,
        history: HistoryLike | None = None,
        forecaster: MakeForecaster = make_forecaster,
    ) -> None:
        if history is None:
            from detector.history import History

            history = History(source, store)  # type: ignore[arg-type]
        self.catalogue = catalogue
        self.telemetry = Telemetry()
        self._source = source
        self._history = history
        self._outcomes = Outcomes(history)
        self._store = store
        self.sinks = list(sinks)
        restore = restore_forecaster if forecaster is make_forecaster else None
        self._fittings = Fittings(catalogue.settings.refit, forecaster, store, restore)
        self._scores = Scorekeeper(store)
        self._groups = Groups(store, catalogue)
        self._registers = Registers(store)
        self._ranges = RangeWatch()

    def run_slot(self, slot: int, queries: Sequence[str] | None = None) -> list[CycleResult]:
        """Run the queries (those that have a slot then) one after another; one that fails does not stop the others."""
        results: list[CycleResult] = []
        outage: SourceUnavailable | None = None
        if queries is None:
            queries = [query.name for query in self.catalogue.queries.values() if slot % query.every == 0]
        for name in sorted(queries, key=lambda name: self.catalogue.query(name).alert is None):  # alerts come first
            result = self.run_query(name, slot, outage=outage)
            results.append(result)
            if outage is None and isinstance(result.error, SourceUnavailable) and not self._source.ready():
                outage = result.error  # every further query would only wait for the same timeout
        return results

    def run_query(
        self, name: str, slot: int, shard: str = ONE_SHARD, *, outage: SourceUnavailable | None = None
    ) -> CycleResult:
        """Compute and publish one query at one slot. Never raises for what can be said in the result."""
        query = self.catalogue.query(name)
        result = CycleResult(query, slot, shard)
        register = self._registers.load(query, shard, slot)
        if register.is_past(slot, query.every):
            result.superseded = True
            return result
        register = register.as_of(slot, query.every, policy_of(query))
        decided: tuple[Register, Standing] | None = None
        try:
            if outage is not None:
                raise outage
            found = self._compute(result, register)
            result.body = render_samples(samples(result))
            decided = found
        except Exception as error:
            result.error = self._explain(result, error)
            result.body = render_samples(failure_samples(result, register))
        with self._registers.alone(query, shard, slot) as overtaken:
            result.superseded = overtaken
            if decided is not None and not result.superseded:
                self._save(*decided, result)
            self.publish(result)
            if decided is not None and not result.superseded:
                tell(result)
                self._ranges.look(result)
            if not result.superseded and result.state_error is None:  # a store that hangs is not waited for again
                with _kept_in_memory(result, "curves and figures for `detector serve`"):
                    show(self._store, result)
        self.telemetry.record(result, self._fittings.refits.get(name, 0))
        return result

    def publish(self, result: CycleResult) -> None:
        """Push a result's body as its whole group; what went wrong is left in ``result.push_error``.

        The log tells a failure once, however often the push of a result is repeated, and when it went through.
        """
        before, result.push_error = result.push_error, None
        if not self.sinks or result.superseded:
            return
        with _timed(result, "push"):
            try:
                self._push(result.group, result.body)
            except SinkError as error:
                result.push_error = error
        if result.push_error is None:
            if before is not None:
                log.info("pushed after all", extra=result.about)
        elif str(result.push_error) != str(before):
            log.error(str(result.push_error), extra={**result.about, "error": error_kind(result.push_error)})
        self.telemetry.pushed(result.query.name, ok=result.push_error is None)

    def flush(self) -> None:
        """Save the history read so far, so that a restart fetches only the gap."""
        self._history.flush()

    def publish_telemetry(self, process: str = ONE_SHARD) -> None:
        """Push the worker's own metrics as a group of their own; the queries' pushes tell of a gateway that fails."""
        try:
            self._push({names.SHARD: f"worker-{self._groups.owner}-{process}"}, self.telemetry.body())
        except SinkError as error:
            log.debug("own metrics were not pushed: %s", error)
        self.tidy()

    def tidy(self) -> None:
        """Delete from the gateways, now and then, what this catalogue's workers left there."""
        self._groups.tidy(self.sinks)

    def _push(self, group: dict[str, str], body: bytes) -> None:
        if self.sinks:
            self._groups.note(group)
        for sink in self.sinks:
            sink.push(group, body)

    def _compute(self, result: CycleResult, register: Register) -> tuple[Register, Standing]:
        """Fill in the result; returns the register after the slot and how earlier forecasts did."""
        query, slot = result.query, result.slot
        with _timed(result, "fetch"):
            frame = self._frame(query, result.shard, slot)
        result.frame = frame
        with _timed(result, "score"):
            standing = self._scores.standing(query, result.shard, frame, column_of(query, slot))
        result.quality = standing.quality
        result.fired = frozenset(row for row, key in enumerate(standing.series) if register.of(key).firing)
        before = register.slot
        with _timed(result, "forecast"):
            for at in slots_to_decide(query, register.slot, slot)[:-1]:
                register = self._replay(result, frame, standing, register, at)
            self._forecast(result, frame, standing, before)
        quiet = np.zeros(len(result.states))
        chance = quiet if result.probability is None else alert_chance(query, result.probability)
        register = register.after(
            slot, policy_of(query), standing.series, newest=frame.newest, probability=chance, data=result.states
        )
        result.decisions = [register.of(key) for key in standing.series]
        return register, standing

    def _frame(self, query: Query, shard: str, slot: int) -> SeriesFrame:
        """The history of the series that are there, a little longer than the models learn from."""
        more = self.catalogue.settings.refit + (query.alert.hold if query.alert else 1) * unit_of(query)
        reading = query.model_copy(update={"history": query.history + -(-more // query.step) * query.step})
        frame = self._history.window(reading, shard, column_of(query, slot))
        cap = self.catalogue.settings.max_series
        if frame.n > cap:
            raise TooManySeries(expected=cap, got=frame.n, expr=query.expr)
        frame = self._outcomes.of(query, shard, column_of(query, slot), frame)
        newest = frame.newest
        there = newest > column_of(query, slot) - max(GONE_SECONDS, 12 * frame.step)
        there &= newest >= frame.start
        return frame if there.all() else frame.select(there)

    def _forecast(self, result: CycleResult, frame: SeriesFrame, standing: Standing, before: int) -> None:
        query = result.query
        result.now = frame.now
        if not frame.n:
            return
        forecaster = self._fittings.at(query, result.shard, frame, column_of(query, result.slot))
        result.states = _states(query, frame, result.slot, forecaster, standing)
        result.forecast = forecaster.forecast()
        result.curve = result.forecast.quantile(list(QUANTILES))
        result.values = select_at_horizons(result.forecast, result.curve, query.horizons)
        since = column_of(query, before) if before >= 0 else column_of(query, result.slot - query.every)
        back = min(max((column_of(query, result.slot) - since) // query.step, 1), frame.T - 1)
        scores = forecaster.scores(back + 1, query.detection_direction)
        result.scores = scores[:, -1]
        shown = np.array([state in FORECAST for state in result.states])
        result.onsets = frozenset(np.flatnonzero(shown & (scores[:, -1] >= 1) & ~(scores[:, 0] >= 1)).tolist())
        if query.threshold is not None:
            result.breach = result.forecast.breach(query.threshold, query.breach_above, query.breach.run)
            result.probability = result.breach.probability_within(list(query.horizons))
            result.time_to = result.breach.time_to(list(QUANTILES))

    def _replay(
        self, result: CycleResult, frame: SeriesFrame, standing: Standing, register: Register, slot: int
    ) -> Register:
        """Decide an earlier slot as it would have been decided then: with no data later than itself."""
        query = result.query
        if query.threshold is None or not frame.n:
            return register
        then = frame.slice_time(frame.start, column_of(query, slot))
        forecaster = self._fittings.at(query, result.shard, then, column_of(query, slot))
        states = _states(query, then, slot, forecaster, standing)
        breach = forecaster.forecast().breach(query.threshold, query.breach_above, query.breach.run)
        chance = alert_chance(query, breach.probability_within(list(query.horizons)))
        return register.after(
            slot, policy_of(query), standing.series, newest=then.newest, probability=chance, data=states
        )

    def _explain(self, result: CycleResult, error: Exception) -> DetectorError:
        fields = {**result.about, "error": error_kind(error)}
        if isinstance(error, DetectorError):
            log.error(str(error), extra=fields)
            return error
        self._fittings.forget(result.query.name)
        log.exception("the engine failed on this query", extra=fields)
        return EngineError(f"query {result.query.name!r}: the engine failed: {type(error).__name__}: {error}")

    def _save(self, register: Register, standing: Standing, result: CycleResult) -> None:
        query, shard, at = result.query, result.shard, column_of(result.query, result.slot)
        with _kept_in_memory(result, "alert states"):
            self._registers.save(query, shard, register)
        with _kept_in_memory(result, "scores"):
            self._scores.remember(query, shard, at, standing, result.published)


def _states(
    query: Query, frame: SeriesFrame, slot: int, forecaster: ForecasterLike, standing: Standing
) -> list[DataState]:
    newest = frame.newest
    ages = np.where(newest < frame.start, np.inf, (column_of(query, slot) - newest) // frame.step)
    return data_states(ages, forecaster.state, standing.lost)


@contextmanager
def _kept_in_memory(result: CycleResult, what: str) -> Iterator[None]:
    try:
        yield
    except StateError as error:
        result.state_error = error
        log.error("%s are kept in memory only: %s", what, error, extra=result.about)


@contextmanager
def _timed(result: CycleResult, stage: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        result.seconds[stage] = result.seconds.get(stage, 0.0) + time.perf_counter() - began
