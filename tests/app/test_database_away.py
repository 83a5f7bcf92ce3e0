"""What 3.0 and later do while the database is away, hangs or refuses: a 503 soon, and all is well once it is back."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from appserver import wait_for
from comment_load import CommentLoad, lost
from postgres import USER, Postgres

pytestmark = pytest.mark.versions("3.0", "3.1")
GOOD = {"email": "a@example.com", "comment": "hi", "content_id": "kept"}
SOON = 20  # seconds in which an answer must come on a busy machine; the code's own limit is 6


@pytest.fixture(scope="module")
def shared():
    """Returns a Postgres that the tests of this module may stop."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def postgres(shared):
    """Returns that server; it runs at the beginning and at the end of each test."""
    if shared.process is None:
        shared.start()
    yield shared
    shared.resume() if shared.process else shared.start()


@pytest.fixture
def database(postgres, migrated, api_version):
    """Returns the name of a new database with the schema of the version."""
    return migrated(postgres, api_version)


@pytest.fixture
def environment(postgres, database):
    """Returns the environment (dict) of an app on that database, whose contents may grow fast."""
    return {"DATABASE_URL": postgres.url(database), "COMMENTS_PER_MINUTE": "1000000"}


@pytest.fixture
def server(serve, api_version, environment):
    """Returns a Server on that database."""
    return serve(api_version, environment=environment)


def post(server, **changes):
    """Posts GOOD with changes to server; returns the answer."""
    return requests.post(server.url + "/api/comment/new", json={**GOOD, **changes}, timeout=SOON)


def get(server, path="/api/comment/list/kept"):
    """Returns the answer to a GET of path."""
    return requests.get(server.url + path, timeout=SOON)


def assert_away(server, words=""):
    """Asserts that each route that needs the database is a JSON 503 with a reason, and that the process is alive."""
    for answer in (get(server), get(server, "/ready/"), post(server)):
        assert (answer.status_code, answer.json()["status"]) == (503, "UNAVAILABLE"), answer.text
        assert words in answer.json()["message"]
    assert server.is_healthy()


def assert_works(server):
    """Asserts that a comment can be written and read, at the latest when the workers have noticed."""
    wait_for(lambda: post(server).status_code == 200, "comments are taken again")
    assert get(server).status_code == 200
    assert get(server, "/ready/").status_code == 200


def change(postgres, database, setting):
    """Changes a setting (str) of database and ends its connections, which still have the old one."""
    others = f"datname = '{database}' AND pid <> pg_backend_pid()"
    postgres.run(f"ALTER DATABASE {database} {setting}")
    postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


def test_it_starts_without_the_database_and_works_once_it_is_there(serve, api_version, postgres, environment):
    postgres.stop()
    server = serve(api_version, environment=environment)
    workers = server.worker_pids()
    assert_away(server, "cannot be reached")
    assert "nothing was stored" in post(server).json()["message"]
    postgres.start()
    assert_works(server)
    assert server.worker_pids() == workers
    assert "Traceback" not in server.log.read_text()


def test_a_database_that_goes_and_comes_is_a_503_in_between(server, postgres):
    assert_works(server)
    postgres.stop()
    assert_away(server)
    postgres.start()
    assert_works(server)
    assert "Traceback" not in server.log.read_text()


def test_an_hour_without_the_database_does_not_fill_the_log(server, postgres):
    postgres.stop()
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: get(server), range(200))} == {503}
    lines = server.log.read_text().count("/api/comment/list/kept")
    assert 1 <= lines <= 2 * (2 + (time.monotonic() - began) / 5)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stop", "crash"])
def test_no_acknowledged_comment_is_lost_through_restarts_of_the_database(server, postgres, how):
    load = CommentLoad(server.url).start()
    try:
        for _ in range(3):
            seen = len(load.acknowledged)
            wait_for(lambda seen=seen: len(load.acknowledged) >= seen + 30, "more comments acknowledged", 60)
            postgres.stop(how)
            wait_for(lambda: load.failures, "a comment refused")
            postgres.start()
        seen = len(load.acknowledged)
        wait_for(lambda: len(load.acknowledged) >= seen + 30, "more comments acknowledged", 60)
    finally:
        acknowledged = load.stop()
    assert set(load.failures) == {"HTTP 503"}
    assert lost(server.url, acknowledged) == []


def test_a_database_that_hangs_is_a_503_and_the_process_is_alive(server, postgres):
    with ThreadPoolExecutor(16) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: post(server), range(64))} == {200}
        postgres.pause()
        ended = threading.Event()

        def ask(_):
            while not ended.is_set():
                answer = post(server)
                assert (answer.status_code, answer.json()["status"]) == (503, "UNAVAILABLE")
                assert answer.elapsed.total_seconds() < SOON

        asking = [pool.submit(ask, number) for number in range(12)]
        try:
            # Once each worker has noticed, most of its threads are free for what needs no database.
            wait_for(lambda: get(server).elapsed.total_seconds() < 1, "an answer at once")
            for _ in range(20):
                assert server.is_healthy()
            assert get(server, "/ready/").status_code == 503
        finally:
            ended.set()
        for future in asking:
            future.result()
    postgres.resume()
    assert_works(server)
    assert "Traceback" not in server.log.read_text()


def test_a_database_that_hangs_before_the_first_connection_is_a_503(server, postgres):
    postgres.pause()
    assert_away(server)
    postgres.resume()
    assert_works(server)


def test_a_commit_without_an_answer_is_not_said_to_be_refused(server, postgres, database):
    """The server hangs in the commit: nobody knows whether the comment is stored."""
    postgres.run(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON comments DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION wait(); ALTER ROLE globoapp SET statement_timeout = 0;", database,
    )  # fmt: skip
    asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(post, server)
        wait_for(lambda: postgres.rows(asleep, database), "the commit has begun")
        postgres.run(f"SELECT pg_terminate_backend(pid) FROM ({asleep}) AS sleeping", database)
        answer = writing.result()
    assert answer.status_code == 503
    assert answer.json()["message"].endswith("it is not known if the comment was stored")


def test_without_a_free_connection_it_is_a_503(serve, api_version, migrated, tmp_path):
    small = Postgres(max_connections=6, superuser_reserved_connections=2).start()
    try:
        name = migrated(small, api_version)
        server = serve(api_version, environment={"DATABASE_URL": small.url(name)})
        with contextlib.ExitStack() as stack:
            for _ in range(4):  # and the last two are for the superuser
                stack.enter_context(small.transaction("SELECT 1", name, "globoapp"))
            assert_away(server)
            assert "remaining connection slots" in server.log.read_text()
        assert_works(server)
    finally:
        small.close()


@pytest.fixture
def small_disk():
    """Returns a directory (Path) that is a file system of 24 MiB, open to PostgreSQL."""
    directory = Path(tempfile.mkdtemp(prefix="pg-disk-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(directory)], check=True)
    (directory / "space").mkdir()
    shutil.chown(directory / "space", USER)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)
    directory.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for a file system that can be filled")
def test_a_full_disk_is_a_503_and_no_loss(small_disk, serve, api_version, migrated):
    postgres = Postgres().start()
    try:
        name = migrated(postgres, api_version)
        postgres.run(f"CREATE TABLESPACE small LOCATION '{small_disk}/space'")
        postgres.run(f"ALTER DATABASE {name} SET TABLESPACE small")
        server = serve(api_version, environment={"DATABASE_URL": postgres.url(name)})
        assert post(server, comment="before").status_code == 200
        with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            while filler.write(b"x" * 4096):
                pass
        # Long and not to be compressed, so that it needs a new page.
        long = [hashlib.sha512(bytes([number])).hexdigest() * 70 for number in range(20)]
        answers = [post(server, comment="".join(random.sample(text, len(text)))) for text in long]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused
        assert {(answer.status_code, answer.json()["status"]) for answer in refused} == {(503, "UNAVAILABLE")}
        assert "nothing was stored" in refused[0].json()["message"]
        assert "DiskFull" in server.log.read_text()
        assert len(get(server).json()) == 1 + len(answers) - len(refused)
        (small_disk / "filler").unlink()
        assert_works(server)
    finally:
        postgres.close()


def test_a_locked_table_is_a_503_and_what_waits_ends(server, postgres, database):
    assert_works(server)
    with postgres.transaction("LOCK TABLE comments", database):
        answers = [get(server), post(server)]
        assert {answer.status_code for answer in answers} == {503}
        assert get(server, "/ready/").status_code == 200  # it needs another table
    assert_works(server)


def test_a_database_that_only_reads_refuses_to_write(server, postgres, database):
    assert_works(server)
    # As after a failover to a server that is still a standby.
    change(postgres, database, "SET default_transaction_read_only = on")
    assert post(server).status_code == 503
    assert get(server).status_code == 200
    change(postgres, database, "RESET default_transaction_read_only")
    assert_works(server)
