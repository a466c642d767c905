"""Keep track of tasks that a site carries out: which process of the hub follows each, and what the site says of it.

A task belongs to one process of a hub at a time, by the lease of that process in the ledger. `remote_task` is "" from
the moment before a task is sent to its site until the site's answer is recorded: it may be there, or not.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql

from harness.model import Outcome
from harness.model.tasks import TaskState
from harness.store import owners
from harness.store.database import now_ns
from harness.store.ledger import Ledger
from harness.store.owners import read_owner
from harness.store.tables import RUNS, TASKS
from harness.store.task_lines import TaskLine
from harness.store.task_rows import IN_ORDER, LINES, make_end_values, make_task_line, read_task, shorten_problem

SENT = ""
"""The remote task of a task that was sent, and whose answer is not recorded."""

_OPEN = TASKS.c.state.in_([TaskState.QUEUED, TaskState.RUNNING])


class SiteTasks:
    """The tasks of a ledger that name a site."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def list_open(self, site: str | None = None) -> list[TaskLine]:
        """List the tasks of a site, or of all, that have not ended, in the order of their turns."""
        here = TASKS.c.site.is_not(None) if site is None else TASKS.c.site == site
        query = LINES.where(_OPEN, here).order_by(*IN_ORDER)
        return self._ledger.database.read(lambda db: [make_task_line(row) for row in db.execute(query).all()])

    def count_open(self) -> dict[str, tuple[int, int]]:
        """Count the tasks that wait and those that run, by site."""
        columns = (TASKS.c.site, TASKS.c.state, sql.func.count())
        query = sql.select(*columns).where(_OPEN, TASKS.c.site.is_not(None)).group_by(TASKS.c.site, TASKS.c.state)
        counts: dict[str, tuple[int, int]] = {}
        for site, state, count in self._ledger.database.read(lambda db: db.execute(query).all()):
            waiting, running = counts.get(site, (0, 0))
            counts[site] = (waiting + count, running) if state == TaskState.QUEUED else (waiting, running + count)
        return counts

    def find_site(self, run: str) -> str | None:
        """Find the site that carries out a run, or did; None for a run of this machine, and for none at all."""
        imported = sql.select(TASKS.c.site).join(RUNS, RUNS.c.task == TASKS.c.task).where(RUNS.c.run == run)
        under_way = sql.select(TASKS.c.site).where(_OPEN, TASKS.c.remote_run == run)

        def find(db: sql.Connection) -> str | None:
            row = db.execute(imported).first() or db.execute(under_way).first()
            return None if row is None else row.site

        return self._ledger.database.read(find)

    def claim(self, task: str) -> TaskLine | None:
        """Make this process the one that follows a task; None where it has ended, or a living process follows it."""
        owner = self._ledger.own()
        here = (TASKS.c.task == task) & _OPEN & TASKS.c.site.is_not(None)

        def claim(db: sql.Connection) -> TaskLine | None:
            row = db.execute(sql.select(TASKS.c.owner).where(here).with_for_update()).first()
            if row is None or (row.owner not in (None, owner) and read_owner(db, row.owner).alive()):
                return None
            if row.owner != owner:
                db.execute(TASKS.update().where(here).values(owner=owner, attempt=TASKS.c.attempt + 1))
            return read_task(db, task)

        return self._ledger.database.write(claim)

    def note_sending(self, line: TaskLine) -> bool:
        """Note that a task of this process is about to be sent; return whether it still is to be: not if cancelled."""
        ours = self._ours(line)

        def note(db: sql.Connection) -> bool:
            kept = TASKS.update().where(ours, _OPEN, TASKS.c.cancelled_by.is_(None))
            if db.execute(kept.values(remote_task=SENT)).rowcount:
                return True
            self._require(db, line)
            return False

        return self._ledger.database.write(note)

    def note_remote(self, line: TaskLine, remote_task: str, *, run: str | None, running: bool) -> None:
        """Record which task of the site a task of this process is, and whether its run has begun there."""
        values: dict[str, Any] = {"remote_task": remote_task, "remote_run": run, "problem": None}
        if running:
            values |= {"state": TaskState.RUNNING, "begun_ns": sql.func.coalesce(TASKS.c.begun_ns, now_ns())}
        self._change(line, values)

    def note_waiting(self, line: TaskLine, problem: str) -> None:
        """Record why a task of this process does not go on at its site."""
        self._change(line, {"problem": shorten_problem(problem)})

    def finish(
        self,
        line: TaskLine,
        state: TaskState,
        *,
        exit_code: int | None = None,
        outcome: Outcome | None = None,
        problem: str | None = None,
    ) -> None:
        """Record the end of a task of this process. Raises OwnershipLostError where another process follows it."""
        self._change(line, make_end_values(state, exit_code=exit_code, outcome=outcome, problem=problem))

    def link_run(self, line: TaskLine, run: str) -> bool:
        """Make an imported run that of a task; return whether it is."""
        here = RUNS.c.run == run

        def link(db: sql.Connection) -> bool:
            db.execute(RUNS.update().where(here, RUNS.c.task.is_(None)).values(task=line.task))
            return db.execute(sql.select(RUNS.c.task).where(here)).scalar() == line.task

        return self._ledger.database.write(link)

    def _change(self, line: TaskLine, values: dict[str, Any]) -> None:
        ours = self._ours(line)

        def change(db: sql.Connection) -> None:
            if not db.execute(TASKS.update().where(ours, _OPEN).values(values)).rowcount:
                self._require(db, line, state=values.get("state"))

        self._ledger.database.write(change)

    def _ours(self, line: TaskLine) -> sql.ColumnElement[bool]:
        owner = self._ledger.own()
        return (TASKS.c.task == line.task) & (TASKS.c.owner == owner) & (TASKS.c.attempt == line.attempt)

    def _require(self, db: sql.Connection, line: TaskLine, *, state: TaskState | None = None) -> None:
        """Raise OwnershipLostError unless a task is ours; one that is in `state` already was changed before."""
        found = db.execute(sql.select(TASKS.c.state).where(self._ours(line))).scalar()
        if found is None or (found != state and TaskState(found).final):
            raise owners.lost(f"task {line.task}", owners.find_owner(db, TASKS, TASKS.c.task == line.task))


def list_sites_of(lines: Sequence[TaskLine]) -> list[str]:
    """List the sites of tasks, each once."""
    return list(dict.fromkeys(line.site for line in lines if line.site is not None))
