"""Show the watch: the clocks that are watched at a glance, who watches them, and incidents."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from harness.model.watched import StreamState
from harness.service.authentication import Context
from harness.service.pages.addresses import stream_path, with_query
from harness.service.pages.rendering import render
from harness.service.pages.viewer import PageViewer
from harness.store.owners import read_now
from harness.store.watch_incidents import WatchIncidents
from harness.store.watch_log import LogKind, WatchLog
from harness.store.watch_states import StreamWord, WatchStates
from harness.store.watch_streams import WatchStreams, WorkerLine
from harness.watch.remedies import WATCH_REMEDIES

KindOfLog = Annotated[LogKind | None, Query()]

router = APIRouter(include_in_schema=False)

STATE_CLASSES = {
    StreamState.OK: "pass",
    StreamState.DEGRADED: "inconclusive",
    StreamState.BROKEN: "fail",
    StreamState.UNKNOWN: "unsupported",
}
"""The class of a state in the style: the colours of verdicts."""

_WORST_FIRST = (StreamState.BROKEN, StreamState.UNKNOWN, StreamState.DEGRADED, StreamState.OK)
_MOST_TICKS, _MOST_ROWS, _MOST_INCIDENTS = 2000, 200, 200
_MOST_MOVES, _MOST_LOG = 10, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker, how many streams it has, and how many it is to have."""

    line: WorkerLine
    held: int
    wanted: int


@router.get("/watch")
def show_watch(
    request: Request,
    viewer: PageViewer,
    context: Context,
    state: Annotated[str, Query(max_length=16)] = "",
    worker: Annotated[str, Query(max_length=64)] = "",
    name: Annotated[str, Query(max_length=160)] = "",
) -> Response:
    """Show all clocks that are watched: a mark for each, and those that a filter chooses as rows, the worst first."""
    database = context.ledger.database
    words = [*WatchStates(database).list(figures=False)]
    counts = Counter(word.state for word in words)
    filtered = bool(state or worker or name)
    chosen = [word for word in words if _is_chosen(word, state, worker, name)] if filtered else _list_bad(words)
    chosen.sort(key=lambda word: (_WORST_FIRST.index(word.state), word.stream))
    return render(
        request,
        viewer,
        "watch.html",
        page="watch",
        read_ns=database.read(read_now),
        total=len(words),
        counts=[(each, counts[each]) for each in _WORST_FIRST],
        ticks=words[:_MOST_TICKS],
        rows=chosen[:_MOST_ROWS],
        more=max(0, len(chosen) - _MOST_ROWS),
        filtered=filtered,
        state=state,
        worker=worker,
        name=name,
        workers=_list_workers(WatchStreams(database).list_workers(), words),
        unowned=sum(word.owner is None for word in words),
        incidents=WatchIncidents(database).list(most=_MOST_INCIDENTS),
        moves=WatchLog(database).list_lines(kinds=[LogKind.MOVE], most=_MOST_MOVES),
        classes=STATE_CLASSES,
        remedies=WATCH_REMEDIES,
        stream_path=stream_path,
        with_query=with_query,
    )


@router.get("/watch/incidents")
def show_incidents(request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show the incidents, those that have ended, too, the newest first."""
    database = context.ledger.database
    return render(
        request,
        viewer,
        "incidents.html",
        page="watch",
        read_ns=database.read(read_now),
        incidents=WatchIncidents(database).list(ended=True, most=_MOST_INCIDENTS),
        most=_MOST_INCIDENTS,
        stream_path=stream_path,
    )


@router.get("/watch/log")
def show_log(request: Request, viewer: PageViewer, context: Context, kind: KindOfLog = None) -> Response:
    """Show what leaders moved, found and mended, and what workers found out, the newest first."""
    database = context.ledger.database
    return render(
        request,
        viewer,
        "watch_log.html",
        page="watch",
        read_ns=database.read(read_now),
        lines=WatchLog(database).list_lines(kinds=[] if kind is None else [kind], most=_MOST_LOG),
        most=_MOST_LOG,
        kinds=[*LogKind],
        kind=kind,
        stream_path=stream_path,
        with_query=with_query,
    )


def _is_chosen(word: StreamWord, state: str, worker: str, name: str) -> bool:
    of_worker = not worker or worker in (word.owner, word.wanted)
    return of_worker and (not state or word.state == state) and name.lower() in word.stream.lower()


def _list_bad(words: list[StreamWord]) -> list[StreamWord]:
    return [word for word in words if word.state is not StreamState.OK]


def _list_workers(lines: list[WorkerLine], words: list[StreamWord]) -> list[WorkerRow]:
    held, wanted = Counter(word.owner for word in words), Counter(word.wanted for word in words)
    return [WorkerRow(line=line, held=held[line.worker], wanted=wanted[line.worker]) for line in lines]
