"""Define what the queue of tasks tells: a line of each task, and how tasks are chosen for a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.model import Outcome
from harness.model.tasks import TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A campaign to submit. `document`: as it was written; `campaign`: as `campaign.stored` writes it.

    `hosts`: how many it names. `expected_s`: how long it is expected to take. `fingerprint`: SHA-256 of the request.
    """

    document: str
    campaign: Mapping[str, Any]
    bench: str
    hosts: int
    submitter: str
    fingerprint: str
    site: str | None = None
    priority: int = 0
    expected_s: float = 0.0
    idempotency_key: str | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    """A task in the queue. Times are ns since the epoch, of the database. `run`: None before its run began.

    `position`: its place among those that wait, from 1; None unless it waits. `cancelled_by`: who asked it to end.
    """

    task: str
    state: TaskState
    bench: str
    hosts: int
    site: str | None
    remote_task: str | None
    priority: int
    expected_s: float
    submitter: str
    submitted_ns: int
    schedule: str | None
    attempt: int
    begun_ns: int | None
    ended_ns: int | None
    cancelled_by: str | None
    exit_code: int | None
    outcome: Outcome | None
    problem: str | None
    run: str | None
    position: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """A selection of tasks: those that meet every condition that is not None. Times are ns since the epoch."""

    state: TaskState | None = None
    outcome: Outcome | None = None
    bench: str | None = None
    instance_type: str | None = None
    site: str | None = None
    submitter: str | None = None
    schedule: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlace:
    """The place of a task in a list, newest first: a list goes on behind it."""

    submitted_ns: int
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How many tasks may run at once: on this machine, on each bench, and of each submitter (None: no limit).

    A bench whose hosts are of the machine that makes them is counted on this machine alone, any other on all.
    """

    tasks: int = 2
    per_bench: Mapping[str, int]
    per_submitter: int | None = None
