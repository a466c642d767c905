"""Define what the service tells about tasks and about itself."""

import datetime
from dataclasses import dataclass

from harness.model import Outcome
from harness.model.tasks import TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A submitted campaign. `run`: None before its run began. `position`: its place among those that wait, from 1.

    `outcome`: the worst of its run's hosts. `exit_code`: what `ptp-harness run` would have ended with. `problem`: why
    its run could not begin.
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
    submitted: datetime.datetime
    begun: datetime.datetime | None = None
    ended: datetime.datetime | None = None
    cancelled_by: str | None = None
    position: int | None = None
    priority: int = 0
    expected_s: float = 0.0
    site: str | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceVersion:
    """The version of ptp-harness that a service is, and the benches that campaigns may use there.

    `schemas`: the versions of its documents and of what it does for hubs, by name.
    """

    version: str
    api: str
    benches: tuple[str, ...]
    schemas: dict[str, int]
