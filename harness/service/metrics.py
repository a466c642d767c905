"""Gather the figures of a service for Prometheus: its requests, its queue, and what its ledger says of runs.

The figures of the ledger are read in the background, at most every fifteen seconds and only when somebody asks: a
ledger that hangs makes them old, and hangs nobody who asks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harness import __version__
from harness.analysis.durations import DurationFigures
from harness.service.background_value import BackgroundValue, Look
from harness.service.clock_metrics import ClockCollector
from harness.service.ledger_figures import LedgerFigures, load_figures
from harness.service.request_metrics import RequestMetrics
from harness.service.watch_metrics import WatchCollector
from harness.store.database import Database, Retry

PREFIX = "ptp_harness_service"
FIGURES_FRESH_S = 15.0
_WAIT_S = 2.0


class ServiceMetrics:
    """The figures of a service. Parts may register counters of their own with `registry`."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(self.registry)
        self.database = database
        self._figures = BackgroundValue("figures", lambda: load_figures(database), fresh_s=FIGURES_FRESH_S)
        ProcessCollector(registry=self.registry)
        Info(f"{PREFIX}_build", "The version that runs.", registry=self.registry).info({"version": __version__})
        self.registry.register(_LedgerCollector(self.read_figures, database))
        self.registry.register(ClockCollector(database))
        self.registry.register(WatchCollector(database))

    def read_figures(self) -> Look[LedgerFigures]:
        """Return the figures of the ledger, at most fifteen seconds old unless the ledger is slow."""
        return self._figures.read_fresh(within_s=_WAIT_S)


class _LedgerCollector(Collector):
    """Gives Prometheus what the ledger says, as it was read last."""

    def __init__(self, read: Callable[[], Look[LedgerFigures]], database: Database) -> None:
        self._read, self._database = read, database

    def describe(self) -> Iterable[Metric]:
        """Name no metrics beforehand: that would read the ledger."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; without figures those of the database's connection alone."""
        retries = self._database.retries
        yield _counter(
            "ledger_retries",
            "Transactions that were made again.",
            ("cause",),
            [((cause.value.replace(" ", "_"),), retries.get(cause, 0)) for cause in Retry],
        )
        yield _gauge(
            "ledger_waiting_writes", "Writes that wait for the next transaction.", (), [((), self._database.waiting)]
        )
        look = self._read()
        if look.value is None or look.age_s is None:
            return
        yield _gauge("ledger_figures_age_seconds", "Age of the figures below.", (), [((), look.age_s)])
        yield from _write_queue(look.value)
        yield from _write_runs(look.value)


def _write_queue(figures: LedgerFigures) -> Iterator[Metric]:
    rows = figures.rows
    states = ("queued", "running")
    open_tasks = [((state,), rows.tasks.get((state, None), 0)) for state in states]
    yield _gauge("tasks", "Tasks that wait and that run.", ("state",), open_tasks)
    ended = [((state, outcome or ""), number) for (state, outcome), number in rows.tasks.items() if state not in states]
    yield _counter("tasks_ended", "Tasks that have ended.", ("state", "outcome"), sorted(ended))
    yield _gauge(
        "oldest_waiting_seconds", "Age of the oldest task that waits.", (), [((), rows.oldest_waiting_s or 0.0)]
    )
    yield _gauge(
        "schedules",
        "Schedules, by whether they make tasks.",
        ("state",),
        [(("active",), rows.schedules - rows.paused_schedules), (("paused",), rows.paused_schedules)],
    )
    yield _gauge("schedules_troubled", "Schedules whose latest time made no task.", (), [((), rows.troubled_schedules)])
    yield _gauge("schedule_missed", "Times of schedules that passed while no service ran.", (), [((), rows.missed)])
    yield _gauge("kept_hosts", "Hosts that are kept.", (), [((), rows.kept_hosts)])


def _write_runs(figures: LedgerFigures) -> Iterator[Metric]:
    week = "of the latest week"
    yield _gauge(
        "retaken_hosts", f"Hosts {week} that were begun more than once.", (), [((), figures.rows.retaken_hosts)]
    )
    results = [
        ((*key, result), number)
        for key, stage in figures.stages.items()
        for result, number in (
            ("succeeded", stage.succeeded),
            ("failed", stage.failed),
            ("timed_out", stage.timed_out),
            ("interrupted", stage.interrupted),
        )
    ]
    yield _gauge(
        "stage_steps", f"Steps {week}; those that timed out failed, too.", ("bench", "stage", "result"), results
    )
    stages = [(key, stage.durations_s) for key, stage in figures.stages.items()]
    yield _quantiles("stage_duration_seconds", f"Durations of steps {week}.", ("bench", "stage"), stages)
    verdicts = [
        ((*key, outcome.value), number)
        for key, (outcomes, _) in figures.types.items()
        for outcome, number in outcomes.items()
    ]
    yield _gauge("verdicts", f"Verdicts {week}.", ("bench", "instance_type", "outcome"), verdicts)
    types = [(key, durations) for key, (_, durations) in figures.types.items()]
    yield _quantiles("host_duration_seconds", f"Durations of hosts {week}.", ("bench", "instance_type"), types)
    sites = [((site,), each.durations_s) for site, each in figures.sites.items()]
    yield _quantiles("task_duration_seconds", f"Durations of tasks {week}, by site.", ("site",), sites)


def _gauge(name: str, meaning: str, labels: Sequence[str], points: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=labels)
    for values, value in points:
        family.add_metric(values, value)
    return family


def _counter(name: str, meaning: str, labels: Sequence[str], points: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", meaning, labels=labels)
    for values, value in points:
        family.add_metric(values, value)
    return family


def _quantiles(
    name: str, meaning: str, labels: Sequence[str], figures: Iterable[tuple[tuple[str, ...], DurationFigures]]
) -> Metric:
    points = [
        ((*values, quantile), value)
        for values, durations in figures
        for quantile, value in (("0.5", durations.p50), ("0.95", durations.p95), ("0.99", durations.p99))
        if value is not None
    ]
    return _gauge(name, meaning, (*labels, "quantile"), points)
