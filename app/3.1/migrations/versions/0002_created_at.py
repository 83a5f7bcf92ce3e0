"""When each comment was created: an expansion, on which 3.0 goes on reading and writing."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    """Adds the column, empty for what is there: nobody knows when that was created."""
    op.add_column("comments", sa.Column("created_at", sa.DateTime(timezone=True)))
    # By itself, as a column that is added with a changing default rewrites the whole table under its lock.
    op.alter_column("comments", "created_at", server_default=sa.text("clock_timestamp()"))


def downgrade():
    """Raises: a rollback keeps the schema, on which 3.0 works (docs/database.md)."""
    raise NotImplementedError("there is no way down from 0002: 3.0 works on it")
