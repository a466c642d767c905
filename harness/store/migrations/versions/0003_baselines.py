"""Baselines: named groups of runs that later runs are compared with."""

import sqlalchemy as sql
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "baselines",
        sql.Column("name", sql.String(64), primary_key=True),
        sql.Column("run", sql.String(16), sql.ForeignKey("runs.run"), primary_key=True),
        sql.Column("added_ns", sql.BigInteger, nullable=False),
        sql.Column("added_by", sql.String(255), nullable=False),
    )
