"""`watch worker`: sample and judge watched clocks, here."""

import asyncio
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import __version__
from harness.cli import output, watch_options
from harness.errors import RequestError
from harness.system import settings
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

if TYPE_CHECKING:
    from harness.store.database import Database
    from harness.watch.worker import WorkerParts

_CAPACITY = 1000.0


def worker(
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Its name (default: that of this machine).")
    ] = None,
    capacity: Annotated[
        float, typer.Option("--capacity", min=0.1, max=1e6, help="The largest sum of weights that it takes.")
    ] = _CAPACITY,
    spool_mb: Annotated[
        int, typer.Option("--spool-mb", min=10, max=1_000_000, metavar="MB", help="The most that is spooled.")
    ] = 1024,
    drain_s: Annotated[
        float, typer.Option("--drain-s", min=0.0, max=600.0, metavar="SECONDS", help="Once stopped, for the others.")
    ] = 20.0,
    metrics_port: watch_options.MetricsPort = None,
) -> None:
    """Sample and judge watched clocks, here, until it is stopped.

    It takes the streams that the leader (`watch serve`) gives it, keeps one connection to each host, and stores what it
    samples in the ledger (--ledger). While the ledger is away it goes on, and spools to a file in the state directory.
    Once stopped, it gives its streams to other workers, and ends when they have them; a second Ctrl-C ends it at once.

    Examples:
        ptp-harness watch worker --ledger postgresql://ptp@db.example/ptp
        ptp-harness watch worker --name rack7-a --capacity 500
        ptp-harness watch worker --name rack7-b --spool-mb 4096 --drain-s 60
    """
    own_name = name or socket.gethostname().partition(".")[0]
    if not names.fits(names.HOST, own_name) or len(own_name) > 64:
        raise RequestError(
            f"--name is {shorten_value(own_name)}", next_step="letters, digits, `.`, `_`, `:` and `-`, at most 64"
        )
    from harness.store.watch_database import WATCH_TIMEOUTS

    configuration = settings.load()
    database = watch_options.wait_for_ledger(configuration.ledger_url, WATCH_TIMEOUTS)
    spool = configuration.state_dir / "watch" / f"{own_name}.spool"
    parts = _make_parts(
        database, own_name, capacity, spool, spool_mb << 20, drain_s, configuration.assets_dir / "roles"
    )
    asyncio.run(_work(parts, metrics_port))


async def _work(parts: "WorkerParts", metrics_port: int | None) -> None:
    from harness.watch.worker import StreamWorker

    made = StreamWorker(parts)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, made.stop)
    output.say(f"worker {parts.holdings.worker} is ready for streams; Ctrl-C gives them to others and ends it")
    if metrics_port is None:
        await made.run()
        return
    from harness.service.watch_metrics import WorkerCollector, serve_metrics

    with serve_metrics(WorkerCollector(made), port=metrics_port) as port:
        output.say(f"metrics are at http://127.0.0.1:{port}/metrics")
        await made.run()


def _make_parts(
    database: "Database", name: str, capacity: float, spool: Path, most_bytes: int, drain_s: float, roles: Path
) -> "WorkerParts":
    from harness.store.watch_findings import WorkerFindings
    from harness.store.watch_samples import WatchSamples
    from harness.store.watch_sources import WatchSources
    from harness.store.watch_states import WatchStates
    from harness.store.watch_streams import WatchStreams
    from harness.watch.holdings import Holdings
    from harness.watch.judge import StreamJudge
    from harness.watch.process_name import name_process
    from harness.watch.sampler import SamplerProgram
    from harness.watch.spool import Spool
    from harness.watch.worker import WorkerParts, WorkerTimes
    from harness.watch.worker_figures import MachineScore

    kept = Spool(spool, name, most_bytes=most_bytes)
    if kept.set_aside is not None:
        output.say(f"the spool was damaged; it is set aside as {kept.set_aside}")
    holdings = Holdings(
        streams=WatchStreams(database), worker=name, process=name_process(), version=__version__, capacity=capacity
    )
    return WorkerParts(
        holdings=holdings,
        sources=WatchSources(database),
        samples=WatchSamples(database),
        states=WatchStates(database),
        findings=WorkerFindings(database),
        make_judge=StreamJudge,
        program=SamplerProgram.load(roles),
        spool=kept,
        times=WorkerTimes(drain_s=drain_s),
        read_score=MachineScore().read,
    )
