"""The comments API that every version answers, word for word."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

COMMENT = {"email": "a@example.com", "comment": "hi"}
LIMITED = ("3.0", "3.1")  # test_api_3_0.py has the limits


def listed(client, content_id):
    """Returns the comments (list) of content_id without when they were created: test_api_3_1.py is about that."""
    answer = client.get(f"/api/comment/list/{content_id}?limit=1000")
    assert answer.status == 200
    comments = answer.json
    if client.version == "3.1":
        assert all(entry.pop("created_at") for entry in comments)
    return comments


def test_a_new_comment_is_confirmed_and_listed(client, content_id):
    answer = client.post({**COMMENT, "content_id": content_id})
    assert answer.status == 200
    message = f"comment created and associated with content_id {content_id}"
    assert answer.json == {"message": message, "status": "SUCCESS"}
    assert listed(client, content_id) == [COMMENT]


def test_an_integer_content_id_is_listed_by_its_digits(client):
    number = 4711 + hash(client.send) % 10**6
    answer = client.post({**COMMENT, "content_id": number})
    assert answer.json["message"].endswith(f"content_id {number}")
    assert listed(client, number) == [COMMENT]


def test_a_content_without_comments_is_not_found(client, content_id):
    answer = client.get(f"/api/comment/list/{content_id}")
    assert answer.status == 404
    assert answer.json == {"message": f"content_id {content_id} not found", "status": "NOT-FOUND"}


def test_comments_come_oldest_first_and_stay_with_their_content(client, content_id):
    for word in ("first", "second", "third"):
        client.post({"email": "b@example.com", "comment": word, "content_id": content_id})
    client.post({**COMMENT, "content_id": content_id + "-other"})
    assert [entry["comment"] for entry in listed(client, content_id)] == ["first", "second", "third"]


@pytest.mark.parametrize("text", ["áéí ☃ 𝄞", "' OR 1=1; --", "line\nline\0", "x" * 100_000, '{"a": "b"}', "<b>"])
def test_any_text_comes_back_as_it_was(client, content_id, text):
    stored = client.post({"email": text, "comment": text, "content_id": content_id}).status
    if client.version in LIMITED and (len(text) > 320 or "\0" in text):
        assert stored == 400
        return
    assert stored == 200
    assert listed(client, content_id) == [{"email": text, "comment": text}]


def test_unknown_fields_are_ignored(client, content_id):
    assert client.post({**COMMENT, "content_id": content_id, "extra": [1]}).status == 200
    assert listed(client, content_id) == [COMMENT]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/api/comment/new", 405), ("POST", "/api/comment/list/1", 405), ("GET", "/", 404), ("GET", "/console", 404),
])  # fmt: skip
def test_nothing_else_answers(client, method, path, status):
    assert client.send(method, path, b"", {}).status == status


def test_comments_written_at_once_are_all_kept(gunicorn_clients, content_id, api_version):
    client = gunicorn_clients(api_version)
    with ThreadPoolExecutor(16) as pool:
        bodies = [{**COMMENT, "comment": str(number), "content_id": content_id} for number in range(200)]
        answers = list(pool.map(client.post, bodies))
    assert {answer.status for answer in answers} == {200}
    assert sorted(int(entry["comment"]) for entry in listed(client, content_id)) == list(range(200))


def test_the_manifest_tells_health_apart_from_any_other_answer(client, releases):
    health = releases(client.version).manifest["health"]
    answer = client.get(health["path"])
    assert answer.status == health["status"]
    assert health["json"].items() <= json.loads(answer.body).items()
    assert client.get("/no-such-page").body != answer.body
