"""Define what `serve` and `work` have in common: how many tasks run at once, and the watch over the queue."""

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Annotated

import typer

from harness.cli import output
from harness.errors import RequestError, SetupError
from harness.model.bench_traits import BenchName
from harness.service.executor import GO, LOOK_EVERY_S, Executor
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from harness.system import settings
from harness.system.settings import Settings
from harness.system.signals import handling_stop_signals
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

__all__ = [
    "GO",
    "TASKS_AT_ONCE",
    "ArchiveHosts",
    "Parallel",
    "PerBench",
    "PerSubmitter",
    "load_settings",
    "make_executor",
    "make_limits",
    "watch_queue",
]

TASKS_AT_ONCE = 2

Parallel = Annotated[int, typer.Option("--parallel", min=1, max=1000, metavar="N", help="Campaigns at once.")]
PerBench = Annotated[
    list[str] | None,
    typer.Option("--per-bench", metavar="BENCH=N", help="Campaigns at once on a bench (lab: 1); may be repeated."),
]
PerSubmitter = Annotated[
    int | None, typer.Option("--per-submitter", min=1, max=1000, metavar="N", help="Campaigns at once of one token.")
]
ArchiveHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--archive-host", metavar="HOST", help="Take driver archives of this host alone; it may be of your network."
    ),
]


def load_settings(archive_hosts: Sequence[str] | None) -> Settings:
    """Load the settings, with the hosts that driver archives may come from. Raises RequestError."""
    hosts = tuple(host.lower().strip("[]") for host in archive_hosts or ())
    for host in hosts:
        if not names.fits(names.ADDRESS, host):
            raise RequestError(
                f"--archive-host is {shorten_value(host)}: it must be a host's name or address",
                next_step="such as files.example.org, without https://",
            )
    return replace(settings.load(), archive_hosts=hosts)


def make_limits(parallel: int, per_bench: Sequence[str] | None, per_submitter: int | None) -> QueueLimits:
    """Make the limits of the queue. Raises RequestError."""
    limits: dict[str, int] = {BenchName.LAB: 1}  # its guests share the cores of one machine
    for text in per_bench or ():
        name, _, number = text.partition("=")
        if name not in [*BenchName] or not number.isdecimal() or not 1 <= int(number) <= 1000:
            raise RequestError(
                f"--per-bench is {shorten_value(text)}: it must be BENCH=N, such as ec2=4",
                next_step=f"benches: {', '.join(BenchName)}",
            )
        limits[name] = int(number)
    return QueueLimits(tasks=parallel, per_bench=limits, per_submitter=per_submitter)


def make_executor(queue: TaskQueue, limits: QueueLimits, configuration: Settings) -> Executor:
    """Make the executor of a queue; its processes get this process's environment and the limits.

    Raises SetupError where their log cannot be written.
    """
    log = configuration.state_dir / "service" / "workers.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.open("ab").close()
    except OSError as error:
        raise SetupError(
            f"cannot write {log}: {error.strerror}",
            next_step="set PTP_HARNESS_STATE_DIR to a directory that you may write to",
        ) from error
    flags = [f"--parallel={limits.tasks}", *(f"--per-bench={name}={most}" for name, most in limits.per_bench.items())]
    if limits.per_submitter is not None:
        flags.append(f"--per-submitter={limits.per_submitter}")
    flags += [f"--archive-host={host}" for host in configuration.archive_hosts]
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(configuration.state_dir)}
    return Executor(queue, limits, log, environ=environ, flags=flags)


def watch_queue(queue: TaskQueue, limits: QueueLimits, configuration: Settings, *, waits: bool) -> None:
    """Begin tasks until a signal comes. `waits`: then until those that were begun here have ended, or a second one."""
    executor, stop, stop_at_once = make_executor(queue, limits, configuration), threading.Event(), threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        (stop_at_once if stop.is_set() else stop).set()

    with handling_stop_signals(handle):
        executor.start()
        goes_on = "" if waits else ", not those that run"
        output.say(f"carrying out campaigns, {limits.tasks} at once; Ctrl-C ends this{goes_on}")
        stop.wait()
        executor.stop()
        if waits and (number := executor.count_busy()):
            output.say(f"waiting for {number} campaigns; a second signal ends this, not those that run")
            while executor.count_busy() and not stop_at_once.wait(LOOK_EVERY_S):
                pass
