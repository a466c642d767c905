"""Tables of the service: tasks, tokens, the audit log, schedules and sites; the task and the sums of each run.

Beside each host's record: image, kernel and driver, by which the service orders the verdicts of a type.
"""

from typing import Any

import sqlalchemy as sql
from alembic import op

from harness.untrusted.plain_text import printable

revision = "0005"
down_revision = "0004"

_VERDICTS = {"passed": "PASS", "unsupported": "UNSUPPORTED", "inconclusive": "INCONCLUSIVE", "failed": "FAIL"}
_FIGURES = ("offset_p99_ns", "bound_p99_ns")
_MOST_CHARACTERS = 128
_HOSTS = sql.table(
    "hosts",
    sql.column("run"),
    sql.column("host"),
    sql.column("record", sql.JSON),
    *map(sql.column, ("image", "kernel", "driver")),
)


def upgrade() -> None:
    _sum_up_runs()
    for name in ("image", "kernel", "driver"):
        op.add_column("hosts", sql.Column(name, sql.String(_MOST_CHARACTERS)))
    _fill_environments(op.get_bind())
    op.add_column("runs", sql.Column("task", sql.String(16)))
    op.create_index("ix_runs_task", "runs", ["task"], unique=True)
    op.create_table(
        "tasks",
        sql.Column("task", sql.String(16), primary_key=True),
        sql.Column("state", sql.String(16), nullable=False),
        sql.Column("document", sql.Text, nullable=False),
        sql.Column("campaign", sql.JSON, nullable=False),
        sql.Column("bench", sql.String(16), nullable=False),
        sql.Column("hosts", sql.Integer, nullable=False),
        sql.Column("site", sql.String(64)),
        sql.Column("remote_task", sql.String(64)),
        sql.Column("remote_run", sql.String(16)),
        sql.Column("priority", sql.Integer, nullable=False, server_default="0"),
        sql.Column("expected_s", sql.Float, nullable=False, server_default="0"),
        sql.Column("submitter", sql.String(64), nullable=False),
        sql.Column("submitted_ns", sql.BigInteger, nullable=False),
        sql.Column("idempotency_key", sql.String(255)),
        sql.Column("fingerprint", sql.String(64), nullable=False),
        sql.Column("schedule", sql.String(64)),
        sql.Column("owner", sql.String(32), sql.ForeignKey("owners.owner")),
        sql.Column("attempt", sql.Integer, nullable=False, server_default="0"),
        sql.Column("begun_ns", sql.BigInteger),
        sql.Column("ended_ns", sql.BigInteger),
        sql.Column("cancelled_by", sql.String(64)),
        sql.Column("exit_code", sql.Integer),
        sql.Column("outcome", sql.String(16)),
        sql.Column("problem", sql.Text),
    )
    op.create_index("ix_tasks_requests", "tasks", ["submitter", "idempotency_key"], unique=True)
    op.create_index("ix_tasks_queue", "tasks", ["state", "priority", "submitted_ns"])
    op.create_index("ix_tasks_newest", "tasks", ["submitted_ns", "task"])
    op.create_table(
        "tokens",
        sql.Column("token", sql.String(16), primary_key=True),
        sql.Column("name", sql.String(64), nullable=False, unique=True),
        sql.Column("digest", sql.String(64), nullable=False, unique=True),
        sql.Column("scope", sql.String(16), nullable=False),
        sql.Column("created_ns", sql.BigInteger, nullable=False),
        sql.Column("created_by", sql.String(255), nullable=False),
        sql.Column("expires_ns", sql.BigInteger),
        sql.Column("revoked_ns", sql.BigInteger),
        sql.Column("last_used_ns", sql.BigInteger),
    )
    op.create_table(
        "audit",
        sql.Column("number", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True),
        sql.Column("at_ns", sql.BigInteger, nullable=False),
        sql.Column("actor", sql.String(64), nullable=False),
        sql.Column("address", sql.String(64), nullable=False),
        sql.Column("action", sql.String(64), nullable=False),
        sql.Column("object", sql.String(255), nullable=False),
        sql.Column("status", sql.Integer, nullable=False),
    )
    op.create_index("ix_audit_at_ns", "audit", ["at_ns"])
    op.create_table(
        "schedules",
        sql.Column("name", sql.String(64), primary_key=True),
        sql.Column("cron", sql.String(128), nullable=False),
        sql.Column("zone", sql.String(64), nullable=False),
        sql.Column("document", sql.Text, nullable=False),
        sql.Column("site", sql.String(64)),
        sql.Column("priority", sql.Integer, nullable=False, server_default="0"),
        sql.Column("submitter", sql.String(64), nullable=False),
        sql.Column("created_ns", sql.BigInteger, nullable=False),
        sql.Column("due_ns", sql.BigInteger, nullable=False),
        sql.Column("last_ns", sql.BigInteger),
        sql.Column("last_task", sql.String(16)),
        sql.Column("last_problem", sql.Text),
        sql.Column("missed", sql.Integer, nullable=False, server_default="0"),
        sql.Column("paused", sql.Boolean, nullable=False, server_default=sql.false()),
    )
    op.create_index("ix_schedules_due_ns", "schedules", ["due_ns"])
    op.create_table(
        "sites",
        sql.Column("name", sql.String(64), primary_key=True),
        sql.Column("url", sql.Text, nullable=False),
        sql.Column("benches", sql.JSON, nullable=False),
        sql.Column("added_ns", sql.BigInteger, nullable=False),
        sql.Column("added_by", sql.String(255), nullable=False),
    )


def _sum_up_runs() -> None:
    """Put the verdicts and worst figures of its hosts beside each run, and what lists of runs need into indexes."""
    for name in _VERDICTS:
        op.add_column("runs", sql.Column(name, sql.Integer, nullable=False, server_default="0"))
    for name in _FIGURES:
        op.add_column("runs", sql.Column(name, sql.Float))
    op.drop_index("ix_hosts_figures", "hosts")
    op.create_index("ix_hosts_figures", "hosts", ["run", "outcome", *_FIGURES])
    sums = {name: f"count(CASE WHEN outcome = '{outcome}' THEN 1 END)" for name, outcome in _VERDICTS.items()}
    sums |= {name: f"max({name})" for name in _FIGURES}
    changes = (f"{name} = (SELECT {summed} FROM hosts WHERE hosts.run = runs.run)" for name, summed in sums.items())
    op.execute(f"UPDATE runs SET {', '.join(changes)}")
    op.create_index("ix_runs_sums", "runs", ["started_ns", "run", "bench", *sums])
    is_open, is_kept = sql.text("record IS NULL"), sql.text("state = 'kept'")
    columns = ["started_ns", "run", "owner"]
    op.create_index("ix_runs_open", "runs", columns, sqlite_where=is_open, postgresql_where=is_open)
    columns = ["run", "kept_until_ns"]
    op.create_index("ix_hosts_kept", "hosts", columns, sqlite_where=is_kept, postgresql_where=is_kept)


def _fill_environments(db: sql.Connection) -> None:
    """Take image, kernel and driver of each host from its record. A host may have sent any text."""
    names = db.execute(sql.select(_HOSTS.c.run, _HOSTS.c.host).where(_HOSTS.c.record.is_not(None))).all()
    for run, host in names:
        here = (_HOSTS.c.run == run) & (_HOSTS.c.host == host)
        record = db.execute(sql.select(_HOSTS.c.record).where(here)).scalar()
        if isinstance(record, dict):
            db.execute(_HOSTS.update().where(here).values(_read_environment(record)))


def _read_environment(record: dict[str, Any]) -> dict[str, str | None]:
    facts = record.get("facts") or {}
    drivers = [driver for driver in facts.get("drivers") or () if driver.get("version")]
    texts = {
        "image": record.get("image") or facts.get("os"),
        "kernel": facts.get("kernel"),
        "driver": f"{drivers[0].get('name')} {drivers[0]['version']}" if drivers else None,
    }
    return {name: printable(text)[:_MOST_CHARACTERS] if text else None for name, text in texts.items()}
