"""The table of buckets by which processes share the limits of an account's requests."""

import sqlalchemy as sql
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "request_buckets",
        sql.Column("bucket", sql.String(160), primary_key=True),
        sql.Column("full_ns", sql.BigInteger, nullable=False),
    )
