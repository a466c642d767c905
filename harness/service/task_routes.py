"""Submit campaigns, look at their tasks, and cancel them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import PlainTextResponse

from harness.model import Outcome
from harness.model.tasks import Scope, TaskState
from harness.service.auditing import write_audit
from harness.service.authentication import Caller, Context, Reader, Submitter
from harness.service.cursors import read_cursor, write_cursor
from harness.service.documents import Page, Submission, TaskDocument, task_document
from harness.service.problems import ServiceError
from harness.service.short_reads import short_read
from harness.service.task_making import prepare_task, refuse_while_stopping, wake
from harness.service.times import parse_moment_ns
from harness.store.task_lines import TaskLine, TaskPlace, TaskQuery

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A request that is sent again with the same key makes no second task.",
    ),
]


@router.post("", status_code=HTTPStatus.CREATED, responses={200: {"model": TaskDocument}})
def submit(
    submission: Submission, response: Response, context: Context, caller: Submitter, idempotency_key: Key = None
) -> TaskDocument:
    """Submit a campaign: it waits for its turn, is carried out, and keeps its verdicts.

    Every mistake in the campaign is named at once, with its line (422). A request that is sent again with the same
    Idempotency-Key gets the task that the first one made (200).
    """
    line, new = submit_campaign(submission, context, caller, idempotency_key)
    response.headers["Location"] = f"/v1/tasks/{line.task}"
    if not new:
        response.status_code = HTTPStatus.OK
    return task_document(line)


def submit_campaign(
    submission: Submission, context: Context, caller: Caller, idempotency_key: str | None
) -> tuple[TaskLine, bool]:
    """Check a campaign and put it in the queue; return its task, and whether it is new."""
    refuse_while_stopping(context)
    new = prepare_task(
        submission.campaign,
        context,
        submitter=caller.name,
        priority=submission.priority,
        site=submission.site,
        idempotency_key=idempotency_key,
    )
    line, is_new = context.queue.submit(new, most_waiting=context.options.most_waiting)
    if is_new:
        write_audit(context, caller, "task.submit", line.task, HTTPStatus.CREATED)
        wake(context, line)
    return line, is_new


@router.get("")
@short_read
def list_tasks(
    context: Context,
    _caller: Reader,
    state: TaskState | None = None,
    outcome: Outcome | None = None,
    bench: Annotated[str | None, Query(max_length=64)] = None,
    type: Annotated[str | None, Query(max_length=64)] = None,
    site: Annotated[str | None, Query(max_length=64)] = None,
    submitter: Annotated[str | None, Query(max_length=64)] = None,
    schedule: Annotated[str | None, Query(max_length=64)] = None,
    since: Annotated[str | None, Query(description="A time (RFC 3339), or how long ago: 12h, 7d.")] = None,
    until: Annotated[str | None, Query(description="A time (RFC 3339), or how long ago.")] = None,
    cursor: Annotated[str | None, Query(max_length=300, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[TaskDocument]:
    """List tasks, the newest first."""
    query = TaskQuery(
        state=state,
        outcome=outcome,
        bench=bench,
        instance_type=type,
        site=site,
        submitter=submitter,
        schedule=schedule,
        since_ns=parse_moment_ns("since", since),
        until_ns=parse_moment_ns("until", until),
    )
    after = None
    if cursor is not None:
        submitted_ns, task = read_cursor(cursor, (int, str))
        after = TaskPlace(submitted_ns=submitted_ns, task=task)
    lines = context.queue.list_lines(query, after=after, most=limit + 1)
    page = lines[:limit]
    more = len(lines) > limit
    following = write_cursor(page[-1].submitted_ns, page[-1].task) if more else None
    return Page(items=[task_document(line, context.queue_view.expect(line)) for line in page], next=following)


@router.get("/{task}")
@short_read
def show_task(task: str, context: Context, _caller: Reader) -> TaskDocument:
    """Show a task."""
    line = context.queue.find(task)
    return task_document(line, context.queue_view.expect(line))


@router.get("/{task}/campaign", response_class=PlainTextResponse)
def show_campaign(task: str, context: Context, _caller: Reader) -> PlainTextResponse:
    """Show the campaign of a task as it was submitted."""
    return PlainTextResponse(context.queue.document(task))


@router.post("/{task}/cancel")
def cancel(task: str, context: Context, caller: Submitter) -> TaskDocument:
    """Cancel a task. One that runs ends soon: its hosts are released, those without a verdict are INCONCLUSIVE."""
    return task_document(cancel_task(task, context, caller))


def cancel_task(task: str, context: Context, caller: Caller) -> TaskLine:
    """Cancel a task of the caller, or of others where the caller's scope allows it. Raises ServiceError (403)."""
    line = context.queue.find(task)
    if line.submitter != caller.name and not caller.may(Scope.OPERATE):
        raise ServiceError(
            HTTPStatus.FORBIDDEN,
            f"the task {task} is of {line.submitter}",
            next_step=f"ask {line.submitter}, or somebody with the scope {Scope.OPERATE}",
        )
    cancelled = context.queue.cancel(task, by=caller.name)
    write_audit(context, caller, "task.cancel", task, HTTPStatus.OK)
    wake(context, cancelled)
    return cancelled
