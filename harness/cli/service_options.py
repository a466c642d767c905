"""Define what `serve` and `work` have in common: how many tasks run at once, and the watch over the queue."""

import os
import threading
from collections.abc import Sequence
from typing import Annotated

import typer

from harness.cli import output
from harness.errors import RequestError
from harness.model.bench_traits import BenchName
from harness.service.executor import GO, Executor
from harness.store.task_lines import QueueLimits
from harness.store.task_queue import TaskQueue
from harness.system.settings import Settings
from harness.system.signals import handling_stop_signals
from harness.untrusted.input_checks import shorten_value

__all__ = ["GO", "TASKS_AT_ONCE", "Parallel", "PerBench", "PerSubmitter", "make_executor", "make_limits", "watch_queue"]

TASKS_AT_ONCE = 2

Parallel = Annotated[int, typer.Option("--parallel", min=1, max=1000, metavar="N", help="Campaigns at once.")]
PerBench = Annotated[
    list[str] | None,
    typer.Option("--per-bench", metavar="BENCH=N", help="Campaigns at once on a bench (lab: 1); may be repeated."),
]
PerSubmitter = Annotated[
    int | None, typer.Option("--per-submitter", min=1, max=1000, metavar="N", help="Campaigns at once of one token.")
]


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


def make_executor(queue: TaskQueue, limits: QueueLimits, settings: Settings) -> Executor:
    """Make the executor of a queue; its processes get this process's environment and the limits."""
    flags = [f"--parallel={limits.tasks}", *(f"--per-bench={name}={most}" for name, most in limits.per_bench.items())]
    if limits.per_submitter is not None:
        flags.append(f"--per-submitter={limits.per_submitter}")
    environ = os.environ | {"PTP_HARNESS_STATE_DIR": str(settings.state_dir)}
    return Executor(queue, limits, settings.state_dir / "service" / "workers.log", environ=environ, flags=flags)


def watch_queue(queue: TaskQueue, limits: QueueLimits, settings: Settings) -> None:
    """Begin tasks until a signal comes."""
    executor, stop = make_executor(queue, limits, settings), threading.Event()
    with handling_stop_signals(lambda _number, _frame: stop.set()):
        executor.start()
        output.say(f"carrying out campaigns, {limits.tasks} at once; Ctrl-C ends this, not those that run")
        stop.wait()
        executor.stop()
