"""Find the task that a person means: by its own name, or by the name of its run."""

import sqlalchemy as sql

from harness.errors import RequestError
from harness.store.ledger import Ledger
from harness.store.tables import RUNS, TASKS


def find_task_name(name: str, ledger: Ledger) -> str:
    """Return the name of a task, which may be named by its run, or as `last`. Raises RequestError."""
    by_name = sql.select(TASKS.c.task).where(TASKS.c.task == name)
    if ledger.database.read(lambda db: db.execute(by_name).scalar()) is not None:
        return name
    run = ledger.find(name).run
    task = ledger.database.read(lambda db: db.execute(sql.select(RUNS.c.task).where(RUNS.c.run == run)).scalar())
    if task is None:
        raise RequestError(
            f"run {run} was begun by a command, and not submitted",
            next_step="Ctrl-C in the terminal of that command ends it, or `kill` with the number of its process",
        )
    return str(task)
