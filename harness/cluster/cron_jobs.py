"""Submit runs at set times: a CronJob for each schedule, and what the pods of its Jobs do."""

from dataclasses import dataclass

from lightkube.resources.batch_v1 import CronJob
from lightkube.types import CascadeType

from harness.campaign.campaign import Campaign
from harness.cluster.connection import ClusterError, Connection, telling_errors
from harness.cluster.jobs import (
    COORDINATOR,
    OURS,
    PART_LABEL,
    SCHEDULE,
    SCHEDULE_LABEL,
    PodOptions,
    make_coordinator,
    name_of,
    name_schedule,
)
from harness.cluster.run_state import list_jobs
from harness.errors import ConflictError, RequestError, UnknownNameError
from harness.store.names_at_random import SUBMITTED_RUN_CHARACTERS, derive_name
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

_NAME = r"[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?"
"""The name of a CronJob has 52 characters at most: Kubernetes puts the time behind it for the names of its Jobs."""

_FIELDS = "minute, hour, day of the month, month, day of the week: `--cron '0 3 * * 1'` is 03:00 each Monday"


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """A schedule of a namespace. `last`: when it submitted a run last, as Kubernetes writes it; "": never so far."""

    name: str
    cron: str
    zone: str
    last: str
    suspended: bool
    image: str


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A time of a schedule. `run`: that was submitted; with `earlier`, that of an earlier time, which still goes on."""

    run: str
    earlier: bool


def check_schedule_name(name: str) -> None:
    """Raise RequestError for a text that is no name of a schedule of a cluster."""
    if not names.fits(_NAME, name):
        raise RequestError(
            f"{shorten_value(name)} is no name of a schedule of a cluster",
            next_step="--name, of small letters, digits and - between them, at most 39: nightly, c8-weekly",
        )


def add_schedule(connection: Connection, schedule: CronJob, *, only_check: bool = False) -> None:
    """Make a CronJob, or only have the API server judge it, by which nothing is made. Raises RequestError."""
    name = ((schedule.metadata and schedule.metadata.labels) or {})[SCHEDULE_LABEL]
    try:
        with telling_errors(connection, f"making the schedule {name}"):
            connection.client.create(schedule, dry_run=only_check)
    except ClusterError as error:
        if error.status == 409:
            raise ConflictError(
                f"namespace {connection.namespace} has a schedule {name} already",
                next_step=f"another --name, or `ptp-harness cluster schedule --remove {name}` before",
            ) from error
        if error.status == 422:
            raise RequestError(error.message, next_step=_FIELDS) from error
        raise


def list_schedules(connection: Connection) -> list[ScheduleState]:
    """List the schedules of the namespace, by name."""
    labels = OURS | {PART_LABEL: SCHEDULE}
    with telling_errors(connection, f"listing schedules in namespace {connection.namespace}"):
        items = [*connection.client.list(CronJob, namespace=connection.namespace, labels={**labels})]
    return sorted(map(_make_state, items), key=lambda state: state.name)


def remove_schedule(connection: Connection, name: str) -> None:
    """Remove a schedule; runs that it submitted stay. Raises UnknownNameError where there is none of ours."""
    if name not in (known := [state.name for state in list_schedules(connection)]):
        raise UnknownNameError(
            f"namespace {connection.namespace} ({connection.context}) has no schedule {shorten_value(name)}",
            next_step=f"its schedules: {', '.join(known) or 'none'}",
        )
    with telling_errors(connection, f"removing the schedule {name}"):
        connection.client.delete(CronJob, name_schedule(name), cascade=CascadeType.BACKGROUND)


def submit_scheduled(
    connection: Connection, schedule: str, job: str, campaign: Campaign, options: PodOptions, hosts_per_pod: int | None
) -> ScheduledRun:
    """Submit the run of a time of a schedule, unless the run of an earlier time still goes on.

    `job`: the identifier of the Job that Kubernetes made for this time: however often one of its pods is tried, it
    submits the same run.
    """
    run = derive_name(job, SUBMITTED_RUN_CHARACTERS)
    for other in list_jobs(connection, part=COORDINATOR):
        if other.schedule == schedule and other.end is None:
            return ScheduledRun(other.run, earlier=other.run != run)
    coordinator = make_coordinator(run, campaign, options, hosts_per_pod=hosts_per_pod, schedule=schedule)
    try:
        with telling_errors(connection, f"submitting run {run}"):
            connection.client.create(coordinator)
    except ClusterError as error:
        if error.status != 409:
            raise
    return ScheduledRun(run, earlier=False)


def _make_state(item: CronJob) -> ScheduleState:
    labels, spec = (item.metadata and item.metadata.labels) or {}, item.spec
    template = spec and spec.jobTemplate.spec and spec.jobTemplate.spec.template.spec
    last = item.status and item.status.lastScheduleTime
    return ScheduleState(
        name=labels.get(SCHEDULE_LABEL, name_of(item)),
        cron=(spec and spec.schedule) or "",
        zone=(spec and spec.timeZone) or "UTC",
        last="" if last is None else str(last),
        suspended=bool(spec and spec.suspend),
        image=(template and template.containers[0].image) or "",
    )
