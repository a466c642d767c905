"""Give Prometheus the metrics of a watch: with those of the service, or by a small server of `watch serve`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from harness.errors import SetupError
from harness.service.background_value import BackgroundValue
from harness.store.database import Database
from harness.store.watch_figures import read_watch_figures
from harness.watch.metrics import write_retries, write_watch, write_worker

FIGURES_FRESH_S = 10.0
_WAIT_S = 2.0
_TRIES = 5


class WatchCollector(Collector):
    """The watch of a ledger, read in the background: a ledger that hangs makes it old, and hangs nobody who asks.

    `counts_retries`: whether the retries of this process's transactions are written, too.
    """

    def __init__(self, database: Database, *, counts_retries: bool = False) -> None:
        self._database, self._counts_retries = database, counts_retries
        self._figures = BackgroundValue("the watch", lambda: read_watch_figures(database), fresh_s=FIGURES_FRESH_S)

    def describe(self) -> Iterable[Metric]:
        """Name no metrics beforehand: that would read the ledger."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the watch; none before the ledger was read."""
        if self._counts_retries:
            yield from write_retries({cause.value: number for cause, number in self._database.retries.items()})
        look = self._figures.read_fresh(within_s=_WAIT_S)
        if look.value is not None and look.age_s is not None:
            yield from write_watch(look.value, look.age_s)


class HasSnapshot(Protocol):
    """A worker that describes itself."""

    def snapshot(self) -> Mapping[str, Any]:
        """Return what it does now, as JSON."""


class WorkerCollector(Collector):
    """The metrics of one worker, as it describes itself. Threads may ask while it works."""

    def __init__(self, worker: HasSnapshot) -> None:
        self._worker = worker

    def describe(self) -> Iterable[Metric]:
        """Name no metrics beforehand."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the worker; none where it changed its streams each time that it was asked."""
        for _ in range(_TRIES):
            try:
                snapshot = self._worker.snapshot()
            except RuntimeError:  # a stream came or went in the thread of the worker
                continue
            yield from write_worker(snapshot)
            return


@contextmanager
def serve_metrics(collector: Collector, *, port: int, address: str = "127.0.0.1") -> Iterator[int]:
    """Serve metrics by HTTP at any path, without a token, on loopback unless told otherwise; yield the port.

    Raises SetupError where that port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, address, registry)
    except (OSError, OverflowError) as error:
        raise SetupError(
            f"metrics cannot be served on {address}:{port}: {error}",
            next_step="`ss -ltnp` shows who has the port; --metrics-port 0 takes any that is free",
        ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
