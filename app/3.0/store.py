"""Comments in PostgreSQL, for all workers of all servers at once."""

from sqlalchemy import BigInteger, Column, Identity, MetaData, Table, Text, insert, select, text

SCHEMA = "0001"  # the oldest schema (revision of migrations/versions) that this version works on

metadata = MetaData()
comments = Table(
    "comments", metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("content_id", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("comment", Text, nullable=False),
)  # fmt: skip
SHOWN = (comments.c.comment, comments.c.email)

# One row per content, which a writer holds until its commit: so the limit holds for all servers, and the comments of
# a content get their ids in the order of their commits, and no page of a list misses one that commits late.
# A minute that is long ahead is that of a clock that was set back since: a new count begins.
COUNT = text("""
INSERT INTO content_rates AS rate (content_id, minute, written)
VALUES (:content_id, date_trunc('minute', clock_timestamp()), 1)
ON CONFLICT (content_id) DO UPDATE SET
    written = CASE WHEN excluded.minute > rate.minute OR excluded.minute < rate.minute - interval '1 minute'
                   THEN 1 ELSE rate.written + 1 END,
    minute = CASE WHEN excluded.minute < rate.minute - interval '1 minute'
                  THEN excluded.minute ELSE greatest(excluded.minute, rate.minute) END
WHERE rate.written < :per_minute OR excluded.minute > rate.minute OR excluded.minute < rate.minute - interval '1 minute'
RETURNING written
""")
SECONDS_LEFT = text("SELECT ceil(60 - extract(second FROM clock_timestamp()))::integer")
REVISION = text("SELECT version_num FROM alembic_version")


class TooMany(Exception):
    """A content has had its comments of this minute; seconds (int) until the next one."""

    def __init__(self, seconds):
        super().__init__(f"too many comments; again in {seconds} s")
        self.seconds = seconds


class Comments:
    """The comments in database (database.Database); each content takes per_minute (int) new ones a minute.

    Every method raises database.Unavailable.
    """

    def __init__(self, database, per_minute):
        self.database = database
        self.per_minute = per_minute

    def add(self, content_id, email, comment):
        """Stores a comment (three str); when it returns, the comment is committed. Raises TooMany."""
        with self.database.transaction() as connection:
            counted = connection.execute(COUNT, {"content_id": content_id, "per_minute": self.per_minute}).first()
            if counted is None:
                raise TooMany(max(1, connection.execute(SECONDS_LEFT).scalar_one()))
            connection.execute(insert(comments).values(content_id=content_id, email=email, comment=comment))

    def of(self, content_id, after, limit):
        """Returns a page of the comments of content_id (str), oldest first, and where the next one begins.

        It has at most limit comments (dicts) of an id above after (int); the second value is the `after` of the next
        page, None where there is none. Where content_id has no comment at all, both are None.
        """
        with self.database.transaction() as connection:
            rows = connection.execute(
                select(comments.c.id, *SHOWN)
                .where(comments.c.content_id == content_id, comments.c.id > after)
                .order_by(comments.c.id)
                .limit(limit + 1)
            ).all()
            if not rows and not self.has_any(connection, content_id):
                return None, None
        page = [{column.name: getattr(row, column.name) for column in SHOWN} for row in rows[:limit]]
        return page, rows[limit - 1].id if len(rows) > limit else None

    def has_any(self, connection, content_id):
        """Tells whether content_id (str) has a comment, by connection."""
        found = select(comments.c.id).where(comments.c.content_id == content_id).limit(1)
        return connection.execute(found).first() is not None

    def revision(self):
        """Returns the revision (str) of the schema, None where it has none."""
        with self.database.transaction() as connection:
            return connection.execute(REVISION).scalar()


def is_new_enough(revision):
    """Tells whether this version works on the schema of a revision (str or None): they are numbers that grow."""
    return bool(revision) and revision.isascii() and revision.isdigit() and int(revision) >= int(SCHEMA)
