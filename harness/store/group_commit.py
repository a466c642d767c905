"""Commit the work of several threads in one transaction: the disk is synced once for all that wait at that moment."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sql

from harness.errors import SetupError

Result = TypeVar("Result")
Transact = Callable[[Callable[[sql.Connection], None]], None]
"""Does a function in one transaction, perhaps several times, as `Database.write` describes."""

_MOST_AT_ONCE = 100


class GroupCommit:
    """Takes work of threads and commits it, the first that waits for all others. Threads share an instance."""

    def __init__(self) -> None:
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._waiting: list[_Work[Any]] = []

    @property
    def waiting(self) -> int:
        """How many works wait for the next transaction."""
        with self._lock:
            return len(self._waiting)

    def commit(self, work: Callable[[sql.Connection], Result], transact: Transact) -> Result:
        """Do the work in a transaction, and return its result once that is committed. Raises what the work raises.

        An error of the work of another thread undoes that work alone. A database that cannot be used is an error for
        all.
        """
        ours = _Work(work)
        with self._lock:
            self._waiting.append(ours)
        with self._turn:
            while not ours.done:
                self._commit_some(transact)
        return ours.give_result()

    def _commit_some(self, transact: Transact) -> None:
        with self._lock:
            some, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
        error = _attempt(some, transact)
        if error is None or isinstance(error, SetupError) or len(some) == 1:
            for each in some:
                each.end(error)
            return
        for each in some:  # one of them failed, and undid all
            each.end(_attempt([each], transact))


def _attempt(some: Sequence["_Work[Any]"], transact: Transact) -> BaseException | None:
    """Do all of the work in one transaction; return the error for which it was not committed."""

    def do_all(db: sql.Connection) -> None:
        for each in some:
            each.do(db)

    try:
        transact(do_all)
    except BaseException as error:
        return error
    return None


class _Work(Generic[Result]):
    """The work of one thread, and what became of it."""

    def __init__(self, work: Callable[[sql.Connection], Result]) -> None:
        self._work = work
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self.done = False

    def do(self, db: sql.Connection) -> None:
        self._results = [self._work(db)]

    def end(self, error: BaseException | None) -> None:
        """Note that the work was committed, or the error for which it was not."""
        self._error, self.done = error, True

    def give_result(self) -> Result:
        """Return what the work returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]
