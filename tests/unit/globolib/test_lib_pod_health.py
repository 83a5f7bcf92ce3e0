"""The health check of a pod judges as that of a server does."""

import http.server
import json
import subprocess
import sys
import threading

import pytest
from globolib import health, pod_health
from globolib.manifest import Health


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with what the server has as `answer`: (status, body)."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Host"]))
        status, body = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing is to be seen."""


@pytest.fixture(scope="module")
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as running:
        running.asked = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


WANTED = [
    {"path": "/status/"},
    {"path": "/status/", "status": 404, "json": {"status": "OK", "version": "2.0"}},
    {"path": "/status/", "json": {"status": "OK"}, "headers": {"Host": "shop.example.com"}},
]
ANSWERS = [
    (200, b""),
    (200, b'{"status": "OK", "version": "2.0"}'),
    (404, b'{"status": "OK", "version": "2.0"}'),
    (404, b'{"status": "OK", "version": "1.0"}'),
    (200, b'["OK"]'),
    (200, b'{"status": '),
    (200, b"[" * 60000),
    (500, b"\xff"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_it_judges_as_a_server_does(server, wanted, answer):
    server.answer = answer
    found = pod_health.problem(wanted, server.server_port, 5)
    path, host = server.asked[-1]
    given = Health(wanted["path"], wanted.get("status", 200), wanted.get("json", {}), wanted.get("headers", {}))
    theirs, _ = health.once(health.Tcp("127.0.0.1", server.server_port), given, 5)
    assert (found == "") is (theirs is None)
    assert server.asked[-1][0] == path
    assert host == wanted.get("headers", {}).get("Host", host)


def test_what_must_not_be_there_has_another_name_each_time(server):
    server.answer = (404, b"")
    wanted = {"path": f"/list/{health.ABSENT}", "status": 404}
    before = len(server.asked)
    assert [pod_health.problem(wanted, server.server_port, 5) for _ in range(2)] == ["", ""]
    paths = {path for path, _ in server.asked[before:]}
    assert len(paths) == 2
    assert all(path.startswith(f"/list/{health.ABSENT}-") for path in paths)


@pytest.mark.parametrize("answer", ANSWERS[1:4], ids=str)
def test_as_a_program_it_needs_nothing_of_the_package(server, tmp_path, answer):
    server.answer = answer
    (tmp_path / "manifest.json").write_text(json.dumps({"health": WANTED[1]}))
    command = [sys.executable, "-I", pod_health.__file__, str(server.server_port), "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) is (answer == ANSWERS[2]), done.stderr
    assert (done.stdout == "well\n") is (done.returncode == 0)


def test_no_answer_is_told(tmp_path):
    assert pod_health.problem({"path": "/"}, 1, 1).startswith("no answer: ConnectionRefusedError")
