"""The release command of 3.0 and 3.1, alembic upgrade head: alone, twice at once, killed, and beside live traffic."""

import contextlib
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from appserver import ROOT, wait_for

pytestmark = pytest.mark.versions("3.0", "3.1")
HEADS = {"3.0": "0001", "3.1": "0002"}
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
ALL_TABLES = ["alembic_version", "comments", "content_rates"]
# A migration that takes long at the command `tag`.
SLOW = """
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); END';
CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('{tag}') EXECUTE FUNCTION slow();
"""
ASLEEP = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE '%migration'"


@pytest.fixture
def database(postgres):
    """Returns the name of a new, empty database."""
    return postgres.new_database()


@pytest.fixture
def begin(releases, postgres, database):
    """Returns a function that starts a version's release command (or another); returns the process."""
    processes = []

    def run(version, command=None, output=subprocess.PIPE, **environment):
        variables = {"DATABASE_URL": postgres.url(database), **environment}
        command, options = releases(version).command(variables, command)
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, **options)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def migrate(begin):
    """Returns a function that runs a version's release command; returns what it said, and asserts its exit code."""

    def run(version, succeeds=True, **environment):
        process = begin(version, **environment)
        said, _ = process.communicate(timeout=120)
        assert (process.returncode == 0) is succeeds, said
        return said

    return run


def revision(postgres, database):
    """Returns the revision (list of str) of the schema of database."""
    return postgres.rows("SELECT version_num FROM alembic_version", database)


def test_it_makes_the_schema_and_then_finds_nothing_to_do(migrate, postgres, database, api_version, releases):
    before = sorted(releases(api_version).directory.rglob("*"))
    migrate(api_version)
    assert revision(postgres, database) == [HEADS[api_version]]
    assert postgres.rows(TABLES, database) == ALL_TABLES
    assert migrate(api_version) == ""
    # A file that it left in the release's directory would be drift.
    assert sorted(releases(api_version).directory.rglob("*")) == before


@pytest.mark.parametrize("name", ["0001_comments.py", "0002_created_at.py"])
def test_a_release_has_the_migrations_of_the_one_before_as_they_were(name):
    older, newer = (ROOT / "app" / version / "migrations" / "versions" / name for version in ("3.0", "3.1"))
    assert newer.exists()
    assert not older.exists() or older.read_bytes() == newer.read_bytes()


def test_the_schema_of_an_update_is_that_of_a_new_database(migrate, postgres, database, migrated):
    columns = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity FROM"
        " information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2; SELECT indexdef FROM pg_indexes"
        " WHERE schemaname = 'public' ORDER BY 1"
    )
    migrate("3.0")
    migrate("3.1")
    assert postgres.rows(columns, database) == postgres.rows(columns, migrated(postgres, "3.1"))


def test_an_older_release_leaves_a_newer_schema_as_it_is(migrate, postgres, database):
    migrate("3.1")
    assert migrate("3.0") == "the schema is 0002, that of a later release: left as it is\n"
    assert revision(postgres, database) == ["0002"]


def test_two_at_once_take_turns(begin, postgres, database, api_version):
    postgres.run(SLOW.format(tag="CREATE INDEX", seconds=3), database)
    runs = [begin(api_version) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0, 0], said
    assert sum("waiting for its end" in text for text in said) == 2
    assert revision(postgres, database) == [HEADS[api_version]]
    assert postgres.rows(TABLES, database) == ALL_TABLES


@pytest.mark.parametrize(("versions", "tag"), [
    (["3.1"], "CREATE TABLE"), (["3.1"], "CREATE INDEX"), (["3.1"], "ALTER TABLE"), (["3.0", "3.1"], "ALTER TABLE"),
], ids=lambda value: "-".join(value) if isinstance(value, list) else value)  # fmt: skip
def test_one_that_is_killed_half_way_is_completed_by_the_next(begin, migrate, postgres, database, versions, tag):
    *before, version = versions
    for older in before:
        migrate(older)
    postgres.run(SLOW.format(tag=tag, seconds=4), database)
    killed = begin(version)
    wait_for(lambda: postgres.rows(ASLEEP, database), f"it is at {tag}", 60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    # Its transaction ends in the server, which notices that nobody is there; the next run waits for that.
    done = begin(version)
    postgres.run("ALTER EVENT TRIGGER slow DISABLE", database)
    said = done.communicate(timeout=120)[0]
    assert done.returncode == 0, said
    assert revision(postgres, database) == ["0002"]
    assert postgres.rows(TABLES, database) == ALL_TABLES


@pytest.mark.parametrize(("tag", "kept"), [("CREATE INDEX", []), ("ALTER TABLE", ["0001"])])
def test_one_that_the_database_breaks_off_is_completed_by_the_next(begin, migrate, postgres, database, tag, kept):
    postgres.run(SLOW.format(tag=tag, seconds=30), database)
    broken = begin("3.1")
    wait_for(lambda: postgres.rows(ASLEEP, database), "it is in the middle", 60)
    postgres.run(f"SELECT pg_terminate_backend(pid) FROM ({ASLEEP}) AS sleeping", database)
    said = broken.communicate(timeout=60)[0]
    assert broken.returncode not in (0, None)
    assert re.match(r"FAILED: the schema was not brought up to date: .*terminating connection", said)
    # Each migration is whole or not there.
    assert postgres.rows(TABLES, database) == (ALL_TABLES if kept else [])
    assert not kept or revision(postgres, database) == kept
    postgres.run("ALTER EVENT TRIGGER slow DISABLE", database)
    migrate("3.1")
    assert revision(postgres, database) == ["0002"]


def test_a_table_in_use_holds_up_the_migration_and_not_the_traffic(begin, migrate, postgres, database, serve, tmp_path):
    migrate("3.0")
    environment = {"DATABASE_URL": postgres.url(database), "COMMENTS_PER_MINUTE": "1000000"}
    server = serve("3.0", environment=environment)
    url, body = server.url + "/api/comment/new", {"email": "a", "comment": "b", "content_id": 1}
    slowest, answers, ended = [0.0], set(), threading.Event()

    def write():
        while not ended.is_set():
            began = time.monotonic()
            answers.add(requests.post(url, json=body, timeout=30).status_code)
            slowest[0] = max(slowest[0], time.monotonic() - began)

    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        stack.callback(ended.set)
        # A long report reads the table.
        with postgres.transaction("SELECT count(*) FROM comments", database):
            writing = pool.submit(write)
            with open(tmp_path / "said", "w") as output:
                migration = begin("3.1", output=output)
            wait_for(lambda: "(try 3 of 20)" in (tmp_path / "said").read_text(), "it tries again", 60)
            assert revision(postgres, database) == ["0001"]
        assert migration.wait(timeout=60) == 0
        ended.set()
        writing.result()
    assert revision(postgres, database) == ["0002"]
    assert answers == {200}
    assert slowest[0] > 0.5  # it did wait for the migration, which shows that there was something to wait for


def test_a_schema_that_is_nobodys_is_refused(migrate, postgres, database):
    migrate("3.0")
    postgres.run("UPDATE alembic_version SET version_num = 'ab12'", database)
    assert "FAILED: Can't locate revision identified by 'ab12'" in migrate("3.0", succeeds=False)


@pytest.mark.parametrize("case", ["no address", "no server", "no rights", "two lines"])
def test_what_stops_it_is_one_line(migrate, postgres, database, case):
    if case == "no rights":
        postgres.run("ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC", database)
    url = {
        "no address": "",
        "no server": "postgresql://h@/d?host=/nowhere",
        "two lines": "postgresql://u:s3cret%zz@h/d",
    }
    said = migrate("3.0", succeeds=False, **({"DATABASE_URL": url[case]} if case in url else {}))
    words = {
        "no address": "DATABASE_URL is not set", "no server": "/nowhere", "no rights": "permission denied",
        "two lines": "DATABASE_URL cannot be read as a URL",
    }  # fmt: skip
    assert said.startswith("FAILED: ") and words[case] in said
    assert len(said.splitlines()) == 1 and "s3cret" not in said


@pytest.mark.parametrize("command", [["alembic", "downgrade", "-1"], ["alembic", "upgrade", "head", "--sql"]])
def test_there_is_no_way_down_and_no_script(begin, migrate, postgres, database, api_version, command):
    migrate(api_version)
    process = begin(api_version, command)
    said = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "there is no way down" in said or "--sql is not supported" in said
    assert revision(postgres, database) == [HEADS[api_version]]
