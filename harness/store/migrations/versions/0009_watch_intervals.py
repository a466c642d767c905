"""The interval of the grid beside each tick that is kept, and what workers find out.

A stream may be added again with another interval. A tick is a number of intervals since 1970, and was stored soon after
its moment. So the interval of a stored tick is known: that of its stream where it gives a moment shortly before the row
was stored, else the one that would.
"""

import sqlalchemy as sql
from alembic import op

revision = "0009"
down_revision = "0008"

_DAY_NS = 86_400_000_000_000
_SPOOLED_NS, _AHEAD_NS = 90 * _DAY_NS, _DAY_NS
"""A row is stored at most so long after its tick, or before it by clocks that disagree."""

_LEAST_NS, _MOST_NS, _USUAL_NS = 50_000_000, 3_600_000_000_000, 1_000_000_000
_AT_ONCE = 5000

_STREAMS = sql.table("watch_streams", sql.column("stream", sql.String), sql.column("interval_s", sql.Float))


def upgrade() -> None:
    op.add_column("watch_workers", sql.Column("findings", sql.JSON))
    for name, tick in (("watch_chunks", "last_tick"), ("watch_changes", "tick")):
        op.add_column(name, sql.Column("interval_ns", sql.BigInteger))
        _take_from_streams(name, tick)
        _compute_others(name, tick)
        with op.batch_alter_table(name) as table:
            table.alter_column("interval_ns", existing_type=sql.BigInteger(), nullable=False)


def _take_from_streams(name: str, tick: str) -> None:
    """Take the interval of the stream where its ticks are of the time when the rows were stored."""
    table = _describe(name, tick)
    of = table.c
    interval_ns = sql.cast(sql.func.round(_STREAMS.c.interval_s * 1e9), sql.BigInteger)
    moment_ns = sql.cast(of[tick], sql.Float) * _STREAMS.c.interval_s * 1e9  # a wrong one may be beyond 64 bits
    fits = moment_ns.between(of.stored_ns - _SPOOLED_NS, of.stored_ns + _AHEAD_NS)
    interval = sql.select(interval_ns).where(_STREAMS.c.stream == of.stream, fits)
    op.execute(table.update().values(interval_ns=interval.scalar_subquery()))


def _compute_others(name: str, tick: str) -> None:
    """Compute the interval of ticks whose stream is gone, or was added again with another interval."""
    table = _describe(name, tick)
    of, keys = table.c, ("stream", tick if name == "watch_changes" else "first_tick", "epoch")
    waiting = sql.select(table).where(of.interval_ns.is_(None)).limit(_AT_ONCE)
    same = sql.and_(*(of[key] == sql.bindparam(f"of_{key}") for key in keys))
    while rows := op.get_bind().execute(waiting).mappings().all():
        values = [
            {**{f"of_{key}": row[key] for key in keys}, "interval": _compute_interval_ns(row[tick], row)}
            for row in rows
        ]
        op.get_bind().execute(table.update().where(same).values(interval_ns=sql.bindparam("interval")), values)


def _compute_interval_ns(tick: int, row: sql.RowMapping) -> int:
    """Compute the interval with which a tick is of the time when it was stored: exact enough for whole ms.

    What was spooled came up to days later, and has three digits.
    """
    if tick <= 0:
        return _USUAL_NS
    interval_ns = round(float(f"{row['stored_ns'] / tick:.{2 if row['replayed'] else 5}e}"))
    return interval_ns if _LEAST_NS <= interval_ns <= _MOST_NS else _USUAL_NS


def _describe(name: str, tick: str) -> sql.TableClause:
    numbers = ("first_tick", tick) if name == "watch_chunks" else (tick,)
    columns = [sql.column(each, sql.BigInteger) for each in (*numbers, "epoch", "stored_ns", "interval_ns")]
    return sql.table(name, sql.column("stream", sql.String), sql.column("replayed", sql.Boolean), *columns)
