"""gunicorn.conf.py with what pillar says, read by the real gunicorn of each lock: the one of 2020 and a modern one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from types import SimpleNamespace

import pytest
from appserver import wait_for
from globolib import units
from globolib.cuts import Cuts
from globolib.settings import Settings

APP = """
import time

def create(answer="made"):
    def app(environ, start):
        if environ["PATH_INFO"] == "/slow":
            open("taken", "w").close()
            time.sleep(60)
        start("200 OK", [])
        return [answer.encode()]

    return app

app = create("app")
"""
DEFAULTS = Settings(version="1.0")


class Gunicorn:
    """A gunicorn as its unit starts it, with files as a deploy writes them, on a unix socket."""

    def __init__(self, python, directory, settings, wsgi="api:app", silence=10, **manifest):
        self.run, release, conf = directory / "run", directory / "release", directory / "conf"
        for path in (self.run, release, conf):
            path.mkdir()
        (release / "api.py").write_text(APP)
        (release / "manifest.json").write_text(json.dumps(manifest))
        text = units.gunicorn_text()
        assert "\nSILENCE = 10\n" in text
        (conf / "gunicorn.conf.py").write_text(text.replace("\nSILENCE = 10\n", f"\nSILENCE = {silence}\n"))
        (conf / "gunicorn.json").write_text(units.gunicorn_settings(settings))
        self.log, self.socket = directory / "log", self.run / "s"
        command = [str(python), "-m", "gunicorn.app.wsgiapp", "--config", str(conf / "gunicorn.conf.py")]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, "--bind", f"unix:{self.socket}", wsgi],
                cwd=release, stdout=log, stderr=log,
                env={"RUNTIME_DIRECTORY": str(self.run), "PATH": os.environ["PATH"]},
            )  # fmt: skip

    def ready(self, count):
        """Waits until so many workers have loaded the app; returns their pids."""
        return wait_for(lambda: len(found := self.marks("ready")) == count and found, f"{count} workers; {self.log}")

    def marks(self, kind):
        """Returns the pids of these marks in the runtime directory."""
        return {int(path.name.partition("-")[2]) for path in self.run.glob(f"{kind}-*")}

    def ask(self, path="/asked"):
        """Sends a request for path; returns the client (a socket)."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(self.socket))
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return client

    def get(self):
        """Asks once; returns the whole answer (bytes)."""
        with self.ask() as client:
            return b"".join(iter(lambda: client.recv(4096), b""))

    def cut(self):
        """Stops it; returns how many requests that has cut."""
        cuts = Cuts()
        cuts.during(self.close, SimpleNamespace(runtime=lambda *_: str(self.run)), "PACK1_0")
        return cuts.count

    def close(self):
        """Stops it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)


@pytest.fixture(params=["1.0", "2.0"])
def gunicorn(request, releases, tmp_path):
    """Returns a function that starts the gunicorn of a version's lock with these settings."""
    started = []

    def start(**options):
        started.append(Gunicorn(releases(request.param).python, tmp_path, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_it_has_the_workers_that_pillar_says_and_a_line_for_each_request(gunicorn):
    server = gunicorn(settings=DEFAULTS.at(workers=3, worker_count=3, access_log=True), workers=2)
    server.ready(3)
    assert server.get().endswith(b"app")
    wait_for(lambda: "GET /asked" in server.log.read_text(), "the line of the request")


def test_a_factory_makes_the_app(gunicorn):
    server = gunicorn(settings=DEFAULTS, wsgi="api:create(answer='from the factory')", workers=1)
    server.ready(1)
    assert server.get().endswith(b"from the factory")


def test_a_silent_client_of_a_unix_socket_is_let_go(gunicorn):
    """What is accepted from TCP inherits the limit of its listener; here each client is given it."""
    server = gunicorn(settings=DEFAULTS, workers=1, threads=1, silence=1)
    server.ready(1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(20)
        silent.connect(str(server.socket))
        silent.sendall(b"GET / HTTP/1.1\r\n")
        assert server.get().endswith(b"app"), "the only thread is free again"
        with contextlib.suppress(ConnectionResetError):
            assert b"200 OK" not in silent.recv(4096)


def test_a_version_with_its_state_in_one_process_has_one_worker(gunicorn):
    server = gunicorn(settings=DEFAULTS.at(workers=3, worker_count=3), workers=1)
    server.ready(1)
    assert server.get().endswith(b"app")
    assert len(server.marks("ready")) == 1
    assert "GET /asked" not in server.log.read_text()


def test_a_worker_is_replaced_after_its_requests_and_leaves_its_mark(gunicorn):
    server = gunicorn(settings=DEFAULTS.at(max_requests=3), workers=1)
    first = server.ready(1)
    for _ in range(3):
        server.get()
    wait_for(lambda: server.marks("recycled") == first, "the mark")
    assert wait_for(lambda: server.marks("ready") - first, "another worker")
    server.get()
    assert server.marks("recycled") == first


def test_a_request_that_outlasts_graceful_timeout_is_counted(gunicorn):
    server = gunicorn(settings=DEFAULTS.at(graceful_timeout=1), workers=2, single_process=False)
    server.ready(2)
    server.get()
    with server.ask("/slow") as client:
        wait_for((server.run.parent / "release/taken").exists, "the slow request")
        assert server.cut() == 1
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) == b""


def test_where_all_are_answered_nothing_is_counted(gunicorn):
    server = gunicorn(settings=DEFAULTS.at(graceful_timeout=10), workers=1)
    server.ready(1)
    for _ in range(5):
        server.get()
    assert server.cut() == 0
