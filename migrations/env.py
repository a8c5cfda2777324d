"""Alembic's entry: runs on the connection that berth_server.store.migrate hands over."""

from alembic import context

from berth_server.store.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
