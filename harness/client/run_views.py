"""Define what the service tells about runs, their hosts and their events."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.model import Event, Outcome, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run. `state`: ended, under way or died. `instance_types`: those of its first hosts, each once.

    `verdicts`: the number of hosts with each outcome that occurs. `offset_p99_ns`, `bound_p99_ns`: the worst of its
    hosts. `kept`: hosts that stayed, and `kept_until` when the first of them ends. `task`, `submitter`: of the
    submitted campaign whose run it is.
    """

    run: str
    bench: str
    state: str
    started: datetime.datetime
    host_count: int
    instance_types: tuple[str, ...]
    verdicts: Mapping[Outcome, int]
    offset_p99_ns: float | None
    bound_p99_ns: float | None
    kept: int
    kept_until: datetime.datetime | None
    task: str | None
    submitter: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHost:
    """A host of a run. `stage`: in which it is, or was last, and `doing` in words. Before its verdict: no `outcome`.

    `state`: what became of it; None before that.
    """

    host: str
    instance_type: str
    outcome: Outcome | None
    reason: str | None
    sentence: str | None
    state: str | None
    stage: str | None
    doing: str
    kept_until: datetime.datetime | None
    kept_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView(Run):
    """A run with its hosts. `outcome`: the worst of them. `events`: the number of its latest event."""

    leader: str
    events: int
    outcome: Outcome | None
    seconds: float | None
    interrupted: bool | None
    failures: tuple[str, ...]
    leftovers: tuple[str, ...]
    hosts: tuple[RunHost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """An event of a run. `number`: its place in the run, from 1. `text`: one line; empty where a stage begins."""

    number: int
    at: datetime.datetime
    host: str | None
    stage: str | None
    text: str

    def to_event(self, run: str) -> Event:
        """Make the event that a run of this machine would tell; a stage of a later version is none."""
        stage = next((stage for stage in Stage if stage == self.stage), None)
        return Event(run=run, host=self.host, stage=stage, text=self.text, at=self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptHostView:
    """A host that stayed after its run. `left_s`: until its lease ends; None where no lease ends it.

    `command`: enters it from a machine that has the state of its run.
    """

    run: str
    host: str
    bench: str
    instance_type: str
    kept_by: str | None
    kept_until: datetime.datetime | None
    left_s: float | None
    cost_usd: float | None
    address: str | None
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedText:
    """A comparison of runs in one form. `exit_code`: 1 where something got worse, 3 where not all could be compared."""

    text: str
    exit_code: int


Document = Mapping[str, Any]
"""A document that is passed on as it is."""
