"""The PostgreSQL database of the comments: its address, its connections, and how long anything may wait for it."""

import contextlib
import os
import re
import threading
import time

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

CONNECT_SECONDS = 2  # the least that libpq knows
ANSWER_SECONDS = 4  # for all that one request asks of the database
POOL_SECONDS = 2  # how long a request waits for a connection that another one has
# The server gives up before we do, so that an overload is told from a server that hangs. A transaction of ours whose
# process is gone must not hold its locks. What the address says in its own `options` comes later and counts.
SERVER_OPTIONS = (
    "-c statement_timeout=3s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s -c synchronous_commit=on"
)
FORM = "it must be like postgresql://user@host/name (its value is not shown: it may hold a password)"
SCHEME = re.compile(r"(?:postgres|postgresql|postgresql\+psycopg)(?=://)")


class Unavailable(Exception):
    """The database cannot do its work now.

    reason (str) is fit for a client; stored is False where nothing was stored, None where that is not known.
    """

    def __init__(self, reason, stored=False):
        super().__init__(reason)
        self.reason = reason
        self.stored = stored


def address(environment):
    """Returns the DATABASE_URL of environment (a mapping) as libpq takes it.

    Raises ValueError where it is missing or is no URL of a PostgreSQL database; the text never holds the value.
    """
    named = environment.get("DATABASE_URL", "")
    if not named.strip():
        raise ValueError("DATABASE_URL is not set: it names the PostgreSQL database, postgresql://user@host/name")
    url, known = SCHEME.subn("postgresql", named.strip(), count=1)
    if not known or not url.startswith("postgresql://"):
        raise ValueError(f"DATABASE_URL does not begin with postgresql://: {FORM}")
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error as error:
        # libpq's own words quote the part that it cannot read: a password, perhaps.
        del error
        raise ValueError(f"DATABASE_URL cannot be read as a URL: {FORM}") from None
    ports = str(parts.get("port") or "5432").split(",")
    if not all(re.fullmatch(r"\d{1,5}", port) and 0 < int(port) < 65536 for port in ports if port):
        raise ValueError(f"DATABASE_URL has a port that is not a number from 1 to 65535: {FORM}")
    if not (parts.get("dbname") or parts.get("service")):
        raise ValueError(f"DATABASE_URL names no database: {FORM}")
    return url


class Limit(threading.local):
    """until: when (time.monotonic()) the database must have answered all that this thread asks of it."""

    until = None


limit = Limit()


class Connection(psycopg.Connection):
    """A connection that waits for the server until the thread's limit: a server that hangs sends no error."""

    def wait(self, gen, interval=0.1, timeout=None):
        """Waits for what gen (psycopg's generator) asks; raises psycopg.OperationalError, and closes, at the limit."""
        if limit.until is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, max(0.0, limit.until - time.monotonic()))
        finally:
            if time.monotonic() >= limit.until:
                # What comes later would be the answer to another question.
                self.close()


class Database:
    """The database at conninfo (str), with at most size connections from this process.

    It connects when it is first asked. A child of a fork has connections of its own.
    """

    def __init__(self, conninfo, size):
        self.conninfo = conninfo
        self.engine = create_engine(
            "postgresql+psycopg://", pool_size=size, max_overflow=0, pool_timeout=POOL_SECONDS, pool_pre_ping=True,
            isolation_level="READ COMMITTED", hide_parameters=True,
        )  # fmt: skip
        event.listen(self.engine, "do_connect", self.connect)
        os.register_at_fork(after_in_child=self.forget)
        self.hangs = False
        self.trying = threading.Lock()

    def forget(self):
        """Leaves the parent's connections to the parent; a lock that its threads held is not ours."""
        self.engine.dispose(close=False)
        self.trying = threading.Lock()

    def connect(self, dialect, record, arguments, options):
        """Opens a connection for SQLAlchemy (its event do_connect); raises psycopg.Error."""
        if limit.until is not None and time.monotonic() >= limit.until:
            raise psycopg.OperationalError("no time is left to connect")
        own = conninfo_to_dict(self.conninfo).get("options") or ""
        return Connection.connect(
            self.conninfo, **options, connect_timeout=CONNECT_SECONDS, application_name="globoapp",
            options=f"{SERVER_OPTIONS} {own}".strip(),
        )  # fmt: skip

    @contextlib.contextmanager
    def transaction(self):
        """A transaction on a connection (sqlalchemy.Connection), committed at the end of the block.

        Raises Unavailable within a few seconds where the database cannot be reached, does not answer or refuses.
        """
        with self.turn():
            limit.until = time.monotonic() + ANSWER_SECONDS
            committing = False
            try:
                with self.engine.connect() as connection:
                    yield connection
                    committing = True
                    connection.commit()
            except SQLAlchemyError as error:
                self.hangs = self.is_hang(error)
                # A commit whose answer got lost may have come about.
                lost = committing and getattr(error, "connection_invalidated", False)
                raise Unavailable(reason(error), None if lost else False) from error
            else:
                self.hangs = False
            finally:
                limit.until = None

    @contextlib.contextmanager
    def turn(self):
        """After a hang, lets one request at a time try: the other threads are for what needs no database."""
        if not self.hangs:
            yield
            return
        if not self.trying.acquire(blocking=False):
            raise Unavailable("the database does not answer")
        try:
            yield
        finally:
            self.trying.release()

    def is_hang(self, error):
        """Tells whether error (SQLAlchemyError) came from a server that says nothing."""
        timeout = isinstance(getattr(error, "orig", None), psycopg.errors.ConnectionTimeout)
        return timeout or time.monotonic() >= limit.until


def reason(error):
    """Returns what a client is told of error (SQLAlchemyError): a phrase without addresses, SQL and values."""
    if isinstance(error, PoolTimeout):
        return "all connections to the database are in use"
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    if state.startswith("42") and state != "42501":  # undefined table, undefined column
        return "the database's schema is not the one that this version needs"
    return "the database cannot be reached or cannot do its work"


def for_the_log(error):
    """Returns error (Exception) and what it came from as one line (str) without SQL and values."""
    cause = getattr(error.__cause__, "orig", None) or error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0] if lines else ''}"
