"""Asking the service: what counts as an answer, and what is said of one that is wrong."""

import http.server
import json
import socket
import socketserver
import threading

import pytest


@pytest.fixture
def http_utils(tree):
    return tree.utils.globoapp_http


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers /<status>/<body>; counts the requests."""

    def do_GET(self):
        self.server.seen.append(self.path)
        _, status, body = self.path.split("/", 2)
        status = self.server.statuses.pop(0) if self.server.statuses else int(status)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass

    def address_string(self):
        return "unix"


def _serve(server):
    server.seen, server.statuses = [], []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def server():
    with _serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)) as running:
        yield running
        running.shutdown()


@pytest.fixture
def where(server):
    return ("tcp", *server.server_address)


def test_over_tcp_and_over_a_unix_socket(http_utils, where, tmp_path):
    path = str(tmp_path / "s")
    with _serve(socketserver.ThreadingUnixStreamServer(path, Answers)) as unix:
        for one in (where, ("unix", path)):
            answer = http_utils.ask(one, "/404/hello", 5)
            assert (answer["status"], answer["body"]) == (404, "hello")
            assert 0 < answer["seconds"] < 5
        unix.shutdown()


def test_no_answer_says_why(http_utils, tmp_path):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else's meanwhile
        problem, answer = http_utils.once(("tcp", *held.getsockname()), {"path": "/"}, 1)
    assert answer is None
    assert problem.startswith("no answer: ConnectionRefusedError")
    assert http_utils.once(("unix", str(tmp_path / "none")), {"path": "/"}, 1)[0].startswith("no answer: FileNotFound")


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"])
def test_what_is_no_http_is_no_answer(http_utils, words):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            connection, _ = server.accept()
            connection.recv(1024)
            connection.sendall(words)
            connection.close()

        threading.Thread(target=speak, daemon=True).start()
        problem, answer = http_utils.once(("tcp", *server.getsockname()), {"path": "/"}, 5)
    assert answer is None
    assert problem.startswith("no answer: ")


def test_a_server_that_hangs_is_left_after_the_timeout(http_utils):
    with socket.create_server(("127.0.0.1", 0)) as server:
        problem, answer = http_utils.once(("tcp", *server.getsockname()), {"path": "/"}, 0.2)
    assert (problem, answer) == ("no answer: TimeoutError: timed out", None)


EXPECTED = {"path": "/", "status": 404, "json": {"status": "NOT-FOUND"}}


@pytest.mark.parametrize(
    ("status", "body", "expected", "problem"),
    [
        (404, '{"status": "NOT-FOUND", "more": 1}', EXPECTED, None),
        (200, "anything", {"path": "/"}, None),
        (404, "<h1>Not Found</h1>", EXPECTED, "the body is not JSON: '<h1>Not Found</h1>'"),
        (404, "[1]", EXPECTED, "the body is no JSON object: '[1]'"),
        (404, '{"status": "OK"}', EXPECTED, "status is 'OK' in place of 'NOT-FOUND'"),
        (404, "{}", EXPECTED, "status is None in place of 'NOT-FOUND'"),
        (200, '{"status": "NOT-FOUND"}', EXPECTED, 'status 200 in place of 404, body: \'{"status": "NOT-FOUND"}\''),
        (500, "a\n" * 400, {"path": "/"}, "status 500 in place of 200, body: " + repr("a " * 100)),
    ],
)
def test_an_answer_is_judged_by_status_and_body(http_utils, status, body, expected, problem):
    assert http_utils.judge({"status": status, "body": body}, expected) == problem


def test_the_probe_counts_what_a_client_would_call_an_outage(http_utils, server, where):
    server.statuses = [200, 404, 503, 200, 500]
    probe = http_utils.probe(where, "/200/" + json.dumps({}))
    while len(server.seen) < 8:
        assert probe.is_alive()
    seen = probe.finish()
    assert seen["sent"] >= 8
    assert seen["failed"] == 2
    assert seen["first_failure"] == "status 503"
    assert seen["longest_gap_ms"] > 0
    assert not probe.is_alive()


def test_a_probe_of_nothing_fails_each_time(http_utils):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        probe = http_utils.probe(("tcp", *held.getsockname()), "/")
        while probe.sent < 3:
            assert probe.is_alive()
        seen = probe.finish()
    assert seen["failed"] == seen["sent"]
    assert seen["first_failure"].startswith("ConnectionRefusedError")
