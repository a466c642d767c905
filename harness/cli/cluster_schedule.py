"""`cluster schedule`: campaigns that a cluster carries out at set times."""

import time
from pathlib import Path
from typing import Annotated

import typer

from harness import units
from harness.cli import campaign_options, cluster_options, output
from harness.cluster.connection import Connection
from harness.errors import RequestError


def schedule(
    targets: campaign_options.TargetsUnlessJoined = None,
    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="CRON", help="Minute, hour, day, month, day of the week: '0 3 * * 1'."),
    ] = None,
    zone: Annotated[
        str, typer.Option("--zone", metavar="ZONE", help="The time zone of --cron, such as Europe/Berlin.")
    ] = "UTC",
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The schedule's name (default: that of the campaign file)."),
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Remove a schedule; its runs stay.")
    ] = None,
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
) -> None:
    """Carry out a campaign on a cluster at set times.

    Makes a CronJob that submits one run at each time, unless the run of the time before still goes on. The campaign is
    read now: a file that is changed later changes nothing. `cluster status` lists schedules, and the runs of each.

    Examples:
        ptp-harness cluster schedule nightly.yaml --cron '0 3 * * *'
        ptp-harness cluster schedule m7i.large --cron '0 3 * * 1' --name weekly
        ptp-harness cluster schedule --remove weekly
    """
    if remove is not None:
        _remove(remove, context, namespace, others=bool(targets or cron or name))
        return
    if not targets or cron is None:
        raise RequestError(
            "a schedule needs a campaign and --cron",
            next_step="ptp-harness cluster schedule campaign.yaml --cron '0 3 * * 1'",
        )
    from harness.cluster.api_version import require_version
    from harness.cluster.cron_jobs import add_schedule, check_schedule_name
    from harness.cluster.jobs import make_schedule
    from harness.cluster.pod_benches import require_bench

    chosen = name if name is not None else _name_after(targets)
    check_schedule_name(chosen)
    host = {"bench": bench, "region": region, "image": image_name, "depth": depth, "disturbances": disturb or None}
    flags = {"read_only": read_only, "duration": duration, "parallel": parallel}
    campaign = campaign_options.load_campaign(targets, **host, **flags)
    queues = {"queue": queue, "coordinator_queue": coordinator_queue}
    options = cluster_options.make_pod_options(
        image, registry, pull, lab_cache=lab_cache, **queues, priority_class=priority_class
    )
    require_bench(campaign, claim=lab_cache, lab_in_image=image is not None)
    connection = cluster_options.open_connection(context, namespace)
    require_version(connection)
    cluster_options.require_queue(connection, options)
    job = make_schedule(chosen, cron, zone, campaign, options, hosts_per_pod=hosts_per_pod)
    add_schedule(connection, job, only_check=True)
    first = _find_first(cron, zone)
    add_schedule(connection, job)
    output.say(f"schedule {chosen}: {first}{cron} in {zone}; `ptp-harness cluster status` lists its runs")


def show_schedules(connection: Connection) -> None:
    """Print the schedules of a namespace, if there are any."""
    from harness.cluster.cron_jobs import list_schedules
    from harness.report.table import align_rows
    from harness.untrusted.plain_text import printable

    rows = [
        [state.name, state.cron, state.zone, state.last or "never", "suspended" if state.suspended else "", state.image]
        for state in list_schedules(connection)
    ]
    if rows:
        output.show("")
        head = ["schedule", "cron", "zone", "last run submitted", "", "image"]
        output.show("\n".join(align_rows([head, *([printable(cell) for cell in row] for row in rows)])))


def _remove(name: str, context: str | None, namespace: str | None, *, others: bool) -> None:
    from harness.cluster.cron_jobs import remove_schedule

    if others:
        raise RequestError(
            "--remove goes without a campaign, --cron and --name", next_step="two commands: one removes, one makes"
        )
    connection = cluster_options.open_connection(context, namespace)
    remove_schedule(connection, name)
    output.say(f"schedule {name} is removed; runs that it submitted stay, `ptp-harness cluster status` lists them")


def _name_after(targets: list[str]) -> str:
    """Name a schedule after its campaign file. Raises RequestError where there is none."""
    if len(targets) == 1 and Path(targets[0]).is_file():
        return Path(targets[0]).stem.lower().replace("_", "-")
    raise RequestError("a schedule of types needs a name", next_step="--name nightly")


def _find_first(cron: str, zone: str) -> str:
    """Say when a schedule is due first; "" for forms that the API server alone reads. Raises RequestError for never.

    To the API server, the 30th of February is a day like others.
    """
    from harness.runs.due_times import find_first_ns

    if len(cron.split()) != 5 or "?" in cron:
        return ""
    due_ns = find_first_ns(cron, zone, time.time_ns())
    return f"first at {units.utc_moment(due_ns):%Y-%m-%d %H:%M} UTC, then at "
