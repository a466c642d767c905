"""Make migrations in the transaction of the connection that the caller gave. Alembic runs this file by its path."""

from alembic import context

from harness.store.schema import REVISION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=REVISION_TABLE)
with context.begin_transaction():
    context.run_migrations()
