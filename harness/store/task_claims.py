"""Choose the tasks that may begin, and find those whose process died: statements of the queue of tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from harness.store.database import now_ns
from harness.store.owners import OwnerLine, make_owner_line
from harness.store.tables import OWNERS, TASKS
from harness.store.task_lines import QueueLimits
from harness.store.task_rows import HERE, QUEUED, RUNNING

_DEATHS_UNPAUSED = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that runs here, and the process that carries it out, living or dead."""

    task: str
    attempt: int
    owner: OwnerLine

    def may_be_taken(self) -> bool:
        """Whether the pause after the death of its process is over: a task may kill each process that takes it."""
        dead_s = (self.owner.read_ns - self.owner.beat_ns) / 1e9
        return dead_s >= pause_after_death_s(self.attempt)


def pause_after_death_s(attempt: int) -> float:
    """Return how long a task waits after the death of the process that carried out this attempt, s."""
    later = attempt - _DEATHS_UNPAUSED
    return 0.0 if later <= 0 else min(_FIRST_PAUSE_S * 2 ** min(later - 1, 20), _LONGEST_PAUSE_S)


def find_users(db: sql.Connection) -> list[tuple[str, str]]:
    """Find the bench and the submitter of each task that runs here."""
    rows = db.execute(sql.select(TASKS.c.bench, TASKS.c.submitter).where(RUNNING, HERE)).all()
    return [(row.bench, row.submitter) for row in rows]


def make_conditions(running: Sequence[tuple[str, str]], limits: QueueLimits) -> Sequence[sql.ColumnElement[bool]]:
    """Make the conditions of a task that may begin: benches and submitters with too many that run are left out."""
    benches, submitters = [bench for bench, _ in running], [submitter for _, submitter in running]
    full = [name for name, most in limits.per_bench.items() if benches.count(name) >= most]
    most = limits.per_submitter
    busy = [] if most is None else [name for name in {*submitters} if submitters.count(name) >= most]
    return QUEUED, HERE, TASKS.c.bench.not_in(full), TASKS.c.submitter.not_in(busy)


def count_startable(running: Sequence[tuple[str, str]], waiting: Sequence[tuple[str, str]], limits: QueueLimits) -> int:
    """Count how many of the tasks that wait, in this order, may begin now. A task is its bench and its submitter."""
    begun = list(running)
    for bench, submitter in waiting:
        if len(begun) >= limits.tasks:
            break
        on_bench = sum(bench == other for other, _ in begun)
        of_submitter = sum(submitter == other for _, other in begun)
        has_room = bench not in limits.per_bench or on_bench < limits.per_bench[bench]
        if has_room and (limits.per_submitter is None or of_submitter < limits.per_submitter):
            begun.append((bench, submitter))
    return len(begun) - len(running)


def find_running(db: sql.Connection) -> list[RunningTask]:
    """Find the tasks that run here, each with the process that carries it out."""
    query = sql.select(TASKS.c.task, TASKS.c.attempt, *OWNERS.c, now_ns()).join(OWNERS, OWNERS.c.owner == TASKS.c.owner)
    rows = db.execute(query.where(RUNNING, HERE)).all()
    return [RunningTask(task, attempt, make_owner_line(owner)) for task, attempt, *owner in rows]
