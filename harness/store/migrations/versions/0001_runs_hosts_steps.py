"""The first tables: runs, their hosts, and the steps of these."""

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sql.Column("run", sql.String(16), primary_key=True),
        sql.Column("bench", sql.String(16), nullable=False),
        sql.Column("campaign", sql.JSON, nullable=False),
        sql.Column("started_ns", sql.BigInteger, nullable=False),
        sql.Column("machine", sql.String(255), nullable=False),
        sql.Column("pid", sql.Integer, nullable=False),
        sql.Column("pid_start_ticks", sql.BigInteger, nullable=False),
        sql.Column("record", sql.JSON),
    )
    op.create_table(
        "hosts",
        sql.Column("run", sql.String(16), sql.ForeignKey("runs.run"), primary_key=True),
        sql.Column("host", sql.String(128), primary_key=True),
        sql.Column("position", sql.Integer, nullable=False),
        sql.Column("instance_type", sql.String(64), nullable=False),
        sql.Column("state", sql.String(16)),
        sql.Column("record", sql.JSON),
    )
    op.create_table(
        "steps",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("token", sql.String(160), nullable=False),
        sql.Column("stage", sql.String(16), nullable=False),
        sql.Column("begun_ns", sql.BigInteger, nullable=False),
        sql.Column("ended_ns", sql.BigInteger),
        sql.Column("result", sql.Text),
    )
    op.create_index("ix_steps_token", "steps", ["token"])
