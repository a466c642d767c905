"""Bring a task of a hub one step forward at its site: send it, look at it, pass on a cancel, record its end.

The site gets the name of the hub's task as the Idempotency-Key: a task that is sent again, because an answer was lost
or the hub died, is the same task there.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus

from harness.client.client import Client
from harness.client.refusals import RefusedError
from harness.client.task_views import Task
from harness.errors import RequestError
from harness.model.tasks import TaskState
from harness.store.site_tasks import SiteTasks
from harness.store.task_lines import TaskLine

ImportRun = Callable[[str, Client], None]
"""Brings an ended run, by its name, from a site into the ledger of the hub. Raises HarnessError."""

_PASSES = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
"""Refusals that have nothing to do with the campaign: it waits until the operator, or the site, has done its part."""

_log = logging.getLogger(__name__)


def carry_on(
    line: TaskLine, client: Client, tasks: SiteTasks, read_document: Callable[[str], str], import_run: ImportRun
) -> None:
    """Bring a task of this process forward. `read_document`: the campaign of a task as it was submitted.

    Raises UnavailableError when the site is away, and OwnershipLostError.
    """
    try:
        remote = _find_remote(line, client, tasks, read_document)
    except RefusedError as error:
        _note_refusal(line, error, tasks)
        return
    if remote is None:
        tasks.finish(line, TaskState.CANCELLED)
        return
    if line.cancelled_by is not None and remote.cancelled_by is None and not remote.state.final:
        remote = client.cancel(remote.task)
    if remote.state.final:
        _finish(line, remote, client, tasks, import_run)
    elif _has_news(line, remote):
        tasks.note_remote(line, remote.task, run=remote.run, running=remote.state is TaskState.RUNNING)


def _find_remote(line: TaskLine, client: Client, tasks: SiteTasks, read_document: Callable[[str], str]) -> Task | None:
    """Find the task of the site, and send it if it is not there; None for one that was cancelled before that."""
    if line.remote_task:
        return client.task(line.remote_task)
    if line.remote_task is None and not tasks.note_sending(line):
        return None
    remote = client.submit(read_document(line.task), priority=line.priority, idempotency_key=line.task)
    tasks.note_remote(line, remote.task, run=remote.run, running=False)
    return remote


def _has_news(line: TaskLine, remote: Task) -> bool:
    running = remote.state is TaskState.RUNNING
    return line.problem is not None or line.run != remote.run or (running and line.state is not TaskState.RUNNING)


def _note_refusal(line: TaskLine, error: RefusedError, tasks: SiteTasks) -> None:
    """Record that a site refused a task: for good, unless the reason is not the campaign."""
    said = f"site {line.site} refuses it: {error}"
    if error.status in _PASSES:
        if line.problem != said:
            tasks.note_waiting(line, said)
    elif line.cancelled_by is not None:
        tasks.finish(line, TaskState.CANCELLED, problem=said)
    elif error.status == HTTPStatus.NOT_FOUND and line.remote_task:
        gone = f"site {line.site} does not know its task {line.remote_task} any more: was its ledger replaced?"
        tasks.finish(line, TaskState.FAILED, exit_code=RequestError.exit_code, problem=gone)
    else:
        tasks.finish(line, TaskState.FAILED, exit_code=RequestError.exit_code, problem=said)


def _finish(line: TaskLine, remote: Task, client: Client, tasks: SiteTasks, import_run: ImportRun) -> None:
    """Bring the run of a task that has ended into this ledger, and record the end."""
    problem = None if remote.problem is None else f"site {line.site}: {remote.problem}"
    if remote.run is not None:
        tasks.note_remote(line, remote.task, run=remote.run, running=True)
        try:
            import_run(remote.run, client)
            if not tasks.link_run(line, remote.run):
                raise RequestError(f"this ledger has another run of the name {remote.run}")
        except RequestError as error:
            tasks.note_remote(line, remote.task, run=None, running=True)
            _log.warning("run %s of site %s is not imported: %s", remote.run, line.site, error)
            problem = f"its run {remote.run} is at site {line.site} alone: {error}"
    tasks.finish(line, remote.state, exit_code=remote.exit_code, outcome=remote.outcome, problem=problem)
