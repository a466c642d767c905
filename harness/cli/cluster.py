"""`cluster`: campaigns on Kubernetes, whose pods claim the hosts of a run."""

from dataclasses import replace
from typing import Annotated

import typer

from harness.cli import campaign_options, cluster_options, output
from harness.cli.cluster_schedule import show_schedules
from harness.cluster.connection import Connection
from harness.errors import ExitCode, RequestError


def run(
    targets: campaign_options.Targets,
    bench: campaign_options.BenchName = None,
    region: campaign_options.Region = None,
    image_name: cluster_options.HostImage = None,
    depth: campaign_options.DepthName = None,
    disturb: campaign_options.Disturb = None,
    parallel: campaign_options.Parallel = None,
    read_only: campaign_options.ReadOnly = False,
    duration: campaign_options.Duration = None,
    hosts_per_pod: cluster_options.HostsPerPod = None,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
    image: cluster_options.Image = None,
    registry: cluster_options.Registry = None,
    pull: cluster_options.Pull = "IfNotPresent",
    lab_cache: cluster_options.LabCache = None,
    queue: cluster_options.Queue = None,
    coordinator_queue: cluster_options.CoordinatorQueue = None,
    priority_class: cluster_options.PriorityClass = None,
    include_destructive: cluster_options.IncludeDestructive = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit it, print its name, and end.")] = False,
) -> None:
    """Carry out a campaign on a cluster.

    A coordinator leads the run, and pods claim its hosts from the ledger until none is left. The secret `ptp-harness`
    of the namespace has the URL of the ledger. The exit code is that of the run. Ctrl-C ends this command alone: the
    run goes on, and `cluster cancel` ends it.

    Examples:
        ptp-harness cluster run campaign.yaml --registry registry.example
        ptp-harness cluster run m7i.large c7g.large --region eu-north-1 --detach
        ptp-harness cluster run lab.phc lab.no-phc --lab-cache ptp-lab
        ptp-harness cluster run disturbed.yaml --include-destructive
    """
    from harness.cluster.api_version import require_version
    from harness.cluster.connection import telling_errors
    from harness.cluster.jobs import make_coordinator
    from harness.cluster.own_namespace import require_movable
    from harness.cluster.pod_benches import require_bench
    from harness.store.names_at_random import SUBMITTED_RUN_CHARACTERS, draw_name

    host = {"bench": bench, "region": region, "image": image_name, "depth": depth, "disturbances": disturb or None}
    flags = {"read_only": read_only, "duration": duration, "parallel": parallel}
    campaign = campaign_options.load_campaign(targets, **host, **flags)
    queues = {"queue": queue, "coordinator_queue": coordinator_queue}
    options = cluster_options.make_pod_options(
        image, registry, pull, lab_cache=lab_cache, **queues, priority_class=priority_class
    )
    options = replace(options, include_destructive=include_destructive)
    require_bench(campaign, claim=lab_cache, lab_in_image=image is not None)
    require_movable(campaign, options)
    connection = cluster_options.open_connection(context, namespace)
    require_version(connection)
    cluster_options.require_queue(connection, options)
    name = draw_name(SUBMITTED_RUN_CHARACTERS)
    job = make_coordinator(name, campaign, options, hosts_per_pod=hosts_per_pod)
    with telling_errors(connection, f"submitting run {name}"):
        connection.client.create(job)
    follow_run(connection, name, detach=detach, queue=coordinator_queue)


def follow_run(connection: Connection, name: str, *, detach: bool, queue: str | None = None) -> None:
    """Say that a run is submitted; unless detached, print what its coordinators print, and end with its exit code.

    `queue`: in which the coordinator waits, if it does.
    """
    from harness.cluster.jobs import COORDINATOR
    from harness.cluster.log_merge import merge_logs

    if detach:
        output.show(name)
        output.say(f"run {name} is submitted; `ptp-harness cluster logs {name}` follows it")
        return
    output.say(f"run {name} is submitted; Ctrl-C leaves it running, `ptp-harness cluster cancel {name}` ends it")
    if queue is not None:
        output.say(f"it begins when Kueue admits it from the queue {queue}")
    for _, line in merge_logs(connection, name, part=COORDINATOR):
        output.say(line)
    raise typer.Exit(_tell_end(connection, name))


def logs(
    run: cluster_options.Run,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Until the run has ended.")] = True,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
) -> None:
    """Print what all pods of a run print.

    Their lines come side by side, each with its pod, until the run has ended.

    Examples:
        ptp-harness cluster logs k3f9mq
        ptp-harness cluster logs k3f9mq --no-follow | grep lab.phc
    """
    from harness.cluster.log_merge import merge_logs
    from harness.cluster.run_state import find_coordinator

    connection = cluster_options.open_connection(context, namespace)
    find_coordinator(connection, run)
    for pod, line in merge_logs(connection, run, follow=follow):
        output.show(f"{pod}  {line}")


def status(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="The name of the run; all of them without.")] = None,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
) -> None:
    """Show the runs of a namespace, or the Jobs and pods of one.

    Without RUN, the schedules that submit runs are listed, too.

    Examples:
        ptp-harness cluster status
        ptp-harness cluster status k3f9mq
    """
    from harness.cluster.jobs import COORDINATOR
    from harness.cluster.pod_states import find_trouble
    from harness.cluster.run_state import find_coordinator, list_jobs, list_pods, read_end
    from harness.report.table import align_rows

    connection = cluster_options.open_connection(context, namespace)
    if run is not None:
        find_coordinator(connection, run)
    jobs = list_jobs(connection, run, part=None if run else COORDINATOR)
    rows = [["run", "part", "state", "pods run", "ended", "failed", "since", "schedule"]]
    for job in jobs:
        part, counts = job.suite or job.part, (job.active, job.succeeded, job.failed)
        rows.append([job.run, part, job.state, *map(str, counts), job.created, job.schedule])
    output.show("\n".join(align_rows(rows)) if jobs else f"no run in namespace {connection.namespace}")
    if run is None:
        show_schedules(connection)
        return
    pods = list_pods(connection, run)
    trouble = find_trouble([pod for pod in pods if pod.status and pod.status.phase in ("Pending", "Failed")])
    if trouble is not None:
        output.say(f"{trouble}" + (f"\n  next: {trouble.remedy}" if trouble.remedy else ""))
    end = read_end(pods)
    if end is not None and end.exit_code is not None:
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(end.verdicts.items()))
        output.show(f"verdicts: {verdicts}; exit code {end.exit_code}")


def cancel(
    run: cluster_options.Run, context: cluster_options.Context = None, namespace: cluster_options.Namespace = None
) -> None:
    """End a run; its hosts are released.

    Hosts under way are judged by the evidence so far, as after Ctrl-C of `ptp-harness run`.

    Examples:
        ptp-harness cluster cancel k3f9mq
    """
    from lightkube.resources.batch_v1 import Job
    from lightkube.types import CascadeType

    from harness.cluster.connection import telling_errors
    from harness.cluster.jobs import CANCELLED_ANNOTATION
    from harness.cluster.run_state import find_coordinator, list_jobs

    connection = cluster_options.open_connection(context, namespace)
    state = find_coordinator(connection, run)
    if state.end:
        raise RequestError(f"run {run} has ended: {state.end}", next_step=f"`ptp-harness cluster status {run}`")
    if state.waits_in and len(list_jobs(connection, run)) == 1:
        with telling_errors(connection, f"removing run {run}"):
            connection.client.delete(Job, state.name, cascade=CascadeType.FOREGROUND)
        output.say(f"run {run} had not begun: it waited in the queue {state.waits_in}, and is removed")
        return
    with telling_errors(connection, f"cancelling run {run}"):
        change = {"metadata": {"annotations": {CANCELLED_ANNOTATION: "true"}}}
        connection.client.patch(Job, state.name, change)
    output.say(f"run {run} is cancelled: its hosts are released; `ptp-harness cluster logs {run}` shows its end")


def clean(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Runs that have ended; all without.")] = None,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
) -> None:
    """Remove the Jobs and pods of runs that have ended.

    Namespaces that runs made for themselves and left go, too, for those who have the ClusterRole ptp-harness-clean.
    Ledger, evidence and schedules stay, and so does all that is not ours.

    Examples:
        ptp-harness cluster clean
        ptp-harness cluster clean k3f9mq
    """
    from lightkube.resources.batch_v1 import Job
    from lightkube.types import CascadeType

    from harness.cluster.connection import telling_errors
    from harness.cluster.jobs import COORDINATOR
    from harness.cluster.own_namespace import remove_left
    from harness.cluster.run_state import find_coordinator, list_jobs

    connection = cluster_options.open_connection(context, namespace)
    chosen = [find_coordinator(connection, name) for name in runs or ()] or list_jobs(connection, part=COORDINATOR)
    going_on = [job.run for job in chosen if not job.end]
    if runs and going_on:
        raise RequestError(
            f"run {', '.join(going_on)} has not ended", next_step=f"`ptp-harness cluster cancel {going_on[0]}`"
        )
    for job in chosen:
        if job.end:
            with telling_errors(connection, f"removing run {job.run}"):
                connection.client.delete(Job, job.name, cascade=CascadeType.FOREGROUND)
            output.show(job.run)
    for name in remove_left(connection, runs, going_on):
        output.show(name)
    if going_on:
        output.say(f"not ended, and left alone: {', '.join(going_on)}")


def _tell_end(connection: Connection, run: str) -> ExitCode:
    """Say how a run ended, if its coordinator could not; return the exit code."""
    from harness.cluster.connection import patiently
    from harness.cluster.jobs import COORDINATOR
    from harness.cluster.run_state import find_coordinator, list_pods, read_end

    end = read_end(patiently(lambda: list_pods(connection, run, part=COORDINATOR)))
    if end is not None and end.exit_code is not None:
        return end.exit_code
    problem = end.problem if end is not None else "its coordinator never began"
    output.say(f"run {run} has no result: {find_coordinator(connection, run).end}: {problem}")
    return ExitCode.BAD_REQUEST
