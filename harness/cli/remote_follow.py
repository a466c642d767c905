"""Show the progress of a task of a service as that of a run of this machine, until the task has ended.

The first Ctrl-C cancels the task, whose hosts are released and which still reports; the second one leaves at once, and
the service goes on. A terminal that closes (SIGHUP) ends this command alone: the campaign is the service's.
"""

import datetime
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from harness.cli import output, progress
from harness.cli.progress import ProgressDisplay
from harness.client.client import Client
from harness.client.task_views import Task
from harness.errors import ExitCode, HarnessError
from harness.model import Event
from harness.model.tasks import TaskState
from harness.system.signals import handling_stop_signals
from harness.untrusted.plain_text import printable

_POLL_S = 1.0
_LOOK_S = 0.2

Item = Event | Task | BaseException
"""What the thread that follows a task tells: an event, how the task is now, or why it cannot be followed."""


@dataclass(frozen=True, slots=True)
class _Cancelling:
    """Whether a signal asked to cancel the task, and whether the service was told."""

    asked: threading.Event = field(default_factory=threading.Event)
    told: threading.Event = field(default_factory=threading.Event)


def follow_task(client: Client, task: Task) -> Task:
    """Show the progress of a task until it has ended; return how it is then."""
    cancelling = _Cancelling()
    try:
        with (
            progress.open_display(task.bench) as display,
            _cancelling_on_signals(client.url, task, cancelling, display),
        ):
            return _show_until_end(client, task, display, cancelling)
    except HarnessError:
        output.say(_describe_leaving(client.url, task, cancelling))
        raise


def _show_until_end(client: Client, task: Task, display: ProgressDisplay, cancelling: _Cancelling) -> Task:
    items: queue.SimpleQueue[Item] = queue.SimpleQueue()
    threading.Thread(target=_follow, args=(client, task, items), name="follow", daemon=True).start()
    waits = ""
    while True:
        if cancelling.asked.is_set() and not cancelling.told.is_set():
            client.cancel(task.task)
            cancelling.told.set()
            display.show(_own_event(f"task {task.task} is cancelled"))
        try:
            item = items.get(timeout=_LOOK_S)
        except queue.Empty:
            continue
        match item:
            case Event():
                display.show(item)
            case Task() if item.state.final:
                return item
            case Task():
                if (now := _describe_waiting(item)) and now != waits:
                    display.show(_own_event(now))
                waits = now
            case _:
                raise item


def _follow(client: Client, task: Task, items: "queue.SimpleQueue[Item]") -> None:
    """Tell each event of a task's run, and how the task is, until it has ended."""
    try:
        for item in _list_items(client, task):
            items.put(item)
    except BaseException as error:
        items.put(error)


def _list_items(client: Client, task: Task) -> Iterator[Item]:
    after = 0
    while True:
        task = client.task(task.task)
        if task.run is not None:
            for event in client.events(task.run, after=after):
                after = event.number
                yield event.to_event(task.run)
            task = client.task(task.task)  # the events have ended: so has the run, or its process died
        yield task
        if task.state.final:
            return
        time.sleep(_POLL_S)


def _describe_waiting(task: Task) -> str:
    if task.state is not TaskState.QUEUED:
        return ""
    if task.problem:
        return f"task {task.task} waits: {task.problem}"
    return f"task {task.task} waits" + (f", number {task.position} in the queue" if task.position else "")


def _own_event(text: str) -> Event:
    return Event(run=None, host=None, stage=None, text=text, at=datetime.datetime.now(datetime.UTC))


@contextmanager
def _cancelling_on_signals(url: str, task: Task, cancelling: _Cancelling, display: ProgressDisplay) -> Iterator[None]:
    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP or cancelling.asked.is_set():
            display.close()
            _write_line(_describe_leaving(url, task, cancelling))
            os._exit(ExitCode.INTERRUPTED)
        _write_line(_CANCELLING)
        cancelling.asked.set()

    with handling_stop_signals(handle):
        yield


_CANCELLING = "cancelling: hosts under way are released, then the report is printed; a second signal leaves at once"


def _describe_leaving(url: str, task: Task, cancelling: _Cancelling) -> str:
    """Say what becomes of a task that is no longer followed."""
    show = f"`ptp-harness --server {url} show {task.task} --follow` shows the rest"
    if cancelling.told.is_set():
        return f"the service ends task {task.task}, which is cancelled, by itself; {show}"
    return f"the service goes on with task {task.task}; {show}, `cancel {task.task}` ends it"


def _write_line(text: str) -> None:
    """Write a text on a new line of the terminal."""
    sys.stderr.write(f"\n{printable(text)}\n")
    sys.stderr.flush()
