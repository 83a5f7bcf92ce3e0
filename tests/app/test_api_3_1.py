"""What 3.1 added: when a comment was created; and 3.0 and 3.1 side by side on one database, there and back."""

import re
import subprocess
import time
from datetime import datetime, timezone

import pytest
import requests
from appserver import Server, wait_for
from comment_load import CommentLoad, lost

pytestmark = pytest.mark.versions("3.1")
GOOD = {"email": "a@example.com", "comment": "hi", "content_id": "kept"}
LIST = "/api/comment/list/kept"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def environment(postgres, migrated):
    """Returns the environment (dict) of apps on a new database with the schema of 3.0."""
    return {"DATABASE_URL": postgres.url(migrated(postgres, "3.0")), "COMMENTS_PER_MINUTE": "1000000"}


@pytest.fixture
def migrate(releases, environment):
    """Returns a function that runs the release command of a version, as a deploy does before its switch."""

    def run(version):
        command, options = releases(version).command(environment)
        subprocess.run(command, check=True, capture_output=True, timeout=120, **options)

    return run


def post(server, **changes):
    """Posts GOOD with changes to server; returns the status code."""
    return requests.post(server.url + "/api/comment/new", json={**GOOD, **changes}, timeout=30).status_code


def get(server, path=LIST):
    """Returns the answer to a GET of path."""
    return requests.get(server.url + path, timeout=30)


def test_the_list_says_when_each_comment_was_created(client, content_id):
    before = datetime.now(timezone.utc)
    for number in range(3):
        assert client.post({**GOOD, "comment": str(number), "content_id": content_id}).status == 200
    listed = client.get(f"/api/comment/list/{content_id}").json
    assert [set(entry) for entry in listed] == [{"comment", "email", "created_at"}] * 3
    assert all(TIME.fullmatch(entry["created_at"]) for entry in listed)
    times = [datetime.fromisoformat(entry["created_at"].replace("Z", "+00:00")) for entry in listed]
    assert times == sorted(times)
    assert abs((times[0] - before).total_seconds()) < 60


def test_the_time_is_in_utc_whatever_the_session_says(serve, environment, migrate):
    migrate("3.1")
    url = environment["DATABASE_URL"] + "&options=-c%20timezone%3DAsia/Kolkata"
    server = serve("3.1", environment={**environment, "DATABASE_URL": url})
    post(server)
    created = datetime.fromisoformat(get(server).json()[0]["created_at"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - created).total_seconds()) < 60


def test_on_the_schema_of_3_0_it_is_alive_and_not_ready_until_the_migration(serve, environment, migrate):
    server = serve("3.1", environment=environment)
    ready = get(server, "/ready/")
    assert (ready.status_code, ready.json()["status"]) == (503, "UNAVAILABLE")
    assert ready.json()["message"] == "the database's schema is 0001, this version needs 0002 or later"
    assert get(server).status_code == 503
    assert server.is_healthy()
    migrate("3.1")
    assert get(server, "/ready/").status_code == 200
    assert post(server) == 200
    assert get(server).status_code == 200


def test_both_serve_side_by_side_on_the_new_schema(serve, environment, migrate, tmp_path):
    older = serve("3.0", environment=environment)
    assert post(older, comment="before") == 200
    migrate("3.1")
    (tmp_path / "newer").mkdir()
    newer = serve("3.1", environment=environment, state=tmp_path / "newer")
    assert get(older, "/ready/").json()["schema"] == get(newer, "/ready/").json()["schema"] == "0002"
    assert [post(older, comment="by 3.0"), post(newer, comment="by 3.1"), post(older, comment="last")] == [200] * 3
    listed = get(newer).json()
    assert [entry["comment"] for entry in listed] == ["before", "by 3.0", "by 3.1", "last"]
    assert listed[0]["created_at"] is None
    assert all(TIME.fullmatch(entry["created_at"]) for entry in listed[1:])
    assert get(older).json() == [{"comment": entry["comment"], "email": entry["email"]} for entry in listed]


def test_a_limit_counts_what_both_have_written(serve, environment, migrate, tmp_path, postgres):
    migrate("3.1")
    (tmp_path / "newer").mkdir()
    limited = {**environment, "COMMENTS_PER_MINUTE": "4"}
    older = serve("3.0", environment=limited)
    newer = serve("3.1", environment=limited, state=tmp_path / "newer")
    name = environment["DATABASE_URL"].partition("@/")[2].partition("?")[0]
    # The minute of the count is ahead, so that none begins in between.
    postgres.run(
        "INSERT INTO content_rates VALUES ('kept', date_trunc('minute', now()) + interval '1 minute', 0)", name
    )
    assert [post(server) for server in (older, newer) * 3] == [200] * 4 + [429] * 2


def test_there_and_back_under_load_loses_no_request_and_no_comment(releases, environment, migrate, tmp_path):
    """3.0, then 3.1, then 3.0 again, as a deploy does it: migrate, start beside the old one, stop the old one."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    older = Server(releases("3.0"), tmp_path / "old", environment=environment).start()
    newer = Server(releases("3.1"), tmp_path / "new", listener=older.listener, environment=environment)
    load = CommentLoad(older.url).start()

    def after_more(count=50):
        seen = len(load.acknowledged)
        wait_for(lambda: len(load.acknowledged) >= seen + count, f"{count} more comments acknowledged", 60)

    versions = set()
    try:
        for live, following in ((older, newer), (newer, older), (older, newer)):
            after_more()
            migrate(following.release.version)
            following.start()
            live.stop()
            after_more()
            versions.add(get(following, "/status/").json()["version"])
    finally:
        acknowledged = load.stop()
        older.stop()
    try:
        assert versions == {"3.0", "3.1"}
        assert load.failures == {}
        assert len(acknowledged) >= 300
        assert lost(newer.url, acknowledged) == []
    finally:
        newer.close()


def test_an_old_release_that_comes_back_finds_the_comments_of_the_new_one(serve, environment, migrate):
    migrate("3.1")
    newer = serve("3.1", environment=environment)
    assert post(newer) == 200
    newer.stop()
    migrate("3.0")
    began = time.monotonic()
    older = serve("3.0", environment=environment)
    assert get(older, "/ready/").status_code == 200
    assert get(older).json() == [{"comment": "hi", "email": "a@example.com"}]
    assert get(older, "/status/").json()["uptime"] <= time.monotonic() - began
