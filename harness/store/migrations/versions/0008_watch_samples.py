"""Tables of the watch: what was sampled, what it says of each clock, incidents, and what leaders did."""

import sqlalchemy as sql
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("watch_streams", sql.Column("wanted_ns", sql.BigInteger))
    op.create_table(
        "watch_chunks",
        sql.Column("stream", sql.String(160), primary_key=True),
        sql.Column("first_tick", sql.BigInteger, primary_key=True),
        sql.Column("epoch", sql.Integer, primary_key=True),
        sql.Column("last_tick", sql.BigInteger, nullable=False),
        sql.Column("worker", sql.String(64), nullable=False),
        sql.Column("replayed", sql.Boolean, nullable=False),
        sql.Column("stored_ns", sql.BigInteger, nullable=False),
        sql.Column("readings", sql.LargeBinary, nullable=False),
    )
    op.create_table(
        "watch_states",
        sql.Column("stream", sql.String(160), primary_key=True),
        sql.Column("epoch", sql.Integer, nullable=False),
        sql.Column("tick", sql.BigInteger, nullable=False),
        sql.Column("sampled_ns", sql.BigInteger, nullable=False),
        sql.Column("state", sql.String(16), nullable=False),
        sql.Column("reason", sql.String(64)),
        sql.Column("sentence", sql.Text, nullable=False),
        sql.Column("since_tick", sql.BigInteger, nullable=False),
        sql.Column("latest", sql.JSON, nullable=False),
        sql.Column("judging", sql.JSON, nullable=False),
        sql.Column("host", sql.JSON, nullable=False),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "watch_changes",
        sql.Column("stream", sql.String(160), primary_key=True),
        sql.Column("tick", sql.BigInteger, primary_key=True),
        sql.Column("epoch", sql.Integer, primary_key=True),
        sql.Column("state", sql.String(16), nullable=False),
        sql.Column("reason", sql.String(64)),
        sql.Column("sentence", sql.Text, nullable=False),
        sql.Column("replayed", sql.Boolean, nullable=False),
        sql.Column("stored_ns", sql.BigInteger, nullable=False),
    )
    op.create_table(
        "watch_days",
        sql.Column("stream", sql.String(160), primary_key=True),
        sql.Column("day", sql.String(10), primary_key=True),
        sql.Column("figures", sql.JSON, nullable=False),
        sql.Column("archive", sql.Text),
        sql.Column("stored_ns", sql.BigInteger, nullable=False),
    )
    op.create_table(
        "watch_incidents",
        sql.Column("incident", sql.String(16), primary_key=True),
        sql.Column("kind", sql.String(64), nullable=False),
        sql.Column("cause", sql.String(255), nullable=False),
        sql.Column("streams", sql.JSON, nullable=False),
        sql.Column("sentence", sql.Text, nullable=False),
        sql.Column("recommendation", sql.Text, nullable=False),
        sql.Column("began_ns", sql.BigInteger, nullable=False),
        sql.Column("ended_ns", sql.BigInteger),
        sql.Column("told", sql.JSON, nullable=False),
    )
    op.create_table(
        "watch_log",
        sql.Column(
            "number", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True, autoincrement=True
        ),
        sql.Column("logged_ns", sql.BigInteger, nullable=False),
        sql.Column("epoch", sql.Integer, nullable=False),
        sql.Column("kind", sql.String(32), nullable=False),
        sql.Column("stream", sql.String(160)),
        sql.Column("worker", sql.String(64)),
        sql.Column("sentence", sql.Text, nullable=False),
    )
    op.create_index("ix_watch_chunks_stored_ns", "watch_chunks", ["stored_ns"])
    op.create_index("ix_watch_changes_stored_ns", "watch_changes", ["stored_ns"])
    op.create_index("ix_watch_incidents_began_ns", "watch_incidents", ["began_ns"])
    op.create_index("ix_watch_log_logged_ns", "watch_log", ["logged_ns"])
    op.create_table(
        "watch_cursors",
        sql.Column("cursor", sql.String(64), primary_key=True),
        sql.Column("label", sql.Text, nullable=False),
        sql.Column("revision", sql.Integer, nullable=False),
        sql.Column("through_ns", sql.BigInteger, nullable=False),
        sql.Column("sent", sql.JSON, nullable=False),
        sql.Column("samples", sql.BigInteger, nullable=False),
        sql.Column("refused", sql.BigInteger, nullable=False),
        sql.Column("problem", sql.Text),
        sql.Column("written_ns", sql.BigInteger, nullable=False),
    )
