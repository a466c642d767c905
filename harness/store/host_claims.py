"""Give the hosts of a run to the processes that work on it: each to one at a time, the longest expected first.

The functions are the statements of one transaction of `Ledger`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from harness.model import HostState, Stage, Token
from harness.model.bench_traits import traits_of_recorded
from harness.store.database import now_ns
from harness.store.ledger_lines import HostLine
from harness.store.ledger_reader import make_host_line
from harness.store.owners import OwnerLine, make_owner_line
from harness.store.tables import HOSTS, OWNERS, RUNS, STEPS

_UNJUDGED = HOSTS.c.state.is_(None) & HOSTS.c.record.is_(None)
_UNSETTLED = HOSTS.c.state.is_(None) | (HOSTS.c.state == HostState.UNDECIDED)

# Statements that each host needs several times are made once: SQLAlchemy takes longer to make one than to run it.
OF_OWNER = (
    (HOSTS.c.run == sql.bindparam("of_run"))
    & (HOSTS.c.host == sql.bindparam("of_host"))
    & (HOSTS.c.attempt == sql.bindparam("of_attempt"))
    & (HOSTS.c.owner == sql.bindparam("of_owner"))
)
"""Selects the host of a token, as long as it is an owner's; `name_host` gives the values."""

HOLD_HOST = sql.select(HOSTS.c.host).where(OF_OWNER).with_for_update()
_HOLD_RUN = (
    sql.select(RUNS.c.owner, RUNS.c.stopping, RUNS.c.record.is_not(None).label("ended"))
    .where(RUNS.c.run == sql.bindparam("of_run"))
    .with_for_update(read=True)
)


def _make_claim(*conditions: sql.ColumnElement[bool]) -> Any:
    longest_free = (
        sql.select(HOSTS.c.host)
        .where(HOSTS.c.run == sql.bindparam("of_run"), _UNJUDGED, HOSTS.c.owner.is_(None), *conditions)
        .order_by(HOSTS.c.expected_s.desc(), HOSTS.c.position)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return (
        HOSTS.update()
        .where(HOSTS.c.run == sql.bindparam("of_run"), HOSTS.c.host == longest_free.scalar_subquery())
        .values(owner=sql.bindparam("for_owner"), attempt=HOSTS.c.attempt + 1)
        .returning(HOSTS)
    )


_CLAIM = _make_claim()
_CLAIM_OF_TYPES = _make_claim(HOSTS.c.instance_type.in_(sql.bindparam("of_types", expanding=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsettledHost:
    """A host that is not settled, and the process that works on it; None: the host can be claimed."""

    host: str
    owner: OwnerLine | None


def name_host(token: Token, owner: str) -> dict[str, object]:
    """Return the values of OF_OWNER for a token and an owner."""
    return {"of_run": token.run, "of_host": token.host, "of_attempt": token.attempt, "of_owner": owner}


def claim_host(db: sql.Connection, run: str, owner: str, types: Collection[str] | None = None) -> HostLine | None:
    """Claim a host without verdict and owner, of these instance types or of any; None when none is left.

    A process that does not lead the run gets none of a run that was asked to stop or has ended. The run's row is held
    meanwhile, so that whoever takes the run over sees every claim.
    """
    line = db.execute(_HOLD_RUN, {"of_run": run}).first()
    if line is None or line.ended or (line.stopping and line.owner != owner):
        return None
    values: dict[str, object] = {"of_run": run, "for_owner": owner}
    if types is None:
        row = db.execute(_CLAIM, values).first()
    else:
        row = db.execute(_CLAIM_OF_TYPES, values | {"of_types": [*types]}).first()
    return None if row is None else make_host_line(row)


def count_free(db: sql.Connection, run: str) -> dict[str, int]:
    """Count the hosts of a run that can be claimed, by instance type."""
    free = (HOSTS.c.run == run) & _UNJUDGED & HOSTS.c.owner.is_(None)
    query = sql.select(HOSTS.c.instance_type, sql.func.count()).where(free).group_by(HOSTS.c.instance_type)
    return {str(name): int(count) for name, count in db.execute(query)}


def find_unknown_claim(db: sql.Connection, run: str, owner: str, known: Collection[Token]) -> HostLine | None:
    """Find a host that the owner claimed without learning it: the answer to its commit was lost."""
    rows = db.execute(HOSTS.select().where(HOSTS.c.run == run, _UNJUDGED, HOSTS.c.owner == owner)).all()
    return next((line for line in map(make_host_line, rows) if line.token not in known), None)


def find_hosts_of_others(db: sql.Connection, run: str, owner: str) -> list[UnsettledHost]:
    """Find the hosts of a run that are not settled and not of `owner`: free, or of other processes, living or dead."""
    free_or_of_others = (HOSTS.c.owner.is_(None) & _UNJUDGED) | (HOSTS.c.owner != owner)
    query = (
        sql.select(HOSTS.c.host, *OWNERS.c, now_ns())
        .outerjoin(OWNERS, OWNERS.c.owner == HOSTS.c.owner)
        .where(HOSTS.c.run == run, free_or_of_others, _UNSETTLED)
        .order_by(HOSTS.c.position)
    )
    return [
        UnsettledHost(host=host, owner=None if line[0] is None else make_owner_line(line))
        for host, *line in db.execute(query)
    ]


def find_lease_end_ns(db: sql.Connection, token: Token) -> int | None:
    """Find when the lease of a kept host ends: as it was extended, else as its campaign set it at its start.

    None where no lease ends the hosts of its bench.
    """
    here = sql.and_(HOSTS.c.run == token.run, HOSTS.c.host == token.host)
    lease_s = RUNS.c.campaign["lease_s"].as_float()
    query = sql.select(RUNS.c.bench, lease_s.label("lease_s"), HOSTS.c.kept_until_ns).join(
        RUNS, RUNS.c.run == HOSTS.c.run
    )
    host = db.execute(query.where(here)).one()
    if host.kept_until_ns is not None or not traits_of_recorded(host.bench).cloud:
        return int(host.kept_until_ns) if host.kept_until_ns is not None else None
    provision = (STEPS.c.token == str(token)) & (STEPS.c.stage == Stage.PROVISION)
    begun_ns = db.execute(sql.select(sql.func.max(STEPS.c.begun_ns)).where(provision)).scalar()
    return None if begun_ns is None or host.lease_s is None else int(begun_ns + host.lease_s * 1e9)


def take_hosts_of_dead(db: sql.Connection, run: str, dead: OwnerLine, owner: str) -> int:
    """Free the hosts of a dead owner that have no verdict; those with one that are not settled become `owner`'s.

    Returns how many hosts there were: none where the dead one renewed its lease meanwhile.
    """
    still_dead = sql.exists().where(OWNERS.c.owner == dead.owner, OWNERS.c.beats == dead.beats)
    hosts = (HOSTS.c.run == run) & (HOSTS.c.owner == dead.owner) & _UNSETTLED & still_dead
    freed = db.execute(HOSTS.update().where(hosts, HOSTS.c.record.is_(None)).values(owner=None)).rowcount
    taken = db.execute(HOSTS.update().where(hosts, HOSTS.c.record.is_not(None)).values(owner=owner)).rowcount
    return freed + taken
