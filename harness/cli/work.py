"""`work`: carry out campaigns that were submitted to a service."""

import sys
from typing import Annotated

import typer

from harness import wiring
from harness.cli import output, run_controls, service_options
from harness.model import Event
from harness.runs import task_run
from harness.runs.context import RunControls
from harness.store.task_queue import TaskQueue


def work(
    parallel: service_options.Parallel = service_options.TASKS_AT_ONCE,
    per_bench: service_options.PerBench = None,
    per_submitter: service_options.PerSubmitter = None,
    archive_hosts: service_options.ArchiveHosts = None,
    waits: Annotated[
        bool, typer.Option("--wait", help="Once stopped, wait for the campaigns that run; for containers.")
    ] = False,
    next_task: Annotated[
        bool, typer.Option("--next", hidden=True, help="Take one task once `go` comes on standard input.")
    ] = False,
) -> None:
    """Carry out submitted campaigns, here, until it is stopped.

    For machines that share the ledger of a service (PTP_HARNESS_LEDGER_URL). Each campaign runs in a process of its
    own, and goes on where this one is stopped; with --wait, this one ends after them. A campaign whose process died is
    taken up again. `serve` does the same unless it is started with --no-work.

    Examples:
        ptp-harness work
        ptp-harness work --parallel 4 --per-bench lab=1
        ptp-harness work --wait
    """
    limits = service_options.make_limits(parallel, per_bench, per_submitter)
    configuration = service_options.load_settings(archive_hosts)
    ledger = wiring.ledger(configuration)
    queue = TaskQueue(ledger)
    if not next_task:
        service_options.watch_queue(queue, limits, configuration, waits=waits)
        return
    benches = wiring.benches(configuration, ledger)
    if sys.stdin.buffer.readline() != service_options.GO:
        return
    line = queue.claim(limits) or queue.take_over()  # a dead process of another machine is watched first
    if line is None:
        return
    controls = RunControls(listener=_ignore)
    with run_controls.stopping_on_signals(controls.stop):
        state = task_run.carry_out(line, ledger, configuration, benches, controls)
    output.say(f"task {line.task}: {state}")


def _ignore(_event: Event) -> None:
    """Show nothing: the ledger has every event."""
