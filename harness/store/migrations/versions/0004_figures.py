"""The offset and the bound of each host beside its record, by which runs are listed and chosen."""

import sqlalchemy as sql
from alembic import op

revision = "0004"
down_revision = "0003"

_FROM_RECORDS = {
    "sqlite": (
        "UPDATE hosts SET offset_p99_ns = json_extract(record, '$.quality.offset_ns.p99_abs'), "
        "bound_p99_ns = coalesce(json_extract(record, '$.quality.error_bound_ns.p99_abs'), "
        "json_extract(record, '$.quality.bound_ns.p99_abs')) WHERE json_type(record) = 'object'"
    ),
    "postgresql": (
        "UPDATE hosts SET offset_p99_ns = CAST(record #>> '{quality,offset_ns,p99_abs}' AS DOUBLE PRECISION), "
        "bound_p99_ns = CAST(coalesce(record #>> '{quality,error_bound_ns,p99_abs}', "
        "record #>> '{quality,bound_ns,p99_abs}') AS DOUBLE PRECISION) WHERE json_typeof(record) = 'object'"
    ),
}


def upgrade() -> None:
    op.add_column("hosts", sql.Column("offset_p99_ns", sql.Float))
    op.add_column("hosts", sql.Column("bound_p99_ns", sql.Float))
    op.execute(_FROM_RECORDS[op.get_bind().dialect.name])
    op.create_index("ix_hosts_figures", "hosts", ["run", "offset_p99_ns", "bound_p99_ns"])
