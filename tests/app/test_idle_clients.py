"""Clients that say nothing, or stop in the middle of a request: they hold the service up for a bounded time."""

import contextlib
import socket
from urllib.parse import urlsplit

import pytest
import requests
from appserver import Server, wait_for


@pytest.fixture(scope="module")
def server(releases, tmp_path_factory):
    """1.0 as a deploy starts it: eight threads."""
    server = Server(releases("1.0"), tmp_path_factory.mktemp("idle")).start()
    yield server
    server.close()


@pytest.mark.parametrize("said", [b"", b"POST /api/comment/new HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"])
def test_silent_clients_go_and_nothing_is_forgotten(server, said):
    comment = {"email": "ann@example.com", "comment": "kept", "content_id": f"idle-{len(said)}"}
    assert requests.post(f"{server.url}/api/comment/new", json=comment, timeout=5).status_code == 200
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            silent = stack.enter_context(
                socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port))
            )
            silent.sendall(said)

        def listed():
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(f"{server.url}/api/comment/list/{comment['content_id']}", timeout=5)
                return answer.status_code == 200 and answer.json()[0]["comment"] == "kept"
            return False

        # Two turns of eight threads and of ten seconds at most, while all twelve are still there.
        wait_for(listed, "an answer beside the silent clients", 60)


def test_the_worker_notes_that_it_gets_on(server):
    (progress,) = server.state.glob("progress-*")
    before = int(progress.read_text().split()[0])
    requests.get(f"{server.url}/api/comment/list/none", timeout=5)
    assert int(progress.read_text().split()[0]) > before
