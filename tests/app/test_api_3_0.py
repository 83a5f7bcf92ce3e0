"""What 3.0 added and 3.1 keeps: comments in PostgreSQL, limits, pages, readiness."""

import json
import re
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from appserver import wait_for

pytestmark = pytest.mark.versions("3.0", "3.1")
GOOD = {"email": "a@example.com", "comment": "hi", "content_id": "kept"}
FORK = """
import os, api
def backend():
    with api.comments.database.transaction() as connection:
        return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
before = backend()
read, write = os.pipe()
if not (child := os.fork()):
    os.write(write, str(backend()).encode())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(before, backend(), os.read(read, 20).decode())
"""
SHOW = """
import api
with api.comments.database.transaction() as connection:
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit",
                 "transaction_isolation", "application_name"):
        print(connection.exec_driver_sql(f"SHOW {name}").scalar_one())
"""
MALFORMED = {
    "missing": (None, "DATABASE_URL is not set"),
    "empty": (" ", "DATABASE_URL is not set"),
    "another database": ("mysql://u:s3cret@h/d", "does not begin with postgresql://"),
    "no scheme": ("u:s3cret@h/d", "does not begin with postgresql://"),
    "no URL": ("postgresql:s3cret@h/d", "does not begin with postgresql://"),
    "a bad escape": ("postgresql://u:s3cret%zz@h/d", "cannot be read as a URL"),
    "a typing error": ("postgresql://u:s3cret@h/d?sslmod=require", "cannot be read as a URL"),
    "a port that is none": ("postgresql://u:s3cret@h:http/d", "has a port that is not a number"),
    "a port out of range": ("postgresql://u:s3cret@h:70000/d", "has a port that is not a number"),
    "no database": ("postgresql://u:s3cret@h", "names no database"),
}

PAGES_THAT_CANNOT_BE = [
    "limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=%C2%B2", "after=-1", "after=x",
    f"after={2**63}", "after=1.5", "after=" + "1" * 500,
]  # fmt: skip


@pytest.fixture
def database(postgres, migrated, api_version):
    """Returns the name of a new database with the schema of the version."""
    return migrated(postgres, api_version)


@pytest.fixture
def variables(postgres, database):
    """Returns the environment (dict) of an app on that database, with the usual limits."""
    return {"DATABASE_URL": postgres.url(database)}


@pytest.fixture
def server(serve, api_version, variables):
    """Returns a Server on that database."""
    return serve(api_version, environment=variables)


@pytest.fixture
def python(releases, api_version, variables):
    """Returns a function that runs code (str) in the release's directory, on its Python; returns the process."""

    def run(code, **environment):
        release = releases(api_version)
        command, options = release.command({**variables, **environment}, [str(release.python), "-c", code])
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)

    return run


def post(server, **changes):
    """Posts GOOD with changes to server; returns the answer."""
    return requests.post(server.url + "/api/comment/new", json={**GOOD, **changes}, timeout=30)


def pages(server, content_id, query=""):
    """Returns the pages (lists of comment texts) of content_id, by the Link header of each."""
    found, following = [], f"/api/comment/list/{content_id}{query}"
    while following:
        answer = requests.get(server.url + following, timeout=30)
        assert answer.status_code == 200, answer.text
        found.append([entry["comment"] for entry in answer.json()])
        following = answer.links.get("next", {}).get("url")
    return found


def refused(answer, status=400):
    """Asserts that an Answer is refused as JSON; returns its message."""
    assert answer.status == status
    assert set(answer.json) == {"message", "status"}
    return answer.json["message"]


# Limits on what is written.


def test_the_longest_of_every_field_is_taken(client, content_id):
    longest = content_id.ljust(200, "é")
    assert client.post({"email": "e" * 320, "comment": "𝄞" * 10_000, "content_id": longest}).status == 200
    assert client.get(f"/api/comment/list/{longest}").json[0]["comment"] == "𝄞" * 10_000


def test_all_that_is_too_long_is_told_at_once(client):
    said = refused(client.post({"email": "e" * 321, "comment": "c" * 10_001, "content_id": "i" * 201}))
    assert said == (
        "email has 321 characters, more than 320; comment has 10001 characters, more than 10000; "
        "content_id has 201 characters, more than 200"
    )
    assert "content_id has 300 characters" in refused(client.post({**GOOD, "content_id": 10**299}))


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", ["a\0b", "\ud800"], ids=["NUL", "half a surrogate pair"])
def test_what_the_database_cannot_hold_is_refused_by_name(client, name, value):
    assert refused(client.post({**GOOD, name: value})).startswith(name)


@pytest.mark.parametrize("size", [262_145, 8_000_000])
def test_a_long_body_is_a_413(client, size):
    body = json.dumps({**GOOD, "comment": ""}).encode()
    assert client.post(body.ljust(262_144)).status == 400  # as the comment is empty
    answer = client.post(body.ljust(size))
    assert "262144 bytes" in refused(answer, 413)
    assert answer.json["status"] == "TOO-LARGE"


def test_a_client_that_sends_all_of_a_long_body_first_gets_its_413(server):
    port = server.listener.getsockname()[1]
    head = (
        "POST /api/comment/new HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n"
    )
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head.encode() + b" " * 8_000_000)
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_long_body_without_a_length_is_a_413(server):
    pieces = (b" " * 65536 for _ in range(20))
    headers = {"Content-Type": "application/json"}
    answer = requests.post(server.url + "/api/comment/new", data=pieces, headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["status"]) == (413, "TOO-LARGE")


# Pages.


def test_pages_hold_every_comment_once_and_in_order(server):
    for number in range(25):
        assert post(server, comment=str(number)).status_code == 200
        assert post(server, comment="other", content_id="another").status_code == 200
    found = pages(server, "kept", "?limit=10")
    assert [len(page) for page in found] == [10, 10, 5]
    assert [int(comment) for page in found for comment in page] == list(range(25))
    assert len(pages(server, "kept", "?limit=25")) == 1


def test_a_page_has_100_comments_unless_it_is_told(server, postgres, database):
    postgres.run(
        "INSERT INTO comments (content_id, email, comment) SELECT 'kept', 'a', n FROM generate_series(1, 1001) n",
        database,
    )
    assert [len(page) for page in pages(server, "kept")] == [100] * 10 + [1]
    assert [len(page) for page in pages(server, "kept", "?limit=1000")] == [1000, 1]


def test_the_link_keeps_a_content_id_that_needs_quoting(server):
    name = 'a b?&#%é>;"'
    for number in range(3):
        post(server, comment=str(number), content_id=name)
    assert pages(server, requests.utils.quote(name), "?limit=1") == [["0"], ["1"], ["2"]]


def test_a_page_after_the_last_comment_is_empty(client, content_id):
    client.post({**GOOD, "content_id": content_id})
    answer = client.get(f"/api/comment/list/{content_id}?after={2**63 - 1}")
    assert (answer.status, answer.json) == (200, [])
    assert "Link" not in answer.headers


@pytest.mark.parametrize("query", PAGES_THAT_CANNOT_BE)
def test_a_page_that_cannot_be_is_refused(client, query):
    assert query.partition("=")[0] in refused(client.get(f"/api/comment/list/1?{query}"))


def test_both_problems_of_a_page_are_told(client):
    said = refused(client.get("/api/comment/list/1?limit=0&after=x"))
    assert "limit must be a whole number from 1 to 1000, not '0'" in said and "after must be" in said


@pytest.mark.parametrize("name", ["%00", "a%00b", "%ff", "x" * 2000, "%ed%a0%80"])
def test_a_content_id_that_nobody_can_have_is_not_found(client, name):
    assert client.get(f"/api/comment/list/{name}").status == 404


def test_writers_of_one_content_take_turns_so_that_no_page_misses_one(server, postgres, database):
    post(server)
    with ThreadPoolExecutor(1) as pool:
        with postgres.transaction("UPDATE content_rates SET written = written WHERE content_id = 'kept'", database):
            late = pool.submit(post, server, comment="late")
            wait_for(
                lambda: "1" in postgres.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'", database),
                "the second writer waits for the first",
            )
            # It has not got its id yet: who reads on from the last page will still see it.
            assert postgres.rows("SELECT last_value FROM comments_id_seq", database) == ["1"]
            assert post(server, content_id="another").status_code == 200
        assert late.result().status_code == 200


# A limit on the growth of one content.


def test_the_limit_of_a_minute_holds_over_processes(serve, api_version, variables, postgres, database, tmp_path):
    limited = {**variables, "COMMENTS_PER_MINUTE": "5"}
    (tmp_path / "second").mkdir()
    servers = [
        serve(api_version, environment=limited),
        serve(api_version, environment=limited, state=tmp_path / "second"),
    ]
    # The row's minute is the next one, which the clock has not reached: no turn of a minute helps a writer.
    postgres.run("INSERT INTO content_rates VALUES ('kept', date_trunc('minute', now()) + interval '1 minute', 0)",
                 database)  # fmt: skip
    minute = postgres.rows("SELECT minute FROM content_rates", database)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: post(servers[number % 2], comment=str(number)), range(40)))
    taken = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    assert len(taken) == 5
    assert postgres.rows("SELECT minute FROM content_rates", database) == minute
    assert sorted(int(comment) for comment in sum(pages(servers[0], "kept"), [])) == taken
    over = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["status"]) for answer in over} == {(429, "TOO-MANY")}
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in over)
    assert "nothing was stored" in over[0].json()["message"]
    assert post(servers[0], content_id="another").status_code == 200


@pytest.mark.parametrize(("minutes", "status"), [(-1, 200), (0, 429), (60, 200)])
def test_the_next_minute_begins_a_new_count(serve, api_version, variables, postgres, database, minutes, status):
    server = serve(api_version, environment={**variables, "COMMENTS_PER_MINUTE": "1"})
    # 60: a server whose clock ran ahead counted before.
    ahead = minutes or 1
    postgres.run(
        f"INSERT INTO content_rates VALUES ('kept', date_trunc('minute', now()) + interval '{ahead} minute', 1)",
        database,
    )
    assert post(server).status_code == status
    assert post(server).status_code == 429 or minutes != 0


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1000001", "99999999999", "²"])
def test_a_limit_that_is_none_is_told_at_the_start(python, value):
    done = python("import api", COMMENTS_PER_MINUTE=value)
    assert done.returncode == 3
    assert done.stderr.endswith(f"COMMENTS_PER_MINUTE is {value!r}: it must be a whole number from 1 to 1000000\n")


# The address and the connections.


@pytest.mark.parametrize("case", MALFORMED)
def test_without_a_good_address_it_does_not_start_and_says_why_in_one_line(python, api_version, case):
    value, words = MALFORMED[case]
    done = python("import os; os.environ.pop('DATABASE_URL'); import api" if value is None else "import api",
                  **({} if value is None else {"DATABASE_URL": value}))  # fmt: skip
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"globoapp {api_version} cannot start: DATABASE_URL") and words in line
    assert "s3cret" not in line


def test_gunicorn_ends_where_the_address_is_malformed(serve, api_version):
    server = serve(api_version, environment={"DATABASE_URL": "postgresql://h:x/d"}, wait=False)
    wait_for(lambda: server.process.poll() is not None, "gunicorn gives up", 60)
    said = server.log.read_text()
    assert "has a port that is not a number" in said
    assert "api.py" not in said  # as in a traceback


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_usual_ways_to_write_an_address_are_taken(python, variables, scheme):
    url = variables["DATABASE_URL"].replace("postgresql", scheme, 1)
    assert python("import api; print(api.comments.revision())", DATABASE_URL=url).stdout.strip().isdigit()


def test_a_child_of_a_fork_has_connections_of_its_own(python):
    done = python(FORK)
    before, after, child = done.stdout.split() or [done.stderr]
    assert before == after != child


def test_the_server_limits_what_a_connection_does(python, variables):
    assert python(SHOW).stdout.split() == ["3s", "2s", "10s", "on", "read", "committed", "globoapp"]
    own = variables["DATABASE_URL"] + "&options=-c%20statement_timeout%3D1s"
    assert python(SHOW, DATABASE_URL=own).stdout.split()[0] == "1s"


def test_a_process_has_as_many_connections_as_threads(server, postgres, database):
    with ThreadPoolExecutor(32) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: post(server), range(200))} == {200}
    (count,) = postgres.rows(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"
                             " AND application_name = 'globoapp'", database)  # fmt: skip
    assert 1 <= int(count) <= 8


# Readiness.


def test_ready_tells_the_schema(client):
    answer = client.get("/ready/")
    assert answer.status == 200
    schema = {"3.0": "0001", "3.1": "0002"}[client.version]
    assert answer.json == {"status": "OK", "version": client.version, "schema": schema}


@pytest.mark.parametrize(("change", "told"), [
    ("DELETE FROM alembic_version", "schema is None, this version needs 000"),
    ("UPDATE alembic_version SET version_num = '0000'", "schema is 0000, this version needs 000"),
    ("UPDATE alembic_version SET version_num = 'ab12'", "schema is ab12, this version needs 000"),
    ("DROP TABLE alembic_version", "the database's schema is not the one that this version needs"),
])  # fmt: skip
def test_an_old_schema_is_not_ready_and_alive(server, postgres, database, change, told):
    postgres.run(change, database)
    answer = requests.get(server.url + "/ready/", timeout=10)
    assert (answer.status_code, answer.json()["status"]) == (503, "UNAVAILABLE")
    assert told in answer.json()["message"]
    assert server.is_healthy()


def test_a_later_schema_is_ready(server, postgres, database):
    postgres.run("UPDATE alembic_version SET version_num = '0010'", database)
    assert requests.get(server.url + "/ready/", timeout=10).status_code == 200


def test_without_its_tables_it_answers_503(server, postgres, database):
    postgres.run("DROP TABLE comments", database)
    listed = requests.get(server.url + "/api/comment/list/kept", timeout=10)
    for answer in (listed, post(server)):
        assert (answer.status_code, answer.json()["status"]) == (503, "UNAVAILABLE")
        assert "schema is not the one" in answer.json()["message"]
    assert "nothing was stored" in post(server).json()["message"]


def test_two_processes_with_eight_threads_keep_every_comment_once(serve, api_version, environments, tmp_path):
    (tmp_path / "second").mkdir()
    servers = [
        serve(api_version, workers=1, threads=8),
        serve(api_version, workers=1, threads=8, state=tmp_path / "second"),
    ]
    stored, lock = [], threading.Lock()

    def write(number):
        answer = post(servers[number % 2], comment=str(number), content_id=f"both-{number % 3}-{tmp_path.name}")
        assert answer.status_code == 200, answer.text
        with lock:
            stored.append(number)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(600)))
    found = [int(text) for content in range(3) for page in pages(servers[0], f"both-{content}-{tmp_path.name}")
             for text in page]  # fmt: skip
    assert sorted(found) == sorted(stored) == list(range(600))


def test_what_a_client_is_told_and_what_is_logged_holds_no_comment(server, postgres, database):
    postgres.run("ALTER TABLE comments ADD CONSTRAINT short CHECK (length(comment) < 5)", database)
    answer = post(server, comment="a secret of the author")
    assert answer.status_code == 503
    said = server.log.read_text()
    assert re.search(r"POST /api/comment/new: CheckViolation: .*\"short\"", said)
    assert "secret" not in said + answer.text
