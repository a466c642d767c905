"""Serve the events of runs: as a stream that goes on until the run has ended, as pages, and as lines of text."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from harness.runs.event_lines import format_event
from harness.service.authentication import Context
from harness.service.event_feed import EventFeed
from harness.service.ranged_files import INERT
from harness.service.run_documents import EventPage, event_items
from harness.service.run_routes import Run
from harness.store.ledger_lines import RunLine

router = APIRouter(prefix="/v1/runs", tags=["events"])

_MOST_NUMBER = 2**31 - 1
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **INERT}


class EventForm(StrEnum):
    """Forms of events: a stream of server-sent events, or a page as JSON."""

    STREAM = "stream"
    JSON = "json"


_STREAMED_EVENT = {
    "type": "object",
    "description": "One event of the stream. `data` is an event of EventPage as JSON; `id` its number.",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}


@router.get(
    "/{run}/events",
    response_class=Response,
    responses={200: {"model": EventPage, "content": {"text/event-stream": {"schema": _STREAMED_EVENT}}}},
)
async def read_events(
    request: Request,
    run: Run,
    context: Context,
    after: Annotated[int | None, Query(ge=0, le=_MOST_NUMBER, description="Only events behind this number.")] = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=_MOST_NUMBER)] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Of a page; a stream has no limit.")] = 200,
    form: Annotated[EventForm | None, Query(description="Default: as the header Accept asks, else a stream.")] = None,
) -> Response:
    """Follow the events of a run as server-sent events until it has ended; or read a page of them as JSON.

    Each event of a stream has its number as the id: a client that comes again with it (Last-Event-ID, or `after`)
    misses none and gets none twice. The last event is named `end`; a stream that ends without it is to be asked for
    again.
    """
    behind = last_event_id if last_event_id is not None else after or 0
    if (form or _choose_form(request.headers.get("accept", ""))) is EventForm.JSON:
        page = await run_in_threadpool(_read_page, context, run, behind, limit)
        return JSONResponse(page.model_dump(mode="json"))
    feed: EventFeed = request.app.state.event_feed
    feed.check_room()
    return StreamingResponse(feed.follow(run.run, behind), media_type="text/event-stream", headers=_STREAM_HEADERS)


@router.get("/{run}/log", response_class=PlainTextResponse)
def read_log(
    run: Run,
    context: Context,
    host: Annotated[str | None, Query(max_length=128, description="Only events of this host.")] = None,
    tail: Annotated[int, Query(ge=1, le=5000, description="How many of the latest events.")] = 200,
) -> PlainTextResponse:
    """Return the latest events of a run as text, a line for each: number, time (UTC), host, stage, text."""
    events = context.ledger.latest_events(run.run, host=host, most=tail)
    lines = [format_event(event, run.bench) + "\n" for event in events]
    return PlainTextResponse("".join(lines), headers=INERT)


def _read_page(context: Context, run: RunLine, after: int, limit: int) -> EventPage:
    events = context.ledger.events(run.run, after=after, most=limit + 1)
    page = events[:limit]
    following = page[-1].number if len(events) > limit else None
    return EventPage(items=event_items(page), next=following, state=run.state)


def _choose_form(accept: str) -> EventForm:
    wants_json = "application/json" in accept and "text/event-stream" not in accept
    return EventForm.JSON if wants_json else EventForm.STREAM
