"""What 2.0 added: comments in SQLite, which every worker sees and which outlive whatever ends a process."""

import contextlib
import fcntl
import importlib.util
import os
import resource
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from appserver import ROOT, Release, Server, wait_for
from comment_load import CommentLoad, lost

pytestmark = pytest.mark.versions("2.0")
GOOD = {"email": "a@example.com", "comment": "hi", "content_id": "kept"}
LIST = "/api/comment/list/kept"


def load_store():
    """Returns the module store of app/2.0."""
    spec = importlib.util.spec_from_file_location("store", ROOT / "app" / "2.0" / "store.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


store = load_store()


def blocked_locks():
    """Returns the lines (str) of the locks that this process waits for."""
    with open("/proc/locks") as locks:
        return "".join(line for line in locks if "->" in line and f" {os.getpid()} " in line)


def post(server, body=GOOD):
    """Posts body (dict) to server; returns the answer."""
    return requests.post(server.url + "/api/comment/new", json=body, timeout=30)


def ask(server, path):
    """Returns the answer to a GET of path; None where nothing listens."""
    try:
        return requests.get(server.url + path, timeout=5)
    except requests.RequestException:
        return None


def statuses(server, path, count=40):
    """Returns the status codes (set) of count GETs of path, so many that each worker answers some."""
    with ThreadPoolExecutor(8) as pool:
        return {
            answer.status_code
            for answer in pool.map(lambda _: requests.get(server.url + path, timeout=5), range(count))
        }


@contextlib.contextmanager
def database(server):
    """Opens the server's database beside it, for what a test wants to do to it."""
    connection = sqlite3.connect(server.state / "comments.sqlite3", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def test_commits_wait_for_the_disk(tmp_path):
    comments = store.Comments(tmp_path / "comments.sqlite3")
    assert comments.database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert comments.database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_the_first_state_directory_is_taken():
    assert str(store.state_directory({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"})) == "/var/lib/a"


@pytest.mark.parametrize("environment", [{}, {"STATE_DIRECTORY": ""}])
def test_without_a_state_directory_it_says_what_the_unit_lacks(environment):
    with pytest.raises(RuntimeError, match="the unit needs StateDirectory="):
        store.state_directory(environment)


def test_one_process_at_a_time_prepares_the_file(tmp_path):
    """Without turns, about one start in 200 of 24 at once was "database is locked": too rare to wait for here."""
    path = tmp_path / "comments.sqlite3"
    with ThreadPoolExecutor(1) as pool:
        with open(tmp_path / "comments.lock", "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            started = pool.submit(store.Comments, path)
            wait_for(lambda: "FLOCK" in blocked_locks(), "the start waits for its turn")
            assert not path.exists()
        started.result(timeout=20).check()


@pytest.mark.parametrize("name", ["email", "comment", "content_id"])
def test_half_a_surrogate_pair_is_refused(client, name):
    answer = client.post({**GOOD, name: "\ud800"})
    assert answer.status == 400
    assert name in answer.json["message"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_comment_is_there_after_a_restart(serve, how):
    server = serve("2.0")
    assert post(server).status_code == 200
    server.stop(how)
    server.start()
    assert requests.get(server.url + LIST, timeout=5).json() == [{"email": "a@example.com", "comment": "hi"}]


def test_every_worker_sees_the_same_comments(serve):
    server = serve("2.0", workers=4)
    assert post(server).status_code == 200
    assert statuses(server, LIST) == {200}


def test_many_workers_may_start_at_once_on_nothing(serve):
    server = serve("2.0", workers=12, threads=1)
    wait_for(lambda: len(list(server.state.glob("ready-*"))) == 12, "12 workers ready")
    assert "Traceback" not in server.log.read_text()
    assert post(server).status_code == 200
    assert statuses(server, LIST) == {200}


def test_a_release_on_the_same_state_sees_and_adds(serve):
    live = serve("2.0")
    post(live)
    candidate = serve("2.0", state=live.state)
    assert requests.get(candidate.url + LIST, timeout=5).status_code == 200
    post(candidate, {**GOOD, "comment": "from the new release"})
    candidate.stop()
    assert [entry["comment"] for entry in requests.get(live.url + LIST, timeout=5).json()] == [
        "hi",
        "from the new release",
    ]


def test_a_candidate_starts_and_reads_while_another_release_is_writing(serve):
    live = serve("2.0")
    post(live)
    with database(live) as writer:
        writer.execute("BEGIN IMMEDIATE")
        candidate = serve("2.0", state=live.state)
        assert statuses(candidate, LIST) == {200}
        assert statuses(candidate, "/status/") == {200}
        writer.execute("ROLLBACK")
    candidate.stop(signal.SIGKILL)
    assert post(live).status_code == 200


def test_reading_writes_nothing(serve):
    server = serve("2.0")
    post(server)
    with database(server) as connection:
        before = connection.execute("PRAGMA data_version").fetchone()
        statuses(server, LIST)
        statuses(server, "/status/")
        assert connection.execute("PRAGMA data_version").fetchone() == before


def test_a_full_disk_is_a_503_and_no_loss(serve):
    server = serve("2.0", workers=1)
    assert post(server).status_code == 200
    (worker,) = server.worker_pids()
    size = (server.state / "comments.sqlite3-wal").stat().st_size
    before = resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    answer = post(server, {**GOOD, "comment": "x" * 100_000})
    assert answer.status_code == 503
    assert answer.json()["status"] == "UNAVAILABLE"
    assert "comments.sqlite3" in server.log.read_text()
    assert requests.get(server.url + LIST, timeout=5).json() == [{"email": "a@example.com", "comment": "hi"}]
    resource.prlimit(worker, resource.RLIMIT_FSIZE, before)
    assert post(server, {**GOOD, "comment": "again"}).status_code == 200
    assert [entry["comment"] for entry in requests.get(server.url + LIST, timeout=5).json()] == ["hi", "again"]


def test_a_damaged_file_is_a_503_and_not_healthy(serve):
    server = serve("2.0")
    post(server)
    server.stop()  # the last connection moves everything from the WAL into the file
    path = server.state / "comments.sqlite3"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"damaged!" * ((len(whole) - 4096) // 8))
    server.start(wait=False)
    wait_for(lambda: ask(server, "/status/") is not None, "an answer")
    answer = ask(server, "/status/")
    assert (answer.status_code, answer.json()["status"]) == (503, "UNAVAILABLE")
    assert "database disk image is malformed" in server.log.read_text()
    assert not server.is_healthy()
    path.write_bytes(whole)


def test_a_file_that_is_no_database_never_becomes_healthy(serve, tmp_path):
    (tmp_path / "comments.sqlite3").write_bytes(b"not a database" * 100)
    server = serve("2.0", wait=False)
    wait_for(lambda: server.process.poll() is not None, "gunicorn gives up")
    assert "file is not a database" in server.log.read_text()
    assert (tmp_path / "comments.sqlite3").read_bytes() == b"not a database" * 100


def test_no_acknowledged_comment_is_lost_through_kills_and_restarts(releases, tmp_path):
    first = Server(releases("2.0"), tmp_path).start()
    second = Server(Release("2.0", tmp_path / "next"), tmp_path, listener=first.listener)
    load = CommentLoad(first.url).start()

    def after_more(count=30):
        seen = len(load.acknowledged)
        wait_for(lambda: len(load.acknowledged) >= seen + count, f"{count} more comments acknowledged")

    try:
        for _ in range(6):  # a worker dies in the middle of its requests
            after_more()
            os.kill(first.worker_pids()[0], signal.SIGKILL)
        for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):  # the whole service
            after_more()
            first.stop(how)
            first.start()
        for live, following in ((first, second), (second, first)):  # a deploy: both serve, then the old one goes
            after_more()
            following.start()
            live.stop()
        after_more()
    finally:
        acknowledged = load.stop()
        first.stop()
        second.stop()
    first.start()
    try:
        assert len(acknowledged) >= 300
        assert lost(first.url, acknowledged) == []
        with database(first) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        first.close()


def test_the_load_notices_a_lost_comment(serve):
    server = serve("2.0")
    load = CommentLoad(server.url).start()
    wait_for(lambda: len(load.acknowledged) > 20, "comments acknowledged")
    acknowledged = load.stop()
    assert lost(server.url, acknowledged) == []
    with database(server) as connection:
        connection.execute("DELETE FROM comments WHERE content_id = ? AND comment = ?", acknowledged[7])
    assert lost(server.url, acknowledged) == [acknowledged[7]]
