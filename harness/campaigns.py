"""Many hosts at once: in the order given, up to a cap, none stopping another, all released, one record at the end."""

import datetime
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

from harness.bench import Bench
from harness.errors import ExitCode
from harness.model import HostRecord, HostState, Resource, RunRecord, Token
from harness.plan import Plan
from harness.qualify import Way, qualify

_ASK_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def conduct(plan: Plan, way: Way) -> RunRecord:
    """Take every host of the plan along its way and book the run's end.

    The first SIGINT, SIGTERM or SIGHUP ends hosts under way early: they are judged by what is known, and released. The
    second ends this process at once; the ledger knows the rest, and `sweep` removes it.
    """
    started, begun = datetime.datetime.now(datetime.UTC), time.monotonic()
    with _signals_ask_to_stop(way.stop), ThreadPoolExecutor(plan.parallel, thread_name_prefix="host") as pool:
        records = tuple(pool.map(lambda host: qualify(host, way), plan.hosts))
    record = RunRecord(
        run=way.run,
        bench=way.bench.name,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begun, 1),
        interrupted=way.stop.is_set(),
        hosts=records,
        leftovers=leftovers(way.bench, way.run, records),
    )
    way.ledger.close_run(record)
    return record


def leftovers(bench: Bench, run: str, records: Sequence[HostRecord]) -> tuple[Resource, ...]:
    """What the bench still has of this run, beside the hosts that were kept on purpose."""
    kept = {str(Token(run=run, host=record.name)) for record in records if record.state is HostState.KEPT}
    return tuple(
        resource
        for resource in bench.resources()
        if resource.token.startswith(f"{run}/") and resource.token not in kept
    )


@contextmanager
def _signals_ask_to_stop(stop: threading.Event) -> Iterator[None]:
    def asked(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            sys.stderr.write("\nstopped at once; `ptp-harness sweep --yes` removes what is left\n")
            sys.stderr.flush()
            os._exit(ExitCode.INTERRUPTED)
        sys.stderr.write("\nstopping: hosts under way are released, then you get the report; once more stops at once\n")
        stop.set()

    before = {number: signal.signal(number, asked) for number in _ASK_TO_STOP}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
