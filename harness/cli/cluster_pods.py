"""`cluster coordinate` and `cluster pod`: what the pods of a run carry out."""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from harness import wiring
from harness.campaign.campaign import Campaign
from harness.cli import output, run_controls
from harness.cli.progress import show_progress
from harness.cluster import pod_settings
from harness.cluster.jobs import TRY_AGAIN, read_options
from harness.cluster.line_count import counting_lines, end_count
from harness.errors import ConflictError, HarnessError, RequestError
from harness.report import text
from harness.report.exit_codes import exit_code_of
from harness.runs import helping
from harness.runs.context import RunControls
from harness.runs.prepare import prepare_resolved
from harness.store.ledger import Ledger
from harness.store.owners import OwnershipLostError
from harness.system.signals import handling_stop_signals

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The name of the run.")]
CommonOptions = Annotated[str, typer.Option("--options", metavar="JSON", help="What all pods have in common.")]
HostsPerPod = Annotated[int | None, typer.Option("--hosts-per-pod", min=1, metavar="N")]
_TERMINATION_MESSAGE = Path("/dev/termination-log")
_MOST_MESSAGE_CHARACTERS = 4000
_RESIGNS_WITHIN_S = 2.0
_LEADER_WITHIN_S, _LOOK_EVERY_S = 120.0, 1.0


def coordinate(
    run: RunName,
    options: CommonOptions,
    hosts_per_pod: HostsPerPod = None,
) -> None:
    """Lead a run, in a pod of a cluster.

    `cluster run` makes that pod. Ends with 0 whatever the clocks are: a pod that fails tells of a fault of the cluster.
    The report is printed; the pod's termination message has the exit code of the run.

    Examples:
        ptp-harness cluster coordinate k3f9mq --options '{"image": "..."}'
    """
    from harness.cluster.connection import connect
    from harness.cluster.coordinator import Coordinator

    configuration = pod_settings.load()
    with counting_lines(), trying_again(), show_progress(output.console(), live=False) as display:
        ledger = wiring.ledger(configuration)
        coordinator = Coordinator(
            run=run,
            connection=connect(),
            options=read_options(options),
            ledger=ledger,
            settings=configuration,
            benches=wiring.benches(configuration, ledger),
            controls=RunControls(listener=display.show),
            collect_plots=lambda record: wiring.collect_plots(record, configuration, ledger),
            hosts_per_pod=hosts_per_pod,
        )
        with ending_at_once(f"the other coordinator goes on with run {run}", ledger.resign):
            record, ended_here = coordinator.lead()
            if ended_here:
                output.show(text.summary(record, width=output.width()))
            reports = coordinator.publish_reports(record, output.say, ended_here=ended_here)
    verdicts = Counter(str(host.verdict.outcome) for host in record.hosts)
    code = int(exit_code_of(record))
    leave_message({"run": run, "exit_code": code, "verdicts": verdicts, "reports": reports})


def submit(
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule whose time it is.")],
    job: Annotated[str, typer.Option("--job", metavar="UID", help="The identifier of this pod's Job.")],
    options: CommonOptions,
    hosts_per_pod: HostsPerPod = None,
) -> None:
    """Submit a scheduled run, in a pod of a cluster.

    `cluster schedule` makes what makes that pod, at each time of the schedule. Nothing is submitted while the run of an
    earlier time goes on.

    Examples:
        ptp-harness cluster submit nightly --job 5c0d... --options '{"image": "..."}'
    """
    from harness.cluster.connection import connect
    from harness.cluster.coordinator import read_campaign
    from harness.cluster.cron_jobs import submit_scheduled
    from harness.cluster.jobs import CAMPAIGN_FILE

    with trying_again():
        campaign, common = read_campaign(Path(CAMPAIGN_FILE)), read_options(options)
        made = submit_scheduled(connect(), schedule, job, campaign, common, hosts_per_pod)
    if made.earlier:
        output.say(f"run {made.run} of schedule {schedule} still goes on: no other one is submitted")
    else:
        output.say(f"run {made.run} of schedule {schedule} is submitted")


def probe(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="suite, coordinator or clock.")],
    include_destructive: Annotated[
        bool, typer.Option("--include-destructive", help="Also the rights to a namespace of a run's own.")
    ] = False,
    stay: Annotated[float, typer.Option("--stay", min=0, metavar="S", help="How long a look at a clock stays.")] = 300,
) -> None:
    """Look at what pods need, in a pod of a cluster.

    `cluster smoke` makes that pod, and reads the document of JSON that this prints.

    Examples:
        ptp-harness cluster probe suite
        ptp-harness cluster probe coordinator --include-destructive
    """
    from harness.cluster import pod_probe
    from harness.cluster.connection import connect
    from harness.cluster.probe_jobs import ProbeKind

    if kind == ProbeKind.COORDINATOR:
        checks = pod_probe.look_as_coordinator(connect(), include_destructive=include_destructive)
    elif kind == ProbeKind.SUITE:
        configuration = pod_settings.load_what_is_there()
        checks = pod_probe.look_as_suite(configuration, wiring.lab_bench(configuration))
    elif kind == ProbeKind.CLOCK:
        checks = pod_probe.look_at_clock(pod_settings.load_what_is_there())
    else:
        raise RequestError(f"there is no look of a pod {kind}", next_step=f"one of: {', '.join(ProbeKind)}")
    output.emit([asdict(check) for check in checks])
    if kind == ProbeKind.CLOCK:  # the place is taken, so that the next pod comes to another node
        stop = threading.Event()
        with handling_stop_signals(lambda _number, _frame: stop.set()):
            stop.wait(stay)


def pod(
    run: RunName,
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="The hosts to claim: shared, metal, scarce, ...")],
    parallel: Annotated[int, typer.Option("--parallel", min=1, metavar="N", help="Hosts at once in this pod.")] = 1,
) -> None:
    """Qualify hosts of a run, in a pod of a cluster.

    The coordinator of the run makes such pods, which claim hosts until none of their suite is left. Ends with 0
    whatever the clocks are, with 2 for work that no pod can do, with 75 for a fault of the surroundings.

    Examples:
        ptp-harness cluster pod k3f9mq shared --parallel 8
    """
    from harness.cluster.suites import make_suites

    configuration = pod_settings.load()
    with counting_lines(), trying_again():
        ledger = wiring.ledger(configuration)
        campaign = _wait_for_leader(run, ledger)
        if campaign is None:
            output.say(f"run {run} needs no more hosts")
            return
        pod_settings.require_signing_key(campaign, configuration)
        types = next((each.types for each in make_suites(campaign, campaign.instance_types) if each.kind == suite), ())
        prepared = prepare_resolved(campaign, configuration, wiring.benches(configuration, ledger))
        prepared = replace(prepared, plan=replace(prepared.plan, parallel=parallel))
        with show_progress(output.console(), bench=campaign.bench, live=False) as display:
            controls = run_controls.make_controls(display, lambda _run: "")
            try:
                records = helping.help_with(run, prepared, ledger, configuration, controls, types=types)
            except OwnershipLostError as error:
                output.say(f"another process goes on: {error.message}")
                return
        line = ledger.find(run)
    for host, record in records.items():
        output.say(f"{host}: {record.verdict.outcome} {record.verdict.reason}")
    if controls.stop.is_set() and not (line.stopping or line.ended):  # only this pod is to end
        raise typer.Exit(TRY_AGAIN)


def _wait_for_leader(run: str, ledger: Ledger) -> Campaign | None:
    """Wait until a coordinator leads the run; return its campaign, None where no more hosts are needed."""
    give_up_at = time.monotonic() + _LEADER_WITHIN_S
    while True:
        try:
            return helping.read_living_campaign(run, ledger)
        except ConflictError as error:
            line = ledger.find(run)
            if line.ended or line.stopping:
                return None
            if time.monotonic() > give_up_at:
                output.say(f"ptp-harness: {error}")
                raise typer.Exit(TRY_AGAIN) from error
        time.sleep(_LOOK_EVERY_S)


@contextmanager
def trying_again() -> Iterator[None]:
    """End with TRY_AGAIN where the ledger, the evidence store or the API server is away; leave each error's message."""
    from harness.cluster.connection import ClusterError
    from harness.store.database import LedgerAwayError
    from harness.store.object_store import StoreAwayError

    try:
        yield
    except HarnessError as error:
        leave_message({"problem": str(error)})
        passes = isinstance(error, LedgerAwayError | StoreAwayError) or (
            isinstance(error, ClusterError) and error.may_pass
        )
        if passes:
            output.say(f"ptp-harness: {error}")
            raise typer.Exit(TRY_AGAIN) from error
        raise


@contextmanager
def ending_at_once(why: str, resign: Callable[[], None] = lambda: None) -> Iterator[None]:
    """End this process at the first signal to stop, in the middle of anything: another one goes on from the ledger."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        leaving = threading.Thread(target=resign, daemon=True)  # this one may hold what the ledger needs
        leaving.start()
        leaving.join(_RESIGNS_WITHIN_S)
        sys.stderr.write(f"stopped: {why}\n")
        sys.stderr.flush()
        end_count()
        os._exit(128 + signal.SIGTERM)

    with handling_stop_signals(handle):
        yield


def leave_message(message: Mapping[str, object]) -> None:
    """Write the pod's termination message, which its status shows."""
    with suppress(OSError):  # outside a pod there is none
        _TERMINATION_MESSAGE.write_text(json.dumps(message)[:_MOST_MESSAGE_CHARACTERS])
