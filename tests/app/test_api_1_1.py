"""What 1.1 added and later versions keep: /status/, and a JSON 400 for every malformed request."""

import os

import pytest
import requests

pytestmark = pytest.mark.versions("1.1", "2.0", "3.0", "3.1")

GOOD = {"email": "a@example.com", "comment": "hi", "content_id": 1}
NOT_JSON = [
    b"",
    b"{",
    b"\xff\xfe",
    b"nonsense",
    b'{"email": }',
    b"[" * 100_000,
    b'{"content_id": ' + b"1" * 5000 + b"}",
]
NOT_OBJECTS = [[], [GOOD], "text", 1, 1.5, True, None]
WRONG_VALUES = [None, True, [], {}, "", "  ", 1.5]


def refused(answer):
    """Asserts that answer is a JSON 400 with a reason; returns the reason (str)."""
    assert answer.status == 400, answer.body
    assert set(answer.json) == {"message", "status"}
    assert answer.json["status"] == "BAD-REQUEST"
    assert answer.json["message"]
    return answer.json["message"]


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:20]))
def test_a_body_that_is_no_json_is_refused(client, body):
    assert "not valid JSON" in refused(client.post(body))


@pytest.mark.parametrize("body", NOT_OBJECTS, ids=repr)
def test_a_body_that_is_no_object_is_refused(client, body):
    assert "object" in refused(client.post(body))


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_another_content_type_is_refused_and_named(client, content_type):
    reason = refused(client.post(GOOD, content_type=content_type))
    assert "application/json" in reason
    assert (content_type or "") in reason


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/vnd.api+json"])
def test_json_by_another_name_is_taken(client, content_id, content_type):
    assert client.post({**GOOD, "content_id": content_id}, content_type=content_type).status == 200


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_refused_by_name(client, name):
    body = {key: value for key, value in GOOD.items() if key != name}
    assert name in refused(client.post(body))


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", WRONG_VALUES, ids=repr)
def test_a_field_of_the_wrong_kind_is_refused_by_name(client, name, value):
    assert name in refused(client.post({**GOOD, name: value}))


def test_a_number_is_no_email_and_no_comment(client):
    reason = refused(client.post({"email": 1, "comment": 2, "content_id": 3}))
    assert "email" in reason and "comment" in reason and "content_id" not in reason


def test_every_problem_is_named_at_once(client):
    reason = refused(client.post({}))
    assert all(name in reason for name in GOOD)


def test_a_content_id_that_no_url_reaches_is_refused(client):
    assert "content_id" in refused(client.post({**GOOD, "content_id": "a/b"}))


def test_a_refused_comment_is_not_stored(client, content_id):
    refused(client.post({"email": "", "comment": "hi", "content_id": content_id}))
    assert client.get(f"/api/comment/list/{content_id}").status == 404


def test_status_tells_which_process_runs_which_version(client):
    answer = client.get("/status/")
    assert answer.status == 200
    assert set(answer.json) >= {"status", "version", "uptime", "pid"}
    assert answer.json["status"] == "OK"
    assert answer.json["version"] == client.version
    assert answer.json["uptime"] >= 0
    os.kill(answer.json["pid"], 0)


def test_uptime_grows(client):
    first, second = client.get("/status/").json, client.get("/status/").json
    assert first["pid"] != second["pid"] or second["uptime"] >= first["uptime"]


def test_status_names_a_worker_of_this_gunicorn(serve, api_version):
    server = serve(api_version)
    assert requests.get(server.url + "/status/", timeout=5).json()["pid"] in server.worker_pids()


def test_debug_mode_is_off(client, content_id):
    assert b"\n  " not in client.get(f"/api/comment/list/{content_id}").body
