"""Define the documents of runs, events, evidence, baselines and kept hosts, and make them of what the ledger tells."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from harness.model import HostState, Outcome, Stage
from harness.model.outcomes import worst_outcome
from harness.runs.event_lines import event_document
from harness.runs.host_stages import describe_step
from harness.service.documents import Document, moment
from harness.store.baselines import BaselineLine
from harness.store.event_log import NumberedEvent
from harness.store.kept_lines import KeptLine
from harness.store.ledger_lines import StepLine
from harness.store.owners import describe_owner
from harness.store.run_details import HostOverview, RunDetails
from harness.store.run_pages import RunSummary
from harness.store.run_query import RunState
from harness.untrusted import names


class RunItem(BaseModel):
    """A run in a list.

    `instance_types`: those of its first hosts. `verdicts`: the number of hosts with each outcome that occurs.
    `offset_p99_ns`, `bound_p99_ns`: the worst of its hosts, what 99 % of the sizes are within; null without figures.
    `kept`: hosts that stayed; `kept_until`: when the first of them ends. `task`: the submitted campaign whose run it
    is, of `submitter`; null for a run that a command began.
    """

    run: str
    bench: str
    state: RunState
    started: str
    host_count: int
    instance_types: list[str]
    verdicts: dict[Outcome, int]
    offset_p99_ns: float | None
    bound_p99_ns: float | None
    kept: int
    kept_until: str | None
    task: str | None
    submitter: str | None


class HostItem(BaseModel):
    """A host of a run.

    `stage`: in which it is, or was last; null before the first, and once the run has ended. `doing`: the same in words;
    `stage_since`: when that stage began. `outcome`, `reason`, `sentence`: of its verdict, null before. `state`: what
    became of the host, null before.
    """

    host: str
    instance_type: str
    attempt: int
    outcome: Outcome | None
    reason: str | None
    sentence: str | None
    state: HostState | None
    stage: Stage | None
    doing: str
    stage_since: str | None
    region: str | None
    offset_p99_ns: float | None
    bound_p99_ns: float | None
    kept_until: str | None
    kept_by: str | None


class RunDetail(RunItem):
    """A run with its hosts.

    `leader`: the process that leads it, or led it. `outcome`: the worst of its hosts. `seconds`, `interrupted`,
    `failures` (of the harness itself), `leftovers` (what could not be removed), `evidence_unsent` (why the evidence is
    not in the evidence store): of a run that has ended.
    """

    leader: str
    events: int
    outcome: Outcome | None
    seconds: float | None
    interrupted: bool | None
    failures: list[str]
    leftovers: list[str]
    evidence_unsent: str | None
    hosts: list[HostItem]


class EventDocument(BaseModel):
    """An event of a run. `number`: its place in the run, from 1. `text`: one line; empty where a stage begins."""

    number: int
    at: str
    host: str | None
    stage: Stage | None
    text: str


class EventPage(BaseModel):
    """Events of a run behind a number. `next`: the number to go on behind; null where these are all so far."""

    items: list[EventDocument]
    next: int | None
    state: RunState


class EvidenceItem(BaseModel):
    """A file of a run's evidence. `sha256`: as the run's checksums have it; null before they are written."""

    path: str
    size: int
    sha256: str | None


class EvidenceList(BaseModel):
    """The files of a run's evidence. `missing`: hosts whose evidence is neither here nor in the evidence store."""

    run: str
    items: list[EvidenceItem]
    missing: list[str]


BaselineName = Annotated[str, Field(pattern=rf"^{names.BASELINE}$")]


class BaselineItem(BaseModel):
    """A run of a baseline: when it was added, and by whom."""

    name: str
    run: str
    bench: str
    started: str
    added: str
    added_by: str


class BaselineRuns(Document):
    """Runs to add to a baseline, by their names."""

    runs: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=200)]


class RemovedRuns(BaseModel):
    """The runs that were removed from a baseline."""

    name: str
    runs: list[str]


class KeptHost(BaseModel):
    """A host that stayed after its run.

    `left_s`: until its lease ends; null where no lease ends it. `cost_usd`: so far, from the price that its run paid.
    `command`: enters it from a machine that has the state of its run.
    """

    run: str
    host: str
    bench: str
    instance_type: str
    outcome: Outcome | None
    kept_by: str | None
    kept_until: str | None
    left_s: float | None
    cost_usd: float | None
    address: str | None
    region: str | None
    zone: str | None
    command: str


class Connection(BaseModel):
    """How to log in to a host: a line of ssh, and the lines of known_hosts(5) with its pinned keys.

    `own_key`: a key of yours is accepted; else the run made a key, which the machine that led it has.
    """

    address: str
    port: int
    user: str
    ssh: str
    known_hosts: list[str]
    own_key: bool


class KeptHostDetail(KeptHost):
    """A kept host, and how to log in; null where its bench no longer finds it running."""

    connection: Connection | None


class KeepRequest(Document):
    """How long a host is to stay, from now: `30m`, `8h`, `2d`. Null: its lease stays as it is."""

    lease: Annotated[str | None, Field(max_length=32)] = None


class ReleasedHost(BaseModel):
    """A host that was removed."""

    run: str
    host: str
    state: HostState
    seconds: Annotated[float, Field(description="How long its removal took.")]


def run_item(summary: RunSummary) -> RunItem:
    """Write a run for a list."""
    return RunItem(**_run_fields(summary))


def _run_fields(summary: RunSummary) -> dict[str, Any]:
    line = summary.line
    return {
        "run": line.run,
        "bench": line.bench,
        "state": line.state,
        "started": moment(line.started_ns),
        "host_count": summary.hosts,
        "instance_types": list(summary.instance_types),
        "verdicts": dict(summary.verdicts),
        "offset_p99_ns": summary.offset_p99_ns,
        "bound_p99_ns": summary.bound_p99_ns,
        "kept": summary.kept,
        "kept_until": moment(summary.kept_until_ns),
        "task": summary.task,
        "submitter": summary.submitter,
    }


def run_detail(details: RunDetails) -> RunDetail:
    """Write a run with its hosts."""
    summary, record = details.summary, details.record or {}
    return RunDetail(
        **_run_fields(summary),
        leader=describe_owner(summary.line.owner),
        events=details.events,
        outcome=worst_outcome(summary.verdicts) if summary.verdicts else None,
        seconds=record.get("seconds"),
        interrupted=record.get("interrupted"),
        failures=list(record.get("failures", ())),
        leftovers=[_describe_resource(resource) for resource in record.get("leftovers", ())],
        evidence_unsent=record.get("evidence_unsent"),
        hosts=[_host_item(host, details.steps.get(host.host), run_ended=summary.line.ended) for host in details.hosts],
    )


def _describe_resource(resource: Mapping[str, Any]) -> str:
    return " ".join(str(resource.get(key, "")) for key in ("kind", "name", "token")).strip()


def _host_item(host: HostOverview, step: StepLine | None, *, run_ended: bool) -> HostItem:
    return HostItem(
        host=host.host,
        instance_type=host.instance_type,
        attempt=host.attempt,
        outcome=host.outcome,
        reason=host.reason,
        sentence=host.sentence,
        state=host.state,
        stage=None if step is None else step.stage,
        doing="ended" if run_ended else describe_step(step),
        stage_since=None if step is None else moment(step.begun_ns),
        region=host.region,
        offset_p99_ns=host.offset_p99_ns,
        bound_p99_ns=host.bound_p99_ns,
        kept_until=moment(host.kept_until_ns),
        kept_by=host.kept_by,
    )


def event_items(events: Iterable[NumberedEvent]) -> list[EventDocument]:
    """Write events."""
    return [EventDocument(**event_document(event)) for event in events]


def baseline_items(lines: Iterable[BaselineLine]) -> list[BaselineItem]:
    """Write the runs of baselines."""
    return [
        BaselineItem(
            name=line.name,
            run=line.run,
            bench=line.bench,
            started=moment(line.started_ns) or "",
            added=moment(line.added_ns) or "",
            added_by=line.added_by,
        )
        for line in lines
    ]


def kept_host(kept: KeptLine) -> KeptHost:
    """Write a kept host."""
    return KeptHost(**kept_fields(kept))


def kept_fields(kept: KeptLine) -> dict[str, Any]:
    """Make what is said of a kept host."""
    line, record = kept.line, kept.line.record
    return {
        "run": line.run,
        "host": line.host,
        "bench": kept.bench,
        "instance_type": line.instance_type,
        "outcome": record.verdict.outcome if record else None,
        "kept_by": line.kept_by,
        "kept_until": moment(line.kept_until_ns),
        "left_s": None if kept.left_s is None else round(kept.left_s, 1),
        "cost_usd": None if kept.cost_usd is None else round(kept.cost_usd, 4),
        "address": record.address if record else None,
        "region": record.region if record else None,
        "zone": record.zone if record else None,
        "command": f"ptp-harness ssh {line.run} {line.host}",
    }
