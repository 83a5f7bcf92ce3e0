"""What only 1.0 does: observations for its developers, kept as they are."""

import pytest

pytestmark = pytest.mark.versions("1.0")


@pytest.mark.parametrize("missing", ["email", "comment", "content_id"])
def test_a_missing_field_is_a_500(client, content_id, missing):
    body = {"email": "a@example.com", "comment": "hi", "content_id": content_id}
    del body[missing]
    assert client.post(body).status == 500


def test_another_content_type_is_a_500(client):
    assert client.post(b"email=a", content_type="application/x-www-form-urlencoded").status == 500


def test_there_is_no_status_page(client):
    assert client.get("/status/").status == 404


def test_debug_mode_is_on_as_in_the_original(client, content_id):
    assert b'{\n  "message"' in client.get(f"/api/comment/list/{content_id}").body
