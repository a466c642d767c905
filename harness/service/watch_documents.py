"""Define the documents of the watch."""

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel

from harness.model.incidents import Incident
from harness.model.watched import StreamState
from harness.service.documents import moment
from harness.store.watch_log import LogKind, LogLine
from harness.store.watch_view import WatchedStream
from harness.watch.consistency import Inconsistency, Kind, Mend
from harness.watch.status import WatchStatus, WorkerStatus, find_silence_s, find_state


class WorkerDocument(BaseModel):
    """A worker. `streams`: that it has; `assigned`: that it is to have; `weight`: of these, at most `capacity`.

    `load`: the part of a core that it used of late. `heard_s`: how long ago its latest heartbeat was.
    `replayed_chunks`: what it had kept while the ledger was away and stored in the latest hour, the latest of it
    `replayed_s` ago.
    """

    worker: str
    process: str
    version: str
    state: str
    streams: int
    assigned: int
    weight: float
    capacity: float
    load: float
    score: float
    heard_s: float
    replayed_chunks: int
    replayed_s: float | None


class WatchStatusDocument(BaseModel):
    """A watch. `states`: numbers of streams by the state of their clocks; too old words count as unknown.

    `left_out`: streams that no worker is to have. `between`: those that a worker is to have and does not have yet.
    """

    leader: str | None
    epoch: int | None
    streams: int
    states: dict[StreamState, int]
    left_out: list[str]
    between: int
    workers: list[WorkerDocument]


class StreamDocument(BaseModel):
    """A stream: who is to have it since `wanted_since`, who has it, and what is known of its clock.

    `state`: unknown where the latest word is too old, whatever that word was; it is then `silent_s` old. `sampled`:
    when the latest word was stored, which speaks of `tick`, the number of an interval since 1970.
    """

    stream: str
    interval_s: float
    weight: float
    wanted: str | None
    wanted_since: str | None
    owner: str | None
    epoch: int
    added: str
    state: StreamState
    reason: str | None
    tick: int | None
    sampled: str | None
    silent_s: float | None


class ReadingDocument(BaseModel):
    """The reading of a tick. Offsets in ns, positive when the system clock is ahead; null: not observed."""

    tick: int
    at: str
    offset_ns: int | None
    window_ns: int | None
    reads: int | None
    read_errors: int | None
    device_bound_ns: int | None
    chrony_offset_ns: int | None
    chrony_bound_ns: int | None
    follows_phc: bool | None
    opinion_ns: int | None


class IncidentDocument(BaseModel):
    """Streams that one cause has broken. `ended`: null while it goes on."""

    incident: str
    kind: str
    cause: str
    streams: list[str]
    sentence: str
    recommendation: str
    began: str
    ended: str | None


class InconsistencyDocument(BaseModel):
    """A contradiction in the ledger. `mend`: null where a person has to decide."""

    kind: Kind
    sentence: str
    recommendation: str
    worker: str | None
    streams: list[str]
    mend: Mend | None


class MendDocument(BaseModel):
    """The result of a request to mend."""

    done: list[str]


class LogDocument(BaseModel):
    """An entry of the log of the watch. `epoch`: of the leader that wrote it, 0 for another writer."""

    number: int
    at: str
    epoch: int
    kind: LogKind
    stream: str | None
    worker: str | None
    sentence: str


def status_document(status: WatchStatus) -> WatchStatusDocument:
    """Write the status of a watch."""
    return WatchStatusDocument.model_validate(asdict(status))


def worker_document(status: WorkerStatus) -> WorkerDocument:
    """Write a worker."""
    return WorkerDocument.model_validate(asdict(status))


def stream_document(line: WatchedStream, at_ns: int) -> StreamDocument:
    """Write a stream as it is at a time of the database."""
    silent_s = find_silence_s(line, at_ns)
    return StreamDocument(
        stream=line.stream,
        interval_s=line.interval_s,
        weight=line.weight,
        wanted=line.wanted,
        wanted_since=moment(line.wanted_ns),
        owner=line.owner,
        epoch=line.epoch,
        added=moment(line.added_ns) or "",
        state=find_state(line, at_ns),
        reason=None if silent_s is not None else line.reason,
        tick=line.tick,
        sampled=moment(line.sampled_ns),
        silent_s=silent_s,
    )


def reading_document(reading: Any, interval_s: float) -> ReadingDocument:
    """Write the reading of a tick of a stream with this interval."""
    at = moment(round(reading.tick * interval_s * 1e9)) or ""
    return ReadingDocument(at=at, **asdict(reading))


def incident_document(line: Incident) -> IncidentDocument:
    """Write an incident."""
    fields = {name: getattr(line, name) for name in ("incident", "kind", "cause", "sentence", "recommendation")}
    return IncidentDocument(
        **fields, streams=[*line.streams], began=moment(line.began_ns) or "", ended=moment(line.ended_ns)
    )


def inconsistency_document(each: Inconsistency) -> InconsistencyDocument:
    """Write an inconsistency."""
    fields = {name: getattr(each, name) for name in InconsistencyDocument.model_fields}
    return InconsistencyDocument.model_validate(fields | {"streams": [*each.streams]})


def log_document(line: LogLine) -> LogDocument:
    """Write an entry of the log."""
    return LogDocument(
        number=line.number,
        at=moment(line.logged_ns) or "",
        epoch=line.epoch,
        kind=line.entry.kind,
        stream=line.entry.stream,
        worker=line.entry.worker,
        sentence=line.entry.sentence,
    )
