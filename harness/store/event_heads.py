"""Read how far the events of many runs are, in one statement: for those who follow runs to their ends."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql

from harness.model.tasks import TaskState
from harness.store.database import Database
from harness.store.event_log import NumberedEvent, read_events
from harness.store.ledger_lines import RunLine
from harness.store.ledger_reader import RUN_LINES, make_run_line
from harness.store.tables import RUNS, TASKS

_TAKEN_UP_WITHIN_NS = 120 * 10**9
_HEADS = (
    RUN_LINES.add_columns(RUNS.c.events, TASKS.c.state)
    .outerjoin(TASKS, TASKS.c.task == RUNS.c.task)
    .where(RUNS.c.run.in_(sql.bindparam("runs", expanding=True)))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHead:
    """How far a run is: the number of its latest event. `task_runs`: a service carries the run out as a task."""

    line: RunLine
    events: int
    task_runs: bool

    @property
    def goes_on(self) -> bool:
        """Whether there may be more events.

        A service takes up a task whose process died; it did not where nothing was heard of that process for two
        minutes.
        """
        if not self.line.died():
            return not self.line.ended
        owner = self.line.owner
        return self.task_runs and owner.read_ns - owner.beat_ns < _TAKEN_UP_WITHIN_NS


def read_heads(database: Database, runs: Collection[str]) -> Mapping[str, EventHead]:
    """Read how far runs are, by their names. Names of no run lack."""
    rows = database.read(lambda db: db.execute(_HEADS, {"runs": [*runs]}).all())
    heads = (
        EventHead(line=make_run_line(line), events=events, task_runs=state == TaskState.RUNNING)
        for *line, events, state in rows
    )
    return {head.line.run: head for head in heads}


def read_news(database: Database, behind: Mapping[str, int], *, most: int) -> Mapping[str, Sequence[NumberedEvent]]:
    """Read the events of runs behind a number of each, in order, at most so many of each."""
    return database.read(
        lambda db: {run: read_events(db, run, after=after, most=most) for run, after in behind.items()}
    )
