"""Schedules: campaigns that are submitted at set times."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse

from harness.runs.due_times import check_times, find_first_ns
from harness.service.auditing import write_audit
from harness.service.authentication import Context, Operator, Reader
from harness.service.cursors import read_cursor, write_cursor
from harness.service.documents import Page, TaskDocument, task_document
from harness.service.schedule_documents import ScheduleDocument, ScheduleRequest, schedule_document
from harness.service.task_making import check_campaign, prepare_task, refuse_while_stopping, wake
from harness.store.schedules import NewSchedule

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])

Name = Annotated[str, Path(max_length=63)]


@router.get("")
def list_schedules(
    context: Context,
    _caller: Reader,
    cursor: Annotated[str | None, Query(max_length=300, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Page[ScheduleDocument]:
    """List schedules by name, with the next time of each, and what prevented the last one, if anything."""
    after = "" if cursor is None else str(read_cursor(cursor, (str,))[0])
    lines = context.schedules.list_lines(after=after, most=limit + 1)
    following = write_cursor(lines[limit - 1].name) if len(lines) > limit else None
    return Page(items=[schedule_document(line) for line in lines[:limit]], next=following)


@router.post("", status_code=HTTPStatus.CREATED)
def add_schedule(request: ScheduleRequest, response: Response, context: Context, caller: Operator) -> ScheduleDocument:
    """Add a schedule. Its campaign is checked now, and again at each time."""
    check_times(request.cron, request.zone)
    check_campaign(request.campaign, context, site=request.site)
    new = NewSchedule(
        name=request.name,
        cron=request.cron,
        zone=request.zone,
        document=request.campaign,
        submitter=caller.name,
        site=request.site,
        priority=request.priority,
    )
    line = context.schedules.add(new, due_ns=find_first_ns(request.cron, request.zone, context.ledger.now_ns()))
    write_audit(context, caller, "schedule.add", line.name, HTTPStatus.CREATED)
    response.headers["Location"] = f"/v1/schedules/{line.name}"
    return schedule_document(line)


@router.get("/{name}")
def show_schedule(name: Name, context: Context, _caller: Reader) -> ScheduleDocument:
    """Show a schedule."""
    return schedule_document(context.schedules.find(name))


@router.get("/{name}/campaign", response_class=PlainTextResponse)
def show_campaign(name: Name, context: Context, _caller: Reader) -> PlainTextResponse:
    """Show the campaign of a schedule as it was written."""
    return PlainTextResponse(context.schedules.document(name))


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove_schedule(name: Name, context: Context, caller: Operator) -> None:
    """Remove a schedule. Its tasks stay."""
    context.schedules.remove(name)
    write_audit(context, caller, "schedule.remove", name, HTTPStatus.NO_CONTENT)


@router.post("/{name}/pause")
def pause_schedule(name: Name, context: Context, caller: Operator) -> ScheduleDocument:
    """Pause a schedule: it makes no tasks until it is resumed, and these times do not count as missed."""
    line = context.schedules.pause(name)
    write_audit(context, caller, "schedule.pause", name, HTTPStatus.OK)
    return schedule_document(line)


@router.post("/{name}/resume")
def resume_schedule(name: Name, context: Context, caller: Operator) -> ScheduleDocument:
    """Resume a schedule that was paused: it makes a task at its next time."""
    line = context.schedules.find(name)
    if line.paused:
        line = context.schedules.go_on(name, due_ns=find_first_ns(line.cron, line.zone, context.ledger.now_ns()))
    write_audit(context, caller, "schedule.resume", name, HTTPStatus.OK)
    return schedule_document(line)


@router.post("/{name}/run", status_code=HTTPStatus.CREATED)
def run_schedule(name: Name, response: Response, context: Context, caller: Operator) -> TaskDocument:
    """Submit the campaign of a schedule now, as a task of the caller. Its times stay as they are."""
    refuse_while_stopping(context)
    line = context.schedules.find(name)
    new = prepare_task(
        context.schedules.document(name),
        context,
        submitter=caller.name,
        priority=line.priority,
        site=line.site,
        schedule=name,
    )
    task, _ = context.queue.submit(new, most_waiting=context.options.most_waiting)
    write_audit(context, caller, "schedule.run", f"{name} {task.task}", HTTPStatus.CREATED)
    wake(context, task)
    response.headers["Location"] = f"/v1/tasks/{task.task}"
    return task_document(task)
