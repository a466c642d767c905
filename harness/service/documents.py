"""Define the documents of the API: what its answers and requests hold."""

import datetime
from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.runs.queue_forecast import ExpectedTimes
from harness.store.task_lines import TaskLine

Item = TypeVar("Item")


class Document(BaseModel):
    """A part of a request: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[Item]):
    """A page of a list. `next`: the cursor of the next page; null on the last one."""

    items: list[Item]
    next: str | None = None


class Submission(Document):
    """A campaign to carry out. `campaign`: the text of a campaign file, YAML or JSON.

    `priority`: the highest begins first. `site`: that is to carry it out; without it this service, or a site that has
    the bench.
    """

    campaign: Annotated[str, Field(min_length=1, max_length=500_000)]
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    site: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")] | None = None


class TaskDocument(BaseModel):
    """A submitted campaign. `run`: null before its run began; `/v1/runs/{run}` has the rest.

    `position`: its place among those that wait, from 1. `expected_s`: how long its run takes, as estimated; from it
    and from the queue follow `expected_start` and `expected_end`, null unless the task waits or runs here.
    """

    task: str
    state: TaskState
    run: str | None
    bench: str
    hosts: int
    outcome: Outcome | None
    exit_code: int | None
    problem: str | None
    submitter: str
    submitted: str
    begun: str | None
    ended: str | None
    cancelled_by: str | None
    position: int | None
    priority: int
    expected_s: float
    expected_start: str | None = None
    expected_end: str | None = None
    site: str | None
    schedule: str | None


class Readiness(BaseModel):
    """State of a thing that the service needs. `reason`: why it is not ready; `age_s`: how long ago it was looked at.

    `required`: the service cannot do without it. `age_s` is null before the first look has ended.
    """

    name: str
    ready: bool
    reason: str | None = None
    age_s: float | None
    required: bool = True


class ReadinessReport(BaseModel):
    """Whether the service can do its work, and each thing that it needs."""

    ready: bool
    parts: list[Readiness]


class Alive(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"


class ServiceInfo(BaseModel):
    """The program that serves. `schemas`: the version of each document by its name. `limits`: tasks at once."""

    name: str = "ptp-harness"
    version: str
    api: str = "v1"
    benches: Sequence[str]
    tasks_at_once: int
    tasks_per_bench: dict[str, int]
    tasks_per_submitter: int | None
    most_waiting: int
    most_body_bytes: int
    schemas: dict[str, int]
    ledger_revision: str


def moment(time_ns: int | None) -> str | None:
    """Write a time of the ledger as RFC 3339 has it, UTC."""
    if time_ns is None:
        return None
    at = datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task_document(line: TaskLine, expected: ExpectedTimes | None = None) -> TaskDocument:
    """Write a task. `expected`: when it begins and ends, as the queue has it."""
    return TaskDocument(
        task=line.task,
        state=line.state,
        run=line.run,
        bench=line.bench,
        hosts=line.hosts,
        outcome=line.outcome,
        exit_code=line.exit_code,
        problem=line.problem,
        submitter=line.submitter,
        submitted=moment(line.submitted_ns) or "",
        begun=moment(line.begun_ns),
        ended=moment(line.ended_ns),
        cancelled_by=line.cancelled_by,
        position=line.position,
        priority=line.priority,
        expected_s=line.expected_s,
        expected_start=None if expected is None else moment(expected.start_ns),
        expected_end=None if expected is None else moment(expected.end_ns),
        site=line.site,
        schedule=line.schedule,
    )
