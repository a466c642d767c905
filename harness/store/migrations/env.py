"""Make migrations in the transaction of the connection that the caller gave. Alembic runs this file by its path."""

from alembic import context

from harness.store.schema import REVISION_TABLE


def run() -> None:
    """Make the migrations that Alembic's caller asked for."""
    context.configure(connection=context.config.attributes["connection"], version_table=REVISION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # not where it is only imported
    run()
