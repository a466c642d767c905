"""List what the process that leads a watch does beside planning: incidents, figures of days, and what it delivers."""

from collections.abc import Callable, Mapping, Sequence

from harness.store.database import Database
from harness.store.object_store import ObjectStore
from harness.watch.delivery import Delivery, make_deliveries, read_delivery_options
from harness.watch.orchestrator import Duty
from harness.watch.stream_duties import StreamDuties

INCIDENTS_EVERY_S, DAYS_EVERY_S, PRUNE_EVERY_S = 1.0, 60.0, 3600.0


def make_duties(database: Database, environ: Mapping[str, str], store: ObjectStore | None) -> list[Duty]:
    """Make the duties of a leader. `environ`: says where to deliver; `store`: the evidence store, if there is one.

    Raises RequestError for variables that are not understood.
    """
    of_streams = StreamDuties(database)
    deliveries = make_deliveries(database, read_delivery_options(environ), store)
    return [
        Duty(name="incidents", every_s=INCIDENTS_EVERY_S, do=of_streams.find_incidents),
        Duty(name="days", every_s=DAYS_EVERY_S, do=of_streams.write_days),
        Duty(name="pruning", every_s=PRUNE_EVERY_S, do=of_streams.prune),
        *(Duty(name=each.name, every_s=each.every_s, do=_ignore_epoch(each)) for each in deliveries),
    ]


def _ignore_epoch(delivery: Delivery) -> Callable[[int], Sequence[str]]:
    return lambda _epoch: delivery.do()
