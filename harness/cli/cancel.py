"""`cancel`: end a submitted campaign."""

from typing import Annotated

import typer

from harness import wiring
from harness.cli import output
from harness.model.tasks import TaskState
from harness.system import settings

Name = Annotated[str, typer.Argument(metavar="TASK|RUN", help="A submitted campaign: its task, its run, or `last`.")]


def cancel(name: Name) -> None:
    """Cancel a submitted campaign, by its task or its run.

    One that waits is not begun. One that runs ends soon: its hosts are released, those without a verdict are
    INCONCLUSIVE, and there is a report. A run that the command `run` began is ended by Ctrl-C.

    Examples:
        ptp-harness cancel x4m8qz
        ptp-harness --server https://hub cancel k3f9
    """
    from harness.store.owners import name_user
    from harness.store.task_queue import TaskQueue
    from harness.store.tasks_of_runs import find_task_name

    ledger = wiring.ledger(settings.load())
    line = TaskQueue(ledger).cancel(find_task_name(name, ledger), by=name_user()[:_MOST_CHARACTERS])
    output.say(describe_cancelling(line.task, line.state, line.run))


_MOST_CHARACTERS = 64  # of the column


def describe_cancelling(task: str, state: TaskState, run: str | None) -> str:
    """Say what becomes of a task that was cancelled in this state."""
    if state is TaskState.RUNNING:
        follow = f"`ptp-harness show {run} --follow` shows how" if run else "its run has not begun yet"
        return f"task {task} ends: its hosts are released, then there is a report; {follow}"
    if state is TaskState.QUEUED:
        return f"task {task} is cancelled once its site has heard of it"
    if state is TaskState.CANCELLED:
        return f"task {task} is cancelled"
    return f"task {task} has {state} already, and stays as it is"
