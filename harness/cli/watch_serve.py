"""`watch serve`, `watch status`, `watch check`: lead the watch of streams, and look at it."""

import contextlib
import dataclasses
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import output, watch_options
from harness.errors import ExitCode
from harness.report.table import align_rows
from harness.system import settings
from harness.system.signals import handling_stop_signals

if TYPE_CHECKING:
    from harness.store.database import Database
    from harness.watch.consistency import Inconsistency
    from harness.watch.status import WatchStatus

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
_AGAIN_AFTER_S = 2.0


def serve(
    answers_within: watch_options.AnswersWithin = watch_options.ANSWERS_WITHIN_S,
    metrics_port: watch_options.MetricsPort = None,
) -> None:
    """Lead the watch of streams, here, until it is stopped.

    It plans each second which worker is to have which stream, checks what the ledger says, mends what is safe to mend,
    and tells all of it in the log of the watch. It waits for a ledger that is away. Any number of these share a ledger
    (PTP_HARNESS_LEDGER_URL): one leads, and another takes over where that one ends. `serve` does the same unless it is
    started with --no-watch.

    Examples:
        ptp-harness watch serve
        ptp-harness watch serve --answers-within 10
        ptp-harness watch serve --metrics-port 9464
    """
    configuration = settings.load()
    orchestrator = watch_options.make_orchestrator(configuration, answers_within_s=answers_within, waits=True)
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    with handling_stop_signals(handle), contextlib.ExitStack() as parts:
        if metrics_port is not None:
            from harness.service.watch_metrics import WatchCollector, serve_metrics

            collector = WatchCollector(_open_database(), counts_retries=True)
            port = parts.enter_context(serve_metrics(collector, port=metrics_port))
            output.say(f"metrics are at http://127.0.0.1:{port}/metrics")
        orchestrator.start()
        output.say("leading the watch, or ready to; Ctrl-C stops it")
        stop.wait()
        orchestrator.stop()


def status(json: Json = False) -> None:
    """Show who leads, what workers do, and the states of clocks.

    A clock whose latest word is old is unknown, whatever that word was.

    Examples:
        ptp-harness watch status
        ptp-harness watch status --json
    """
    from harness.store.watch_view import WatchViews
    from harness.watch.status import sum_up

    views = WatchViews(_open_database())
    summary = sum_up(views.read(), views.list_replays())
    if json:
        output.emit(dataclasses.asdict(summary))
    else:
        output.show("\n".join(_format_status(summary)))


def check(
    mends: Annotated[bool, typer.Option("--mend", help="Mend what is safe to mend, where it is seen twice.")] = False,
    json: Json = False,
) -> None:
    """Check that what the ledger says fits together.

    Each inconsistency comes with what to do about it; exit code 1 where there is one. The leader checks the same each
    five seconds, and mends by itself what is safe to mend: a lease that is over, a worker that has other streams than
    the ledger says. With --mend this is done here, for where no leader is.

    Examples:
        ptp-harness watch check
        ptp-harness watch check --mend
        ptp-harness watch check --json
    """
    database = _open_database()
    found = _find(database)
    if mends and any(each.mend for each in found):
        time.sleep(_AGAIN_AFTER_S)
        found = _mend(database, found)
    if json:
        output.emit([dataclasses.asdict(each) for each in found])
    elif found:
        output.show("\n".join(line for each in found for line in _format_inconsistency(each)))
    else:
        output.say("what the ledger says of the watch fits together")
    if found:
        raise typer.Exit(ExitCode.CLOCK_FAILED)


def _open_database() -> "Database":
    from harness.store.watch_database import open_watch_database

    return open_watch_database(settings.load().ledger_url)


def _find(database: "Database") -> "list[Inconsistency]":
    from harness import __version__
    from harness.store.watch_view import WatchViews
    from harness.watch.consistency import find_inconsistencies, sort_by_weight

    return sort_by_weight(find_inconsistencies(WatchViews(database).read(), version=__version__))


def _mend(database: "Database", before: "list[Inconsistency]") -> "list[Inconsistency]":
    """Mend what is still so; return what was found then."""
    from harness.store.watch_log import LogKind, WatchLog
    from harness.store.watch_mending import WatchMending
    from harness.store.watch_view import WatchViews
    from harness.watch.recovery import Recovery

    recovery = Recovery(WatchMending(database))
    found, view = _find(database), WatchViews(database).read()
    recovery.follow(view, before)
    done = [entry for entry in recovery.follow(view, found) if entry.kind is LogKind.MEND]
    WatchLog(database).add(done)
    for entry in done:
        output.say(entry.sentence)
    return found


def _format_status(status: "WatchStatus") -> list[str]:
    counts = ", ".join(f"{count} {state}" for state, count in status.states.items() if count)
    lines = [
        f"leader   {status.leader or 'nobody: `ptp-harness watch serve` leads'}",
        f"streams  {status.streams}{': ' + counts if counts else ''}",
    ]
    if status.between:
        lines.append(f"         {status.between} between two workers")
    if status.left_out:
        more = "" if len(status.left_out) <= 5 else f" and {len(status.left_out) - 5} more"
        lines.append(f"         {len(status.left_out)} left out: {', '.join(status.left_out[:5])}{more}")
    if not status.workers:
        return [*lines, "workers  none"]
    rows = [("WORKER", "STATE", "STREAMS", "WEIGHT", "CAPACITY", "LOAD", "HEARD", "REPLAYED", "PROCESS")]
    rows += [
        (
            each.worker,
            each.state,
            str(each.streams) if each.streams == each.assigned else f"{each.streams} of {each.assigned}",
            f"{each.weight:g}",
            f"{each.capacity:g}",
            f"{each.load:.2f}",
            f"{each.heard_s:.0f} s ago",
            f"{each.replayed_chunks} chunks" if each.replayed_chunks else "-",
            each.process,
        )
        for each in status.workers
    ]
    return [*lines, *align_rows(rows)]


def _format_inconsistency(each: "Inconsistency") -> list[str]:
    mended = " (--mend does)" if each.mend else ""
    return [f"{each.kind.value}: {each.sentence}", f"  next: {each.recommendation}{mended}"]
