"""Write what is known of a watch for Prometheus: each clock with one label, its stream, and the watch itself.

What was not observed has no point: nothing stands for 0. No label names a run, an epoch or a worker, so that no series
ends when one of these changes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from harness.model.watched import StreamState
from harness.store.watch_figures import ClockFigures, WatchFigures

PREFIX = "ptp_harness_watch"
MOST_CLOCKS = 5_000
"""With more streams than these, the clocks themselves are left out: remote write has their samples."""

_MOST_LIMITS = 40
_FIGURES: Mapping[str, tuple[str, str]] = {
    "offset_ns": ("offset_seconds", "System clock minus PHC, at the latest tick."),
    "offset_median_ns": ("offset_median_seconds", "The size of the offset that half of the latest minute's exceed."),
    "offset_max_ns": ("offset_max_seconds", "The largest size of the offset in the latest minute."),
    "chrony_offset_ns": ("chrony_offset_seconds", "The last offset of chronyd."),
    "chrony_bound_ns": ("chrony_bound_seconds", "The bound of chronyd of the system clock's error."),
    "device_bound_ns": ("device_bound_seconds", "The card's own bound of its error."),
    "error_bound_ns": ("error_bound_seconds", "The bound of chronyd and the card's together."),
    "opinion_ns": ("opinion_seconds", "System clock minus the second opinion."),
    "follows_phc": ("follows_phc", "Whether chronyd has selected the PHC."),
    "read_success": ("read_success_ratio", "The part of the readings of the PHC that succeeded."),
    "bound_refuted_ticks": ("bound_refuted_ticks", "Ticks of the latest window at which the bound was refuted."),
    "seen_ticks": ("seen_ticks", "Ticks of the latest window with a sample."),
    "missed_ticks": ("missed_ticks", "Ticks of the latest window without one."),
}
"""The figures of a clock that are written: the name of each, and its meaning. Those in ns are written in seconds."""


def write_watch(figures: WatchFigures, read_ago_s: float) -> Iterator[Metric]:
    """Write the metrics of a watch whose figures were read so long ago; none where nothing is watched."""
    if not figures.clocks and not figures.workers:
        return
    yield _gauge("figures_age_seconds", "Age of the figures of the watch.", (), [((), read_ago_s)])
    yield from _write_clocks(figures.clocks, read_ago_s)
    yield from _write_workers(figures)
    yield from _write_work(figures, read_ago_s)
    yield from _write_senders(figures, read_ago_s)


def write_retries(retries: Mapping[str, int]) -> Iterator[Metric]:
    """Write how often this process made a transaction of the ledger again, by cause."""
    points = [((cause.replace(" ", "_"),), number) for cause, number in retries.items()]
    yield _counter("ledger_retries", "Transactions that were made again.", ("cause",), points)


def write_worker(snapshot: Mapping[str, Any]) -> Iterator[Metric]:
    """Write the metrics of one worker, which it serves itself, from its `snapshot`. Unknown keys are left out."""
    for key, (name, meaning) in _WORKER_GAUGES.items():
        value = _number(snapshot.get(key))
        if value is not None:
            yield _gauge(name, meaning, (), [((), value)])
    for key, (name, meaning) in _WORKER_COUNTERS.items():
        value = _number(snapshot.get(key))
        if value is not None:
            yield _counter(name, meaning, (), [((), value)])
    streams = snapshot.get("streams")
    if isinstance(streams, Mapping):
        yield _gauge("worker_streams", "Streams that this worker has.", (), [((), len(streams))])
    failures = snapshot.get("failures")
    if isinstance(failures, Mapping):
        points = [((f"{cause}",), _number(number) or 0.0) for cause, number in failures.items()]
        yield _counter("worker_ledger_failures", "Calls of the ledger that failed.", ("cause",), points)
    circuit = snapshot.get("circuit")
    if isinstance(circuit, str):
        states = [((each,), float(each == circuit)) for each in ("closed", "open", "half-open")]
        yield _gauge("worker_circuit", "The circuit to the ledger: 1, and 0 for the others.", ("state",), states)


_WORKER_GAUGES = {
    "local_mode": ("worker_local_mode", "Whether the ledger is away, and samples are spooled."),
    "away_s": ("worker_ledger_away_seconds", "Since when the ledger is away."),
    "load": ("worker_load", "The part of a core that this worker used of late."),
    "lag_s": ("worker_lag_seconds", "How late its event loop was of late."),
    "cpu_us_per_tick": ("worker_tick_microseconds", "Processor time of a tick."),
    "waiting": ("worker_waiting_chunks", "Chunks that wait for the ledger."),
    "spooled_chunks": ("worker_spooled_chunks", "Chunks in the spool."),
    "spooled_bytes": ("worker_spooled_bytes", "Size of the spool."),
}
_WORKER_COUNTERS = {
    "ticks": ("worker_ticks", "Ticks that it asked for."),
    "stored_chunks": ("worker_stored_chunks", "Chunks that it stored."),
    "replayed_chunks": ("worker_replayed_chunks", "Chunks that it stored after they were spooled."),
    "spool_thinned": ("worker_spool_thinned_chunks", "Chunks of a full spool of which a part of the ticks was kept."),
    "spool_dropped": ("worker_spool_dropped_chunks", "Chunks of a full spool that were given up."),
    "lost_chunks": ("worker_lost_chunks", "Chunks that were lost."),
}


def _write_clocks(clocks: Sequence[ClockFigures], read_ago_s: float) -> Iterator[Metric]:
    counts = {state: sum(clock.state is state for clock in clocks) for state in StreamState}
    points = [((state.value,), number) for state, number in counts.items()]
    yield _gauge("streams", "Streams, by the state of their clocks.", ("state",), points)
    left_out = len(clocks) if len(clocks) > MOST_CLOCKS else 0
    yield _gauge("clocks_left_out", "Clocks that are too many to be written here.", (), [((), left_out)])
    if left_out:
        return
    states = [((clock.stream, state.value), float(state is clock.state)) for clock in clocks for state in StreamState]
    yield _gauge("clock_state", "The state of a clock: 1, and 0 for the others.", ("stream", "state"), states)
    reasons = [((clock.stream, clock.reason.value), 1.0) for clock in clocks if clock.reason is not None]
    yield _gauge("clock_reason", "Why a clock has its state: 1.", ("stream", "reason"), reasons)
    ages = [((clock.stream,), clock.age_s + read_ago_s) for clock in clocks if clock.age_s is not None]
    yield _gauge("clock_sample_age_seconds", "Since the latest word about a clock came.", ("stream",), ages)
    for key, (name, meaning) in _FIGURES.items():
        scale = 1e9 if key.endswith("_ns") else 1.0
        values = ((clock.stream, _number(clock.figures.get(key))) for clock in clocks)
        known = [((stream,), value / scale) for stream, value in values if value is not None]
        yield _gauge(f"clock_{name}", meaning, ("stream",), known)
    yield _gauge(
        "clock_beyond_limit_ratio",
        "The part of the latest window's ticks that is beyond a limit.",
        ("stream", "quantity", "statistic"),
        [point for clock in clocks for point in _read_limits(clock)],
    )


def _read_limits(clock: ClockFigures) -> Iterator[tuple[tuple[str, ...], float]]:
    """Read which part of the ticks is beyond each limit; a limit for which no tick was seen has none."""
    limits = clock.figures.get("limits")
    told = set()
    for limit in limits[:_MOST_LIMITS] if isinstance(limits, list) else ():
        if not isinstance(limit, Mapping):
            continue
        name = (clock.stream, f"{limit.get('quantity')}"[:64], f"{limit.get('statistic')}"[:64])
        beyond, points = _number(limit.get("beyond")), _number(limit.get("points"))
        if beyond is not None and points and name not in told:
            told.add(name)
            yield name, beyond / points


def _write_workers(figures: WatchFigures) -> Iterator[Metric]:
    states = ("alive", "draining", "silent")
    points = [((state,), figures.workers.get(state, 0)) for state in states]
    yield _gauge("workers", "Workers, by whether their lease goes on.", ("state",), points)
    yield _gauge("led", "Whether a process leads the watch.", (), [((), float(figures.is_led))])
    yield _gauge("capacity", "The weight that the workers can carry.", (), [((), figures.capacity)])
    yield _gauge("weight", "The weight of all streams.", (), [((), figures.weight)])
    if figures.most_load is not None:
        yield _gauge("worker_load_max", "The largest part of a core that a worker used.", (), [((), figures.most_load)])
    yield _gauge("streams_unassigned", "Streams that no worker is to have.", (), [((), figures.unassigned)])
    yield _gauge("streams_unowned", "Streams that no worker has.", (), [((), figures.unowned)])


def _write_work(figures: WatchFigures, read_ago_s: float) -> Iterator[Metric]:
    points = [
        ((source,), figures.stored_ticks.get(replayed, 0)) for source, replayed in (("live", False), ("spool", True))
    ]
    yield _gauge("stored_ticks", "Ticks that were stored in the latest five minutes.", ("source",), points)
    ages = sorted(clock.age_s + read_ago_s for clock in figures.clocks if clock.age_s is not None)
    if ages:
        quantiles = [((name,), _quantile(ages, float(name))) for name in ("0.5", "0.99", "1")]
        yield _gauge("sample_age_seconds", "Since the latest word about each clock came.", ("quantile",), quantiles)
    log = [((kind.replace(" ", "_"),), number) for kind, number in sorted(figures.log.items())]
    yield _gauge("log_entries", "What leaders did and found in the latest hour.", ("kind",), log)
    incidents = [((kind,), number) for kind, number in sorted(figures.incidents.items())]
    yield _gauge("incidents", "Incidents that go on.", ("kind",), incidents)
    yield _gauge(
        "incidents_untold", "Beginnings and ends of incidents that could not be told.", (), [((), figures.untold)]
    )
    if figures.oldest_chunk_s is not None:
        yield _gauge(
            "oldest_chunk_age_seconds", "Age of the oldest samples in the ledger.", (), [((), figures.oldest_chunk_s)]
        )


def _write_senders(figures: WatchFigures, read_ago_s: float) -> Iterator[Metric]:
    labels = ("target", "lane")
    lags = [((lag.label, lag.lane.value), lag) for lag in figures.lags]
    yield _counter("sent_samples", "Samples that were sent to a store.", labels, [(k, lag.samples) for k, lag in lags])
    yield _counter("refused_samples", "Samples that it refused.", labels, [(k, lag.refused) for k, lag in lags])
    troubled = [(key, float(lag.problem is not None)) for key, lag in lags]
    yield _gauge("sending_fails", "Whether the latest try to send failed.", labels, troubled)
    ages = [(key, lag.oldest_s + read_ago_s) for key, lag in lags if lag.oldest_s is not None]
    yield _gauge("unsent_age_seconds", "Age of the oldest samples that wait to be sent.", labels, ages)


def _number(value: object) -> float | None:
    """Read a number of a JSON document; None for what is none, or not finite."""
    if not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)]


def _gauge(name: str, meaning: str, labels: Sequence[str], points: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    return _fill(GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=labels), points)


def _counter(name: str, meaning: str, labels: Sequence[str], points: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    return _fill(CounterMetricFamily(f"{PREFIX}_{name}", meaning, labels=labels), points)


def _fill(family: Any, points: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    merged: dict[tuple[str, ...], float] = {}
    for labels, value in points:  # two senders may have one label
        merged[labels] = merged.get(labels, 0.0) + value
    for labels, value in merged.items():
        family.add_metric(labels, value)
    metric: Metric = family
    return metric
