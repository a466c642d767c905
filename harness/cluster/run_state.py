"""See how far a run on a cluster is: its Jobs and pods, and the end that its coordinator left."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod

from harness.cluster.connection import ClusterError, Connection, Selector, telling_errors
from harness.cluster.jobs import (
    COORDINATOR,
    JOB_NAME_LABEL,
    OURS,
    PART_LABEL,
    RUN_LABEL,
    SCHEDULE_LABEL,
    SUITE_LABEL,
    find_end,
    find_queue,
    is_cancelled,
    name_coordinator,
    name_of,
)
from harness.cluster.pod_states import PodTrouble, make_trouble, read_problem
from harness.errors import ExitCode, RequestError
from harness.untrusted.plain_text import clip, printable


@dataclass(frozen=True, slots=True)
class JobState:
    """A Job: `end` is None while it goes on, else Complete, or why it failed. The numbers count its pods.

    `schedule`: that submitted it, or ""; `waits_in`: the queue that it waits in, or "".
    """

    name: str
    run: str
    part: str
    suite: str
    end: str | None
    cancelled: bool
    active: int
    succeeded: int
    failed: int
    created: str
    schedule: str
    waits_in: str

    @property
    def state(self) -> str:
        """How far it is, for people."""
        if self.end:
            return self.end
        if self.cancelled:
            return "cancelled"
        return f"waits in queue {self.waits_in}" if self.waits_in else "goes on"


@dataclass(frozen=True, slots=True)
class CoordinatorEnd:
    """The end of a run, as the coordinator's pod left it. `exit_code`: of the run; None: it has none.

    `reports`: the folder of the run in the evidence store, if its reports are there; not checked.
    """

    exit_code: ExitCode | None
    verdicts: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    reports: str | None = None


def list_jobs(connection: Connection, run: str | None = None, *, part: str | None = None) -> list[JobState]:
    """List our Jobs, or those of a run, the oldest first."""
    with telling_errors(connection, f"listing Jobs in namespace {connection.namespace}"):
        jobs = [*connection.client.list(Job, namespace=connection.namespace, labels=_select(run, part))]
    return sorted(map(_make_state, jobs), key=lambda job: (job.created, job.name))


def find_coordinator(connection: Connection, run: str) -> JobState:
    """Find the coordinator's Job of a run. Raises RequestError where there is none."""
    try:
        with telling_errors(connection, f"reading run {run}"):
            return _make_state(connection.client.get(Job, name_coordinator(run)))
    except ClusterError as error:
        if error.status != 404:
            raise
        known = [job.run for job in list_jobs(connection, part=COORDINATOR)]
        raise RequestError(
            f"namespace {connection.namespace} ({connection.context}) has no run {run}",
            next_step=f"its runs: {', '.join(known[-10:]) or 'none'}",
        ) from error


def list_pods(connection: Connection, run: str, *, part: str | None = None) -> list[Pod]:
    """List the pods of a run, the oldest first."""
    return _list_pods(connection, _select(run, part), f"listing the pods of run {run}")


def list_job_pods(connection: Connection, job: str) -> list[Pod]:
    """List the pods of a Job, the oldest first."""
    return _list_pods(connection, {JOB_NAME_LABEL: job}, f"listing the pods of Job {job}")


def find_refusal(connection: Connection, job: str) -> PodTrouble | None:
    """Find why no pod was made for a Job, as its events tell: quota, Pod Security, an account that is not there."""
    with telling_errors(connection, "listing events"):
        events = [*connection.client.list(Event, namespace=connection.namespace, fields={"involvedObject.name": job})]
    warnings = [event.message or "" for event in events if event.type == "Warning"]
    if not warnings:
        return None
    remedy = "apply deploy/cluster/base, and see the quota of the namespace"
    return make_trouble(warnings[-1], lasting=True, remedy=remedy)


def _list_pods(connection: Connection, labels: Selector, what: str) -> list[Pod]:
    with telling_errors(connection, what):
        pods = [*connection.client.list(Pod, namespace=connection.namespace, labels=labels)]
    return sorted(pods, key=lambda pod: str(pod.metadata and pod.metadata.creationTimestamp))


def read_end(pods: Sequence[Pod]) -> CoordinatorEnd | None:
    """Read the end that a coordinator's pod left: a result, else why the last one ended; None where none has ended.

    `pods`: of the run, those of its suites too.
    """
    ends = [
        _parse_end(status.state.terminated.message or "", status.state.terminated.exitCode)
        for pod in reversed(pods)
        if ((pod.metadata and pod.metadata.labels) or {}).get(PART_LABEL) == COORDINATOR
        for status in (pod.status and pod.status.containerStatuses) or ()
        if status.state and status.state.terminated
    ]
    return next((end for end in ends if end.exit_code is not None), ends[0] if ends else None)


def has_ended(coordinator: JobState, pods: Sequence[Pod]) -> bool:
    """Whether a run has ended: a coordinator has left its end, though another pod may be on a node that is lost."""
    end = read_end(pods)
    return coordinator.end is not None or (end is not None and end.exit_code is not None)


def _select(run: str | None, part: str | None) -> Selector:
    return {**OURS, **({RUN_LABEL: run} if run else {}), **({PART_LABEL: part} if part else {})}


def _parse_end(message: str, status: int) -> CoordinatorEnd:
    try:
        left = json.loads(message)
        if status == 0:
            verdicts = {str(name): int(count) for name, count in left["verdicts"].items()}
            reports = None if left.get("reports") is None else clip(printable(str(left["reports"])), 500)
            return CoordinatorEnd(exit_code=ExitCode(int(left["exit_code"])), verdicts=verdicts, reports=reports)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    problem = clip(printable(f"status {status}: {read_problem(message)}"), 500)
    return CoordinatorEnd(exit_code=None, problem=problem)


def _make_state(job: Job) -> JobState:
    labels, status, end = (job.metadata and job.metadata.labels) or {}, job.status, find_end(job)
    return JobState(
        name=name_of(job),
        run=labels.get(RUN_LABEL, ""),
        part=labels.get(PART_LABEL, ""),
        suite=labels.get(SUITE_LABEL, ""),
        end=end if end is None else end or "Complete",
        cancelled=is_cancelled(job),
        active=(status and status.active) or 0,
        succeeded=(status and status.succeeded) or 0,
        failed=(status and status.failed) or 0,
        created=str(job.metadata and job.metadata.creationTimestamp),
        schedule=labels.get(SCHEDULE_LABEL, ""),
        waits_in=find_queue(job) or "",
    )
