"""`cluster`: campaigns on Kubernetes, whose pods claim the hosts of a run."""

from typing import Annotated

import typer

from harness.cli import campaign_options, cluster_options, output
from harness.cluster.connection import Connection
from harness.errors import ExitCode, RequestError


def run(
    targets: campaign_options.Targets,
    bench: campaign_options.BenchName = None,
    region: campaign_options.Region = None,
    image_name: Annotated[
        str | None, typer.Option("--host-image", metavar="NAME", help="The image of the hosts: al2023, ... (EC2).")
    ] = None,
    depth: campaign_options.DepthName = None,
    disturb: campaign_options.Disturb = None,
    parallel: campaign_options.Parallel = None,
    read_only: campaign_options.ReadOnly = False,
    duration: campaign_options.Duration = None,
    hosts_per_pod: Annotated[
        int | None,
        typer.Option("--hosts-per-pod", min=1, max=64, metavar="N", help="Hosts at once in a pod (EC2: 8, lab: 1)."),
    ] = None,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
    image: cluster_options.Image = None,
    registry: cluster_options.Registry = None,
    pull: cluster_options.Pull = "IfNotPresent",
    lab_cache: cluster_options.LabCache = None,
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
    """
    from harness.cluster.connection import telling_errors
    from harness.cluster.jobs import make_coordinator
    from harness.cluster.pod_benches import require_bench
    from harness.store.names_at_random import SUBMITTED_RUN_CHARACTERS, draw_name

    host = {"bench": bench, "region": region, "image": image_name, "depth": depth, "disturbances": disturb or None}
    flags = {"read_only": read_only, "duration": duration, "parallel": parallel}
    campaign = campaign_options.load_campaign(targets, **host, **flags)
    options = cluster_options.make_pod_options(image, registry, pull, lab_cache=lab_cache)
    require_bench(campaign, claim=lab_cache, lab_in_image=image is not None)
    connection = cluster_options.open_connection(context, namespace)
    name = draw_name(SUBMITTED_RUN_CHARACTERS)
    job = make_coordinator(name, campaign, options, hosts_per_pod=hosts_per_pod)
    with telling_errors(connection, f"submitting run {name}"):
        connection.client.create(job)
    follow_run(connection, name, detach=detach)


def follow_run(connection: Connection, name: str, *, detach: bool) -> None:
    """Say that a run is submitted; unless detached, print what its coordinators print, and end with its exit code."""
    from harness.cluster.jobs import COORDINATOR
    from harness.cluster.log_merge import merge_logs

    if detach:
        output.show(name)
        output.say(f"run {name} is submitted; `ptp-harness cluster logs {name}` follows it")
        return
    output.say(f"run {name} is submitted; Ctrl-C leaves it running, `ptp-harness cluster cancel {name}` ends it")
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
    rows = [["run", "part", "state", "pods run", "ended", "failed", "since"]]
    for job in jobs:
        state = "cancelled" if job.cancelled and not job.end else job.end or "goes on"
        part = job.suite or job.part
        rows.append([job.run, part, state, *map(str, (job.active, job.succeeded, job.failed)), job.created])
    output.show("\n".join(align_rows(rows)) if jobs else f"no run in namespace {connection.namespace}")
    if run is None:
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

    from harness.cluster.connection import telling_errors
    from harness.cluster.jobs import CANCELLED_ANNOTATION, name_coordinator
    from harness.cluster.run_state import find_coordinator

    connection = cluster_options.open_connection(context, namespace)
    state = find_coordinator(connection, run)
    if state.end:
        raise RequestError(f"run {run} has ended: {state.end}", next_step=f"`ptp-harness cluster status {run}`")
    with telling_errors(connection, f"cancelling run {run}"):
        change = {"metadata": {"annotations": {CANCELLED_ANNOTATION: "true"}}}
        connection.client.patch(Job, name_coordinator(run), change)
    output.say(f"run {run} is cancelled: its hosts are released; `ptp-harness cluster logs {run}` shows its end")


def clean(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Runs that have ended; all without.")] = None,
    context: cluster_options.Context = None,
    namespace: cluster_options.Namespace = None,
) -> None:
    """Remove the Jobs and pods of runs that have ended.

    Ledger and evidence stay, and so does all that is not ours.

    Examples:
        ptp-harness cluster clean
        ptp-harness cluster clean k3f9mq
    """
    from lightkube.resources.batch_v1 import Job
    from lightkube.types import CascadeType

    from harness.cluster.connection import telling_errors
    from harness.cluster.jobs import COORDINATOR
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
