"""Define what all requests of a service share."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.benches.bench import Bench
from harness.runs.prepare import Benches
from harness.service.audit_trail import AuditTrail
from harness.service.host_actions import HostActions
from harness.service.metrics import ServiceMetrics
from harness.service.queue_view import QueueView, TypicalDurations
from harness.service.run_sources import RunSources
from harness.service.sites.hub import Hub
from harness.store.access_tokens import AccessTokens
from harness.store.audit_log import AuditLog
from harness.store.ledger import Ledger
from harness.store.schedules import Schedules
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from harness.system.settings import Settings
from harness.watch.orchestrator import Orchestrator

MOST_BODY_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """How a service was started.

    `is_open`: requests without a token are served with every right; for a service that listens on loopback alone.
    `hosts_allowed`: hosts of which driver archives may be downloaded; empty: any with a public address. `most_waiting`:
    how many tasks of one submitter may wait.
    """

    limits: QueueLimits
    benches: Sequence[str]
    is_open: bool = False
    hosts_allowed: Sequence[str] = ()
    most_waiting: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContext:
    """The parts that requests share. `draining`: set once the service is to end: nothing new is begun.

    `wake`: called after a task was submitted. `hub`: its sites; None where it has none. `watch`: leads the watch of
    streams; None where this service does not. `make_bench`: makes the bench of a name, for hosts that a run kept.
    `sources`: find what the ledger does not hold of runs.
    `checks`: further things that the service needs, each with a function that returns why it is not ready;
    `optional_checks`: those that it can do without for a while.
    """

    settings: Settings
    options: ServiceOptions
    ledger: Ledger
    queue: TaskQueue
    tokens: AccessTokens
    audit: AuditLog
    trail: AuditTrail
    schedules: Schedules
    metrics: ServiceMetrics
    queue_view: QueueView
    durations: TypicalDurations
    benches: Benches
    make_bench: Callable[[str], Bench]
    sources: RunSources
    wake: Callable[[], None] = lambda: None
    hub: Hub | None = None
    watch: Orchestrator | None = None
    draining: threading.Event = field(default_factory=threading.Event)
    host_actions: HostActions = field(default_factory=HostActions)
    checks: Mapping[str, Callable[[], str | None]] = field(default_factory=dict)
    optional_checks: Mapping[str, Callable[[], str | None]] = field(default_factory=dict)


def make_context(
    settings: Settings,
    options: ServiceOptions,
    ledger: Ledger,
    benches: Benches,
    make_bench: Callable[[str], Bench],
    sources: RunSources,
    wake: Callable[[], None] = lambda: None,
) -> ServiceContext:
    """Make the context of a service over an open ledger."""
    database, queue = ledger.database, TaskQueue(ledger)
    audit, metrics = AuditLog(database), ServiceMetrics(database)
    return ServiceContext(
        settings=settings,
        options=options,
        ledger=ledger,
        queue=queue,
        tokens=AccessTokens(database),
        audit=audit,
        trail=AuditTrail(audit, metrics.registry),
        schedules=Schedules(database),
        metrics=metrics,
        queue_view=QueueView(queue, ledger, options.limits),
        durations=TypicalDurations(ledger),
        benches=benches,
        make_bench=make_bench,
        sources=sources,
        wake=wake,
    )


def add_watch(context: ServiceContext, watch: Orchestrator) -> ServiceContext:
    """Let a service lead the watch of streams too."""
    return replace(context, watch=watch, optional_checks={**context.optional_checks, "watch": watch.why_not_ready})
