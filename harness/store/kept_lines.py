"""List the hosts that stayed after their runs, in all runs of the ledger: until when, for whom, at what cost."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.model import Stage
from harness.model.bench_traits import BenchName, traits_of_recorded
from harness.store.database import Database, now_ns
from harness.store.ledger_lines import HostLine
from harness.store.ledger_reader import make_host_line
from harness.store.run_overview import compute_cost_usd
from harness.store.tables import HOST_TOKEN, HOSTS, IS_KEPT, RUNS, STEPS

_NO_END_NS = 2**63 - 1
_UNTIL_NS = sql.func.coalesce(HOSTS.c.kept_until_ns, sql.literal(_NO_END_NS, sql.BigInteger))
_BEGUN_NS = (
    sql.select(sql.func.max(STEPS.c.begun_ns))
    .where(STEPS.c.token == HOST_TOKEN, STEPS.c.stage == Stage.PROVISION)
    .scalar_subquery()
)

_LINES = (
    sql.select(HOSTS, RUNS.c.bench, _BEGUN_NS.label("begun_ns"), now_ns().label("read_ns"))
    .join(RUNS, RUNS.c.run == HOSTS.c.run)
    .where(IS_KEPT)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlace:
    """The place of a kept host in the list: the first whose lease ends comes first, those without a lease last."""

    until_ns: int
    run: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLine:
    """A kept host. `left_s`: until its lease ends; None where no lease ends it. `cost_usd`: so far, where known."""

    line: HostLine
    bench: str
    left_s: float | None
    cost_usd: float | None

    @property
    def place(self) -> KeptPlace:
        """Its place in the list."""
        until_ns = self.line.kept_until_ns
        return KeptPlace(until_ns=_NO_END_NS if until_ns is None else until_ns, run=self.line.run, host=self.line.host)


def list_kept(
    database: Database,
    *,
    run: str | None = None,
    bench: str | None = None,
    keeper: str | None = None,
    after: KeptPlace | None = None,
    most: int = 50,
) -> list[KeptLine]:
    """List kept hosts, at most so many, the first whose lease ends first; `after`: only those behind this place.

    Machines that existed before their run do not count as kept.
    """
    query = _LINES.where(*_list_conditions(run, bench, keeper))
    if after is not None:
        query = query.where(sql.tuple_(_UNTIL_NS, HOSTS.c.run, HOSTS.c.host) > (after.until_ns, after.run, after.host))
    rows = database.read(lambda db: db.execute(query.order_by(_UNTIL_NS, HOSTS.c.run, HOSTS.c.host).limit(most)).all())
    return [_make_line(row) for row in rows]


def find_kept_line(database: Database, run: str, host: str) -> KeptLine | None:
    """Find a kept host; None where it is not kept."""
    query = _LINES.where(*_list_conditions(run, None, None), HOSTS.c.host == host)
    row = database.read(lambda db: db.execute(query).first())
    return None if row is None else _make_line(row)


def _list_conditions(run: str | None, bench: str | None, keeper: str | None) -> list[sql.ColumnElement[bool]]:
    existed = [name for name in BenchName if not traits_of_recorded(name).makes_hosts]
    conditions: list[sql.ColumnElement[bool]] = [RUNS.c.bench.not_in(existed)]
    for column, value in ((HOSTS.c.run, run), (RUNS.c.bench, bench), (HOSTS.c.kept_by, keeper)):
        if value is not None:
            conditions.append(column == value)
    return conditions


def _make_line(row: Any) -> KeptLine:
    line = make_host_line(row)
    until_ns = line.kept_until_ns
    begun_ns = row.begun_ns or row.read_ns
    seconds = (min(row.read_ns, until_ns or row.read_ns) - begun_ns) / 1e9
    return KeptLine(
        line=line,
        bench=row.bench,
        left_s=None if until_ns is None else max(0.0, (until_ns - row.read_ns) / 1e9),
        cost_usd=None if line.record is None else compute_cost_usd(line.record, seconds),
    )
