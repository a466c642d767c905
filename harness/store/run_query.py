"""Choose and order the runs of a list by figures of their hosts' clocks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sql

from harness.store.tables import HOSTS, RUNS

NEWEST_FIRST = (RUNS.c.started_ns.desc(), RUNS.c.run)


class RunOrder(StrEnum):
    """The order of a list of runs: newest first, or the worst figure of a run's hosts first.

    Runs without the figure come last. Runs with equal figures, or with none, are in the order of their age.
    """

    NEWEST = "newest"
    OFFSET = "offset"
    BOUND = "bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """A selection of runs for a list, and their order.

    `since_ns`: begun at this time or later. `min_offset_ns`, `min_bound_ns`: with a host whose figure (what 99 % of its
    sizes are within) is as large.
    """

    order: RunOrder = RunOrder.NEWEST
    since_ns: int | None = None
    min_offset_ns: float | None = None
    min_bound_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """The place of a run in a list: its worst figure by which the list is ordered, its start and its name."""

    run: str
    started_ns: int
    figure: float | None


_FIGURES = {RunOrder.NEWEST: None, RunOrder.OFFSET: HOSTS.c.offset_p99_ns, RunOrder.BOUND: HOSTS.c.bound_p99_ns}


def worst_figure(run: str, order: RunOrder) -> sql.Select[Any] | None:
    """Make the question for the figure by which a run has its place; None: it has its place by its age."""
    column = _FIGURES[order]
    return None if column is None else sql.select(sql.func.max(column)).where(HOSTS.c.run == run)


def apply_query(lines: sql.Select[Any], query: RunQuery, after: RunPlace | None) -> sql.Select[Any]:
    """Choose and order lines of runs; `after`: only those that come after this place."""
    if query.since_ns is not None:
        lines = lines.where(RUNS.c.started_ns >= query.since_ns)
    for column, least in ((HOSTS.c.offset_p99_ns, query.min_offset_ns), (HOSTS.c.bound_p99_ns, query.min_bound_ns)):
        if least is not None:
            lines = lines.where(sql.exists().where(HOSTS.c.run == RUNS.c.run, column >= least))
    by = _FIGURES[query.order]
    if by is None:
        return lines.where(sql.true() if after is None else begun_before(after)).order_by(*NEWEST_FIRST)
    worst = sql.select(HOSTS.c.run, sql.func.max(by).label("figure")).group_by(HOSTS.c.run).subquery()
    lines = lines.outerjoin(worst, worst.c.run == RUNS.c.run)
    figure = worst.c.figure
    if after is not None:
        lines = lines.where(_is_after(figure, after))
    return lines.order_by(figure.is_(None), figure.desc(), *NEWEST_FIRST)


def _is_after(figure: sql.ColumnElement[Any], place: RunPlace) -> sql.ColumnElement[bool]:
    if place.figure is None:
        return figure.is_(None) & begun_before(place)
    return (figure < place.figure) | ((figure == place.figure) & begun_before(place)) | figure.is_(None)


def begun_before(place: RunPlace) -> sql.ColumnElement[bool]:
    """Make the condition that a run comes after a place in the order of age."""
    same_moment = (RUNS.c.started_ns == place.started_ns) & (RUNS.c.run > place.run)
    return (RUNS.c.started_ns < place.started_ns) | same_moment
