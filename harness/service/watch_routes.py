"""Diagnose the watch: its status, workers, streams with their readings, incidents, inconsistencies, and its log."""

import math
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from harness import __version__
from harness.errors import RequestError, UnknownNameError
from harness.model.watched import StreamState
from harness.service import watch_documents
from harness.service.auditing import write_audit
from harness.service.authentication import Context, Operator, Reader
from harness.service.context import ServiceContext
from harness.service.cursors import read_cursor, write_cursor
from harness.service.documents import Page
from harness.service.times import parse_moment_ns
from harness.service.watch_documents import (
    IncidentDocument,
    InconsistencyDocument,
    LogDocument,
    MendDocument,
    ReadingDocument,
    StreamDocument,
    WatchStatusDocument,
    WorkerDocument,
)
from harness.store.watch_incidents import WatchIncidents
from harness.store.watch_log import LogKind, WatchLog
from harness.store.watch_mending import WatchMending
from harness.store.watch_samples import WatchSamples
from harness.store.watch_view import WatchedStream, WatchViews
from harness.untrusted.input_checks import shorten_value
from harness.watch.consistency import Inconsistency, find_inconsistencies, sort_by_weight
from harness.watch.grid import to_interval_ns
from harness.watch.recovery import Recovery
from harness.watch.status import list_workers as describe_workers
from harness.watch.status import sum_up

router = APIRouter(prefix="/v1/watch", tags=["watch"])

MOST_READINGS = 20_000
"""In one answer; at one a second these are five and a half hours."""

_AT_ONCE = 5_000
"""Streams that are read at once, to find those in a state: that depends on the time."""

Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before.")]
StreamName = Annotated[str, Path(max_length=160, description="The name of a stream.")]
Moment = Annotated[str | None, Query(max_length=64, description="A time, or how long ago it was: 2026-11-30, 90min.")]


@router.get("/status")
def show_status(context: Context, _caller: Reader) -> WatchStatusDocument:
    """Show who leads, what each worker carries, and how many clocks are in which state."""
    views = WatchViews(context.ledger.database)
    return watch_documents.status_document(sum_up(views.read(), views.list_replays()))


@router.get("/workers")
def list_workers(
    context: Context, _caller: Reader, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> Page[WorkerDocument]:
    """List the workers by name, with their load and how long ago each was heard."""
    after = "" if cursor is None else str(read_cursor(cursor, (str,))[0])
    views = WatchViews(context.ledger.database)
    lines = [line for line in describe_workers(views.read(), views.list_replays()) if line.worker > after]
    following = write_cursor(lines[limit - 1].worker) if len(lines) > limit else None
    return Page(items=[watch_documents.worker_document(line) for line in lines[:limit]], next=following)


@router.get("/streams")
def list_streams(
    context: Context,
    _caller: Reader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    worker: Annotated[str | None, Query(max_length=64, description="Only those that it has, or is to have.")] = None,
    state: Annotated[StreamState | None, Query(description="Only those whose clock is in this state.")] = None,
) -> Page[StreamDocument]:
    """List the streams by name, with who has each and the state of its clock."""
    after = "" if cursor is None else str(read_cursor(cursor, (str,))[0])
    views = WatchViews(context.ledger.database)
    at_ns, items = views.read_now(), list[StreamDocument]()
    most = limit + 1 if state is None else _AT_ONCE
    while len(items) <= limit:
        lines = views.list_streams(after=after, most=most, worker=worker)
        documents = (watch_documents.stream_document(line, at_ns) for line in lines)
        items += [document for document in documents if state is None or document.state is state]
        if len(lines) < most:
            break
        after = lines[-1].stream
    following = write_cursor(items[limit - 1].stream) if len(items) > limit else None
    return Page(items=items[:limit], next=following)


@router.get("/streams/{stream:path}")
def show_stream(stream: StreamName, context: Context, _caller: Reader) -> StreamDocument:
    """Show a stream."""
    views = WatchViews(context.ledger.database)
    return watch_documents.stream_document(_find_stream(views, stream), views.read_now())


@router.get("/readings/{stream:path}")
def list_readings(
    stream: StreamName, context: Context, _caller: Reader, begin: Moment = None, end: Moment = None
) -> list[ReadingDocument]:
    """List the readings of a stream, one a tick, in an interval of at most 20,000 ticks; the latest hour by default.

    A tick without a sample has no reading. What was archived is not in it.
    """
    views = WatchViews(context.ledger.database)
    line = _find_stream(views, stream)
    end_ns = parse_moment_ns("end", end)
    end_ns = views.read_now() if end_ns is None else end_ns
    begin_ns = parse_moment_ns("begin", begin)
    begin_ns = end_ns - round(3600e9) if begin_ns is None else begin_ns
    first, last = (math.floor(at_ns / 1e9 / line.interval_s) for at_ns in (begin_ns, end_ns))
    if last - first >= MOST_READINGS:
        raise RequestError(
            f"from begin to end are {last - first + 1} ticks, and an answer has at most {MOST_READINGS}",
            next_step="ask for a shorter interval, several times",
        )
    interval_ns = to_interval_ns(line.interval_s)
    readings = WatchSamples(context.ledger.database).read(stream, first, last, interval_ns=interval_ns)
    return [watch_documents.reading_document(reading, line.interval_s) for reading in readings]


@router.get("/incidents")
def list_incidents(
    context: Context,
    _caller: Reader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    goes_on: Annotated[bool, Query(description="Only those that have not ended.")] = False,
) -> Page[IncidentDocument]:
    """List the incidents, the newest first."""
    before = None
    if cursor is not None:
        began_ns, name = read_cursor(cursor, (int, str))
        before = (began_ns, name)
    lines = WatchIncidents(context.ledger.database).list(ended=not goes_on, before=before, most=limit + 1)
    last = lines[limit - 1] if len(lines) > limit else None
    return Page(
        items=[watch_documents.incident_document(line) for line in lines[:limit]],
        next=None if last is None else write_cursor(last.began_ns, last.incident),
    )


@router.get("/inconsistencies")
def list_inconsistencies(context: Context, _caller: Reader) -> list[InconsistencyDocument]:
    """List what does not fit together in what the ledger says of the watch, with what to do about it."""
    return [watch_documents.inconsistency_document(each) for each in _check(context)]


@router.post("/mend")
def mend(context: Context, caller: Operator) -> MendDocument:
    """Mend what is safe to mend: a lease that is over, a worker that has other streams than the ledger says."""
    database = context.ledger.database
    view, found = WatchViews(database).read(), _check(context)
    done = Recovery(WatchMending(database)).mend(view, found)
    WatchLog(database).add(done)
    write_audit(context, caller, "watch.mend", f"{len(done)} of {len(found)} inconsistencies", HTTPStatus.OK)
    return MendDocument(done=[entry.sentence for entry in done])


@router.get("/log")
def list_log(
    context: Context,
    _caller: Reader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    kind: Annotated[LogKind | None, Query(description="Only entries of this kind.")] = None,
    stream: Annotated[str | None, Query(max_length=160)] = None,
    worker: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[LogDocument]:
    """List what leaders moved, found and mended, the newest first."""
    before = None if cursor is None else int(str(read_cursor(cursor, (int,))[0]))
    lines = WatchLog(context.ledger.database).list_lines(
        before=before, most=limit + 1, kinds=[] if kind is None else [kind], stream=stream, worker=worker
    )
    following = write_cursor(lines[limit - 1].number) if len(lines) > limit else None
    return Page(items=[watch_documents.log_document(line) for line in lines[:limit]], next=following)


def _check(context: ServiceContext) -> list[Inconsistency]:
    return sort_by_weight(find_inconsistencies(WatchViews(context.ledger.database).read(), version=__version__))


def _find_stream(views: WatchViews, stream: str) -> WatchedStream:
    line = views.find_stream(stream)
    if line is None:
        raise UnknownNameError(
            f"there is no stream {shorten_value(stream)}", next_step="GET /v1/watch/streams lists those that there are"
        )
    return line
