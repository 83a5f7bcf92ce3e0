"""The comments, and for each content how many it got in its last minute."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    """Makes both tables."""
    op.create_table(
        "comments",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("content_id", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
    )
    op.create_index("comments_by_content", "comments", ["content_id", "id"])
    op.create_table(
        "content_rates",
        sa.Column("content_id", sa.Text, primary_key=True),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("written", sa.Integer, nullable=False),
    )


def downgrade():
    """Raises: going down would drop the comments. A rollback keeps the schema (docs/database.md)."""
    raise NotImplementedError("there is no way down from 0001: it would drop all comments")
