"""Comments in an SQLite file that many threads, workers and overlapping releases use at once."""

import fcntl
import sqlite3
import threading
from pathlib import Path

# A later release adds statements here and only ever adds: the release before it may serve from the same file.
SCHEMA = """
CREATE TABLE IF NOT EXISTS comments (
    id INTEGER PRIMARY KEY,
    content_id TEXT NOT NULL,
    email TEXT NOT NULL,
    comment TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS comments_by_content ON comments (content_id, id);
"""
BUSY_SECONDS = 10  # how long a writer waits for its turn


def state_directory(environment):
    """Returns the directory (Path) that systemd names in STATE_DIRECTORY of environment (a mapping).

    Raises RuntimeError where none is named.
    """
    # Where a unit has several, systemd joins them by colons.
    named = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if not named:
        raise RuntimeError("STATE_DIRECTORY is not set: the unit needs StateDirectory=, or nothing could be kept")
    return Path(named)


class Comments:
    """The comments in the file at path (Path)."""

    def __init__(self, path):
        """Makes the file and its tables where they are not there; raises sqlite3.Error or OSError where it cannot."""
        self.path = path
        self.local = threading.local()
        # Turning a file to WAL takes an exclusive lock for which SQLite does not always wait its turn, and all
        # workers start at once.
        with open(path.with_suffix(".lock"), "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            database = self.connect()
            try:
                database.execute("PRAGMA journal_mode=WAL")
                database.executescript(SCHEMA)
            finally:
                database.close()

    def connect(self):
        """Returns a new connection on which each statement is a transaction of its own."""
        database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        # FULL: a commit returns when it is on the disk. WAL's usual NORMAL would lose the last ones in a power cut.
        database.execute("PRAGMA synchronous=FULL")
        return database

    @property
    def database(self):
        """The connection of this thread, which stays open: opening one for each request would cost most of its time."""
        if not hasattr(self.local, "database"):
            self.local.database = self.connect()
        return self.local.database

    def add(self, content_id, email, comment):
        """Stores a comment (three str); when it returns, the comment is on the disk."""
        self.database.execute(
            "INSERT INTO comments (content_id, email, comment) VALUES (?, ?, ?)", (content_id, email, comment)
        )

    def of(self, content_id):
        """Returns the comments of content_id (str): a list of dicts with comment and email, oldest first."""
        rows = self.database.execute(
            "SELECT comment, email FROM comments WHERE content_id = ? ORDER BY id", (content_id,)
        )
        return [{"comment": comment, "email": email} for comment, email in rows]

    def check(self):
        """Reads from the table; raises sqlite3.OperationalError where it cannot be read."""
        self.database.execute("SELECT 1 FROM comments LIMIT 1").fetchone()
