"""Show the queue, what waits for which turn, and one submitted campaign before its run has begun."""

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from harness.model.tasks import TaskState
from harness.runs.queue_forecast import ExpectedTimes
from harness.service.authentication import Context
from harness.service.pages.addresses import run_path
from harness.service.pages.rendering import render
from harness.service.pages.task_actions import may_cancel
from harness.service.pages.viewer import PageViewer
from harness.store.task_lines import TaskLine, TaskQuery

router = APIRouter(include_in_schema=False)

_MOST_WAITING = 200
_MOST_FAILED = 5
_MOST_SCHEDULES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTask:
    """A task in the queue. `expected`: when it begins and ends; None where that is not known."""

    line: TaskLine
    expected: ExpectedTimes | None
    may_cancel: bool


@router.get("/queue")
def show_queue(request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show what runs, what waits, and campaigns whose run could not begin."""
    queue = context.queue_view.read()
    tasks = [
        QueuedTask(line=line, expected=queue.expected.get(line.task), may_cancel=may_cancel(line, viewer))
        for line in queue.lines
    ]
    waiting = [task for task in tasks if task.line.state is TaskState.QUEUED]
    return render(
        request,
        viewer,
        "queue.html",
        page="queue",
        read_ns=queue.read_ns,
        running=[task for task in tasks if task.line.state is TaskState.RUNNING],
        waiting=waiting[:_MOST_WAITING],
        waits=len(waiting),
        failed=context.queue.list_lines(TaskQuery(state=TaskState.FAILED), most=_MOST_FAILED),
        limits=context.options.limits,
        schedules=context.schedules.list_lines(most=_MOST_SCHEDULES),
    )


@router.get("/tasks/{task}")
def show_task(task: str, request: Request, viewer: PageViewer, context: Context) -> Response:
    """Show a submitted campaign; the page of its run, once that has begun."""
    line = context.queue.find(task)
    if line.run is not None:
        return RedirectResponse(run_path(line.run), status_code=303)
    return render(
        request,
        viewer,
        "task.html",
        page="queue",
        task=line,
        expected=context.queue_view.expect(line),
        may_cancel=may_cancel(line, viewer),
        document=context.queue.document(task),
    )
