"""Tables of the watch: workers, the streams that they take, and who leads."""

import sqlalchemy as sql
from alembic import op

revision = "0007"
down_revision = "0006"

_HALF_FULL = {"fillfactor": 50}


def upgrade() -> None:
    op.create_table(
        "watch_workers",
        sql.Column("worker", sql.String(64), primary_key=True),
        sql.Column("registration", sql.Integer, nullable=False),
        sql.Column("process", sql.String(255), nullable=False),
        sql.Column("version", sql.String(32), nullable=False),
        sql.Column("capacity", sql.Float, nullable=False),
        sql.Column("score", sql.Float, nullable=False),
        sql.Column("load", sql.Float, nullable=False, server_default="0"),
        sql.Column("draining", sql.Boolean, nullable=False, server_default=sql.false()),
        sql.Column("registered_ns", sql.BigInteger, nullable=False),
        sql.Column("beat_ns", sql.BigInteger, nullable=False),
        sql.Column("until_ns", sql.BigInteger, nullable=False),
        postgresql_with=_HALF_FULL,
    )
    op.create_table(
        "watch_streams",
        sql.Column("stream", sql.String(160), primary_key=True),
        sql.Column("source", sql.JSON, nullable=False),
        sql.Column("interval_s", sql.Float, nullable=False),
        sql.Column("limits", sql.JSON, nullable=False),
        sql.Column("weight", sql.Float, nullable=False, server_default="1"),
        sql.Column("wanted", sql.String(64)),
        sql.Column("owner", sql.String(64)),
        sql.Column("epoch", sql.Integer, nullable=False, server_default="0"),
        sql.Column("until_ns", sql.BigInteger),
        sql.Column("added_ns", sql.BigInteger, nullable=False),
        sql.Column("added_by", sql.String(255), nullable=False),
        postgresql_with=_HALF_FULL,
    )
    op.create_index("ix_watch_streams_wanted", "watch_streams", ["wanted"])
    op.create_index("ix_watch_streams_owner", "watch_streams", ["owner"])
    op.create_table(
        "watch_leader",
        sql.Column("leader", sql.String(16), primary_key=True),
        sql.Column("epoch", sql.Integer, nullable=False),
        sql.Column("process", sql.String(255), nullable=False),
        sql.Column("until_ns", sql.BigInteger, nullable=False),
    )
