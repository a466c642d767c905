"""Choose and order the runs of a list: by their state and bench, by the verdicts and figures of their hosts."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sql

from harness.model import Outcome
from harness.store.run_sums import VERDICTS
from harness.store.tables import RUNS

NEWEST_FIRST = (RUNS.c.started_ns.desc(), RUNS.c.run)


class RunState(StrEnum):
    """The state of a run. `DIED`: its owner died before it closed the run."""

    UNDER_WAY = "under way"
    ENDED = "ended"
    DIED = "died"


class RunOrder(StrEnum):
    """The order of a list of runs: newest first, or the worst figure of a run's hosts first.

    Runs without the figure come last. Runs with equal figures, or with none, are in the order of their age.
    """

    NEWEST = "newest"
    OFFSET = "offset"
    BOUND = "bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """A selection of runs for a list, and their order. A condition that is None chooses all.

    `since_ns`, `until_ns`: begun at this time or later, or earlier. `outcome`: a host has this verdict.
    `min_offset_ns`, `min_bound_ns`: the worst figure of its hosts (what 99 % of its sizes are within) is as large.
    """

    order: RunOrder = RunOrder.NEWEST
    state: RunState | None = None
    bench: str | None = None
    outcome: Outcome | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    min_offset_ns: float | None = None
    min_bound_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """The place of a run in a list: its worst figure by which the list is ordered, its start and its name."""

    run: str
    started_ns: int
    figure: float | None


_FIGURES = {RunOrder.NEWEST: None, RunOrder.OFFSET: RUNS.c.offset_p99_ns, RunOrder.BOUND: RUNS.c.bound_p99_ns}


def figure_of_order(order: RunOrder) -> sql.Column[Any] | None:
    """Return the column by which a list is ordered; None: by the age of runs."""
    return _FIGURES[order]


def apply_query(
    lines: sql.Select[Any],
    query: RunQuery,
    after: RunPlace | None,
    *,
    alive: Collection[str] = (),
    most: int | None = None,
    conditions: Collection[sql.ColumnElement[bool]] = (),
) -> sql.Select[Any]:
    """Choose and order lines of runs, at most so many; `after`: only those that come after this place.

    `alive`: the living owners among those of runs that have not ended, for a query by state. Runs are chosen by an
    index alone: their rows are read once they are.
    """
    places = sql.select(RUNS.c.run).where(*_list_conditions(query, alive), *conditions)
    by = _FIGURES[query.order]
    if after is not None:
        places = places.where(begun_before(after) if by is None else _is_after(by, after))
    order = NEWEST_FIRST if by is None else (by.is_(None), by.desc(), *NEWEST_FIRST)
    chosen = places.order_by(*order).limit(most).subquery()
    return lines.join(chosen, chosen.c.run == RUNS.c.run).order_by(*order)


def _list_conditions(query: RunQuery, alive: Collection[str]) -> list[sql.ColumnElement[bool]]:
    conditions: list[sql.ColumnElement[bool]] = []
    if query.bench is not None:
        conditions.append(RUNS.c.bench == query.bench)
    if query.since_ns is not None:
        conditions.append(RUNS.c.started_ns >= query.since_ns)
    if query.until_ns is not None:
        conditions.append(RUNS.c.started_ns <= query.until_ns)
    if query.outcome is not None:
        conditions.append(VERDICTS[query.outcome] > 0)
    for column, least in ((RUNS.c.offset_p99_ns, query.min_offset_ns), (RUNS.c.bound_p99_ns, query.min_bound_ns)):
        if least is not None:
            conditions.append(column >= least)
    if query.state is not None:
        conditions.append(_condition_of_state(query.state, alive))
    return conditions


def _condition_of_state(state: RunState, alive: Collection[str]) -> sql.ColumnElement[bool]:
    of_run = RUNS.alias()
    unended = sql.select(of_run.c.run).where(of_run.c.record.is_(None))
    if state is RunState.ENDED:
        return RUNS.c.run.not_in(unended)
    led = of_run.c.owner.in_(alive)
    return RUNS.c.run.in_(unended.where(led if state is RunState.UNDER_WAY else ~led))


def _is_after(figure: sql.ColumnElement[Any], place: RunPlace) -> sql.ColumnElement[bool]:
    if place.figure is None:
        return figure.is_(None) & begun_before(place)
    return (figure < place.figure) | ((figure == place.figure) & begun_before(place)) | figure.is_(None)


def begun_before(place: RunPlace) -> sql.ColumnElement[bool]:
    """Make the condition that a run comes after a place in the order of age."""
    same_moment = (RUNS.c.started_ns == place.started_ns) & (RUNS.c.run > place.run)
    return (RUNS.c.started_ns <= place.started_ns) & ((RUNS.c.started_ns < place.started_ns) | same_moment)
