"""Owners with leases instead of a process of one machine, attempts of hosts, leases of kept hosts, numbered events."""

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"

_KEPT_WITH_LEASE = """
UPDATE hosts SET kept_until_ns = (
  SELECT MAX(begun_ns) FROM steps
  WHERE steps.token = hosts.run || '/' || hosts.host || '/1' AND steps.stage = 'provision'
) + CAST({lease_s} * 1000000000 AS BIGINT)
FROM runs WHERE runs.run = hosts.run AND runs.bench = 'ec2' AND hosts.state = 'kept' AND {lease_s} IS NOT NULL
"""
_LEASE_S = {
    "sqlite": "json_extract(runs.campaign, '$.lease_s')",
    "postgresql": "CAST(runs.campaign ->> 'lease_s' AS DOUBLE PRECISION)",
}
_REPEATED = {
    "sqlite": (
        "UPDATE hosts SET outcome = json_extract(record, '$.verdict.outcome'), "
        "region = json_extract(record, '$.region') WHERE json_type(record) = 'object'",
        "UPDATE hosts SET has_clock = false WHERE json_extract(record, '$.verdict.reason') = 'no_phc' "
        "AND outcome = 'UNSUPPORTED'",
        "UPDATE hosts SET has_clock = true WHERE json_type(record) = 'object' AND EXISTS ("
        "SELECT 1 FROM json_each(hosts.record, '$.verdict.rungs') AS rung "
        "WHERE json_extract(rung.value, '$.name') = 'clock_present' "
        "AND json_extract(rung.value, '$.status') = 'proven')",
    ),
    "postgresql": (
        "UPDATE hosts SET outcome = record -> 'verdict' ->> 'outcome', region = record ->> 'region' "
        "WHERE json_typeof(record) = 'object'",
        "UPDATE hosts SET has_clock = false WHERE record -> 'verdict' ->> 'reason' = 'no_phc' "
        "AND outcome = 'UNSUPPORTED'",
        "UPDATE hosts SET has_clock = true WHERE json_typeof(record) = 'object' AND EXISTS ("
        "SELECT 1 FROM json_array_elements(hosts.record -> 'verdict' -> 'rungs') AS rung "
        "WHERE rung ->> 'name' = 'clock_present' AND rung ->> 'status' = 'proven')",
    ),
}
_KEEP = {"sqlite": "json_extract(campaign, '$.keep')", "postgresql": "campaign ->> 'keep'"}


def upgrade() -> None:
    op.create_table(
        "ptp_harness",
        sql.Column("revision", sql.String(16), primary_key=True),
        sql.Column("version", sql.String(32), nullable=False),
        sql.Column("made_ns", sql.BigInteger, nullable=False),
    )
    op.create_table(
        "owners",
        sql.Column("owner", sql.String(32), primary_key=True),
        sql.Column("machine", sql.String(255), nullable=False),
        sql.Column("person", sql.String(255)),
        sql.Column("place", sql.String(96), nullable=False),
        sql.Column("pid", sql.Integer, nullable=False),
        sql.Column("pid_start_ticks", sql.BigInteger, nullable=False),
        sql.Column("since_ns", sql.BigInteger, nullable=False),
        sql.Column("beats", sql.BigInteger, nullable=False),
        sql.Column("beat_ns", sql.BigInteger, nullable=False),
        sql.Column("until_ns", sql.BigInteger),
    )
    op.execute(
        "INSERT INTO owners (owner, machine, place, pid, pid_start_ticks, since_ns, beats, beat_ns) "
        "SELECT 'of-' || run, machine, '', pid, pid_start_ticks, started_ns, 0, started_ns FROM runs"
    )
    # SQLite adds a column with a foreign key only in this form.
    op.execute("ALTER TABLE runs ADD COLUMN owner VARCHAR(32) REFERENCES owners (owner)")
    op.add_column("runs", sql.Column("attempt", sql.Integer, nullable=False, server_default="1"))
    op.add_column("runs", sql.Column("events", sql.Integer, nullable=False, server_default="0"))
    op.add_column("runs", sql.Column("holds_passed", sql.Boolean, nullable=False, server_default=sql.false()))
    op.add_column("runs", sql.Column("stopping", sql.Boolean, nullable=False, server_default=sql.false()))
    op.execute("UPDATE runs SET owner = 'of-' || run")
    op.execute(f"UPDATE runs SET holds_passed = true WHERE {_KEEP[op.get_bind().dialect.name]} = 'ask'")
    for name in ("machine", "pid", "pid_start_ticks"):
        op.drop_column("runs", name)
    op.create_index("ix_runs_started_ns", "runs", ["started_ns"])
    op.execute("ALTER TABLE hosts ADD COLUMN owner VARCHAR(32) REFERENCES owners (owner)")
    op.add_column("hosts", sql.Column("attempt", sql.Integer, nullable=False, server_default="0"))
    op.add_column("hosts", sql.Column("expected_s", sql.Float, nullable=False, server_default="0"))
    op.add_column("hosts", sql.Column("kept_until_ns", sql.BigInteger))
    op.add_column("hosts", sql.Column("kept_by", sql.String(255)))
    op.add_column("hosts", sql.Column("outcome", sql.String(16)))
    op.add_column("hosts", sql.Column("has_clock", sql.Boolean))
    op.add_column("hosts", sql.Column("region", sql.String(32)))
    op.create_index("ix_hosts_verdicts", "hosts", ["instance_type", "outcome", "has_clock", "region", "run", "host"])
    for statement in _REPEATED[op.get_bind().dialect.name]:
        op.execute(statement)
    op.execute("UPDATE hosts SET attempt = 1")
    op.execute("UPDATE hosts SET owner = 'of-' || run WHERE state IS NULL OR state = 'undecided'")
    op.execute(_KEPT_WITH_LEASE.format(lease_s=_LEASE_S[op.get_bind().dialect.name]))
    op.execute("CREATE INDEX IF NOT EXISTS ix_steps_token ON steps (token)")  # early versions made none
    op.add_column("steps", sql.Column("ident", sql.String(32)))
    op.create_index("ix_steps_ident", "steps", ["ident"], unique=True)
    op.create_table(
        "events",
        sql.Column("run", sql.String(16), sql.ForeignKey("runs.run"), primary_key=True),
        sql.Column("number", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("ident", sql.String(32), nullable=False),
        sql.Column("host", sql.String(128)),
        sql.Column("stage", sql.String(16)),
        sql.Column("text", sql.Text, nullable=False),
        sql.Column("at_ns", sql.BigInteger, nullable=False),
    )
    op.create_index("ix_events_ident", "events", ["run", "ident"], unique=True)
