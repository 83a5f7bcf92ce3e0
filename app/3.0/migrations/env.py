"""What `alembic upgrade head` runs: one migration at a time, each of which never blocks the API for long."""

import os
import sys
import time

import database
import psycopg
from alembic import context
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

# "glob" and "oapp": the numbers of the advisory lock, the same in every release.
TRY_LOCK = text(f"SELECT pg_try_advisory_lock({0x676C6F62}, {0x6F617070})")
TURN_SECONDS = 300  # how long a second run waits for the first
# A change of a table waits for what uses it, and all later queries wait behind the change: a short time, and again.
LOCK_SECONDS, TRIES, PAUSE_SECONDS = 1, 20, 1


def say(line):
    """Prints line (str) at once."""
    print(line, file=sys.stderr, flush=True)


def wait_for_turn(connection):
    """Takes the advisory lock, which ends with connection; raises CommandError where another run does not end."""
    deadline = time.monotonic() + TURN_SECONDS
    told = False
    # Asking again, instead of waiting in the server: a statement that waits would hold up CREATE INDEX CONCURRENTLY.
    while not connection.execute(TRY_LOCK).scalar_one():
        connection.commit()
        if not told:
            say("another migration is running on this database: waiting for its end")
            told = True
        if time.monotonic() > deadline:
            raise CommandError(f"another migration has been running for {TURN_SECONDS} s: see pg_stat_activity")
        time.sleep(0.2)
    connection.commit()


def is_newer(current):
    """Tells whether current (tuple of revisions) is the schema of a later release, which keeps what this one needs."""
    head = context.script.get_current_head()
    known = {script.revision for script in context.script.walk_revisions()}
    return len(current) == 1 and current[0] not in known and current[0].isdigit() and int(current[0]) > int(head)


def migrate(connection):
    """Runs the command's migrations, each in a transaction of its own; raises CommandError, and DBAPIError."""
    for attempt in range(1, TRIES + 1):
        current = MigrationContext.configure(connection).get_current_heads()
        connection.rollback()
        if is_newer(current):
            say(f"the schema is {current[0]}, that of a later release: left as it is")
            return
        try:
            context.configure(connection=connection, transaction_per_migration=True)
            with context.begin_transaction():
                context.run_migrations()
            return
        except DBAPIError as error:
            connection.rollback()
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            say(f"a table is in use (try {attempt} of {TRIES})")
            time.sleep(PAUSE_SECONDS)
    raise CommandError(
        f"a table was in use at each of {TRIES} tries of {LOCK_SECONDS} s: see pg_stat_activity for long transactions, "
        "and run it again; what was done is kept, the rest was not begun"
    )


def main():
    """Connects, waits for its turn, migrates; raises CommandError, which alembic prints as one line."""
    if context.is_offline_mode():
        raise CommandError("--sql is not supported: the lock needs a connection")
    try:
        conninfo = database.address(os.environ)
    except ValueError as error:
        raise CommandError(str(error)) from error
    engine = create_engine(
        "postgresql+psycopg://", poolclass=NullPool, hide_parameters=True,
        creator=lambda: psycopg.connect(conninfo, connect_timeout=5, application_name="globoapp migration"),
    )  # fmt: skip
    try:
        with engine.connect() as connection:
            wait_for_turn(connection)
            connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
            connection.commit()
            migrate(connection)
    except DBAPIError as error:
        raise CommandError(f"the schema was not brought up to date: {' '.join(str(error.orig).split())}") from error


main()
