"""Show the queue: what runs and how long yet, what waits, and when its turn is expected."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from harness.model import HostState, Outcome
from harness.model.tasks import TaskState
from harness.service.authentication import Context, Reader
from harness.service.context import ServiceContext
from harness.service.cursors import read_cursor, write_cursor
from harness.service.documents import TaskDocument, moment, task_document
from harness.service.queue_view import QueueState
from harness.store.task_lines import TaskLine

router = APIRouter(prefix="/v1/queue", tags=["queue"])


class HostAtWork(BaseModel):
    """A host of a task that runs. `begun`: null before it was begun; `outcome`: null before its verdict."""

    host: str
    instance_type: str
    begun: str | None
    outcome: Outcome | None
    state: HostState | None


class RunningTask(TaskDocument):
    """A task that runs. `remaining_s`: how long yet, as expected; 0 once it takes longer than that."""

    remaining_s: float | None
    hosts_at_work: list[HostAtWork]


class QueueDocument(BaseModel):
    """The queue at the time `read`, of the ledger. `waiting`: one page, in the order of turns; `next`: its cursor.

    `waits`: how many tasks wait in all.
    """

    read: str
    running: list[RunningTask]
    waits: int
    waiting: list[TaskDocument]
    next: str | None = None


@router.get("")
def show_queue(
    context: Context,
    _caller: Reader,
    cursor: Annotated[str | None, Query(max_length=300, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> QueueDocument:
    """Show what runs, the longest running first, and what waits, in the order of turns.

    `expected_start` and `expected_end` follow from how long hosts of the same types took before, and from how many
    campaigns may run at once.
    """
    queue = context.queue_view.read()
    waiting = [line for line in queue.lines if line.state is TaskState.QUEUED]
    behind = waiting if cursor is None else _find_behind(waiting, cursor)
    page = behind[:limit]
    more = len(behind) > limit
    return QueueDocument(
        read=moment(queue.read_ns) or "",
        running=_describe_running(queue, context),
        waits=len(waiting),
        waiting=[task_document(line, queue.expected.get(line.task)) for line in page],
        next=write_cursor(page[-1].priority, page[-1].submitted_ns, page[-1].task) if more else None,
    )


def _find_behind(waiting: list[TaskLine], cursor: str) -> list[TaskLine]:
    priority, submitted_ns, task = read_cursor(cursor, (int, int, str))
    place = (-int(str(priority)), int(str(submitted_ns)), str(task))
    return [line for line in waiting if (-line.priority, line.submitted_ns, line.task) > place]


def _describe_running(queue: QueueState, context: ServiceContext) -> list[RunningTask]:
    running = [line for line in queue.lines if line.state is TaskState.RUNNING]
    hosts: dict[str, list[HostAtWork]] = {}
    for each in context.ledger.host_summaries([line.run for line in running if line.run is not None]):
        host = HostAtWork(
            host=each.host,
            instance_type=each.instance_type,
            begun=moment(each.begun_ns),
            outcome=each.outcome,
            state=each.state,
        )
        hosts.setdefault(each.run, []).append(host)
    documents = []
    for line in running:
        expected = queue.expected.get(line.task)
        remaining_s = None if expected is None else max(0.0, round((expected.end_ns - queue.read_ns) / 1e9, 1))
        fields = dict(task_document(line, expected))
        documents.append(RunningTask(**fields, remaining_s=remaining_s, hosts_at_work=hosts.get(line.run or "", [])))
    return documents
