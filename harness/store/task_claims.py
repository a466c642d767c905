"""Choose the tasks that may begin, and find those whose process died: statements of the queue of tasks."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sql

from harness.model.bench_traits import traits_of_recorded
from harness.store.database import now_ns
from harness.store.owners import OwnerLine, find_owner, lost, make_owner_line, own_place
from harness.store.tables import OWNERS, TASKS
from harness.store.task_lines import QueueLimits
from harness.store.task_rows import HERE, QUEUED, RUNNING

_DEATHS_UNPAUSED = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 600.0


class TaskUse(NamedTuple):
    """The use of a bench by a task that runs. `here`: its process is of this machine."""

    bench: str
    submitter: str
    here: bool = True


@dataclass(frozen=True, slots=True)
class OwnedTask:
    """A task that runs, and the process that carries it out, living or dead."""

    task: str
    bench: str
    attempt: int
    owner: OwnerLine

    def can_go_on_here(self) -> bool:
        """Whether this machine can go on with its run: hosts of a local bench can be removed on their own alone."""
        return not traits_of_recorded(self.bench).local or self.owner.machine == socket.gethostname()

    def may_be_taken(self) -> bool:
        """Whether the pause after the death of its process is over: a task may kill each process that takes it."""
        dead_s = (self.owner.read_ns - self.owner.beat_ns) / 1e9
        return dead_s >= pause_after_death_s(self.attempt)


def pause_after_death_s(attempt: int) -> float:
    """Return how long a task waits after the death of the process that carried out this attempt, s."""
    later = attempt - _DEATHS_UNPAUSED
    return 0.0 if later <= 0 else min(_FIRST_PAUSE_S * 2 ** min(later - 1, 20), _LONGEST_PAUSE_S)


def fence_task(db: sql.Connection, task: str | None, owner: str) -> None:
    """Hold a task, if any, until the transaction ends. Raises OwnershipLostError when it is not this owner's."""
    ours = sql.select(TASKS.c.task).where(TASKS.c.task == task, TASKS.c.owner == owner).with_for_update()
    if task is not None and db.execute(ours).first() is None:
        raise lost(f"task {task}", find_owner(db, TASKS, TASKS.c.task == task))


def find_uses(db: sql.Connection) -> list[TaskUse]:
    """Find what each task uses that runs and is of no site."""
    query = sql.select(TASKS.c.bench, TASKS.c.submitter, OWNERS.c.place).join(OWNERS, OWNERS.c.owner == TASKS.c.owner)
    return [
        TaskUse(row.bench, row.submitter, row.place == own_place()) for row in db.execute(query.where(RUNNING, HERE))
    ]


def count_here(running: Sequence[TaskUse]) -> int:
    """Count the tasks whose processes are of this machine."""
    return sum(use.here for use in running)


def make_conditions(running: Sequence[TaskUse], limits: QueueLimits) -> Sequence[sql.ColumnElement[bool]]:
    """Make the conditions of a task that may begin: benches and submitters with too many that run are left out."""
    full = [name for name in limits.per_bench if not _has_room(name, running, limits)]
    busy = {use.submitter for use in running if _is_busy(use.submitter, running, limits)}
    return QUEUED, HERE, TASKS.c.bench.not_in(full), TASKS.c.submitter.not_in(busy)


def count_startable(running: Sequence[TaskUse], waiting: Sequence[TaskUse], limits: QueueLimits) -> int:
    """Count how many of the tasks that wait, in this order, may begin on this machine now."""
    begun = list(running)
    for use in waiting:
        if count_here(begun) >= limits.tasks:
            break
        if _has_room(use.bench, begun, limits) and not _is_busy(use.submitter, begun, limits):
            begun.append(use)
    return len(begun) - len(running)


def _has_room(bench: str, running: Sequence[TaskUse], limits: QueueLimits) -> bool:
    """Whether a bench takes one more. A local bench loads its own machine alone; an account is one for all."""
    local = traits_of_recorded(bench).local
    on_bench = sum(use.bench == bench and (use.here or not local) for use in running)
    return bench not in limits.per_bench or on_bench < limits.per_bench[bench]


def _is_busy(submitter: str, running: Sequence[TaskUse], limits: QueueLimits) -> bool:
    of_submitter = sum(use.submitter == submitter for use in running)
    return limits.per_submitter is not None and of_submitter >= limits.per_submitter


def find_running(db: sql.Connection) -> list[OwnedTask]:
    """Find the tasks that run and are of no site, each with the process that carries it out."""
    task = (TASKS.c.task, TASKS.c.bench, TASKS.c.attempt)
    query = sql.select(*task, *OWNERS.c, now_ns()).join(OWNERS, OWNERS.c.owner == TASKS.c.owner)
    rows = db.execute(query.where(RUNNING, HERE)).all()
    return [OwnedTask(name, bench, attempt, make_owner_line(owner)) for name, bench, attempt, *owner in rows]
