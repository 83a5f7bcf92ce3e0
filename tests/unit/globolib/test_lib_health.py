"""Asking the service: what counts as an answer, how long it may take, and what is said of one that is wrong."""

import contextlib
import errno
import http.server
import json
import re
import socket
import socketserver
import threading
import time

import pytest
from globolib import health, waiting
from globolib.address import Address
from globolib.manifest import Health
from hypothesis import given
from hypothesis import strategies as st


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers /<status>/<body>; keeps what it was asked."""

    def do_GET(self):
        self.server.seen.append(self.path)
        self.server.headers.append(dict(self.headers))
        _, status, body = self.path.split("/", 2)
        status = self.server.statuses.pop(0) if self.server.statuses else int(status)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode() * self.server.times)

    def log_message(self, *args):
        pass

    def address_string(self):
        return "unix"


class Ipv6Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def serving(server):
    with server:
        server.seen, server.headers, server.statuses, server.times = [], [], [], 1
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server():
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)) as running:
        yield running


@pytest.fixture
def place(server):
    return health.Tcp(*server.server_address)


@contextlib.contextmanager
def speaking(*pieces, pause=0.0):
    """A server that sends the pieces to its first client, with a pause before each; the place where it listens."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1024)
                for piece in pieces:
                    if over.wait(pause):
                        break
                    connection.sendall(piece)

        speaker = threading.Thread(target=speak)
        speaker.start()
        yield health.Tcp(*listening.getsockname())
        over.set()
        speaker.join()


@pytest.fixture
def nobody():
    """A place where nothing listens: bound, so that nothing else can meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield health.Tcp(*held.getsockname())


@pytest.mark.parametrize(
    ("address", "host"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.5", "10.0.0.5"), ("fd00::5", "fd00::5")],
)
def test_a_wildcard_is_asked_on_loopback(address, host):
    assert health.where(Address(address, 8000)) == health.Tcp(host, 8000)


def test_over_tcp_over_ipv6_and_over_a_unix_socket(server, tmp_path):
    path = str(tmp_path / "s")
    with (
        serving(socketserver.ThreadingUnixStreamServer(path, Answers)),
        serving(Ipv6Server(("::1", 0), Answers)) as ipv6,
    ):
        for place in (
            health.where(Address("0.0.0.0", server.server_address[1])),
            health.where(Address("::", ipv6.server_address[1])),
            health.Unix(path),
        ):
            answer = health.ask(place, "/404/hello", 5)
            assert (answer.status, answer.body) == (404, "hello")
            assert 0 < answer.seconds < 5


def test_headers_are_sent_on_top_of_our_own(server, place):
    health.ask(place, "/200/", 5, {"X-One": "1"})
    health.ask(place, "/200/", 5)
    first, second = server.headers
    assert first["X-One"] == "1"
    assert first["User-Agent"] == second["User-Agent"] == "globoapp-health"
    assert "X-One" not in second


def test_an_answer_is_read_up_to_its_most(server, place):
    server.times = 1 << 17
    assert health.ask(place, "/200/x", 5).body == "x" * health.MOST


def test_the_body_is_harmless():
    with speaking(b"HTTP/1.0 200 OK\r\n\r\n\xff\x1b[31mred\x00\r\nmore") as place:
        assert health.ask(place, "/", 5).body == "\ufffdred? more"


def test_no_answer_says_why(nobody, tmp_path):
    problem, answer = health.once(nobody, Health(), 1)
    assert answer is None
    assert problem.startswith("no answer: ConnectionRefusedError: ")
    absent = health.Unix(str(tmp_path / "none"))
    assert health.once(absent, Health(), 1)[0].startswith("no answer: FileNotFoundError: ")


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhi",
        b"HTTP/1.1 200 \x1b[2J" + b"x" * 70000,
    ],
)
def test_what_is_no_http_is_no_answer(words):
    with speaking(words) as place:
        problem, answer = health.once(place, Health(), 5)
    assert answer is None
    assert problem.startswith("no answer: ")
    assert problem.isprintable()
    assert len(problem) < 1100


def test_a_path_that_is_none_is_no_answer(place):
    assert health.once(place, Health("/ä"), 5)[0].startswith("no answer: UnicodeEncodeError: ")


TIMED_OUT = "no answer: TimeoutError: timed out"
START = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("first", [b"", START, START + b"\r\n", START + b"Transfer-Encoding: chunked\r\n\r\n"])
def test_an_answer_that_drips_ends_at_the_deadline(first):
    """Each byte comes well before the deadline, the whole answer never does."""
    drip = b"1\r\nx\r\n" if b"chunked" in first else b"x"
    begun = time.monotonic()
    with speaking(first, *[drip] * 500, pause=0.02) as place:
        problem, answer = health.once(place, Health(), 0.3)
        assert (problem, answer) == (TIMED_OUT, None)
        assert 0.25 < time.monotonic() - begun < 3


def test_a_server_that_goes_on_preparing_ends_at_the_deadline():
    begun = time.monotonic()
    with speaking(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 500, pause=0.02) as place:
        assert health.once(place, Health(), 0.3) == (TIMED_OUT, None)
        assert time.monotonic() - begun < 3


def test_a_server_that_hangs_is_left_at_the_deadline():
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert health.once(health.Tcp(*server.getsockname()), Health(), 0.1) == (TIMED_OUT, None)
    assert time.monotonic() - begun < 3


def test_a_server_that_takes_no_connection_is_left_at_the_deadline():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        place = health.Tcp(*server.getsockname())
        begun = time.monotonic()
        with socket.create_connection((place.host, place.port)):  # its queue is full
            assert health.once(place, Health(), 0.1) == (TIMED_OUT, None)
        assert time.monotonic() - begun < 3


def test_no_time_at_all_is_a_timeout(server, place):
    assert health.once(place, Health("/200/"), 0) == (TIMED_OUT, None)
    assert server.seen == []


NOT_FOUND = Health("/", 404, {"status": "NOT-FOUND"})
DEEP = "[" * 60000


@pytest.mark.parametrize(
    ("status", "body", "expected", "problem"),
    [
        (404, '{"status": "NOT-FOUND", "more": 1}', NOT_FOUND, None),
        (200, "anything", Health(), None),
        (404, "<h1>Not Found</h1>", NOT_FOUND, "the body is not JSON: '<h1>Not Found</h1>'"),
        (404, "[1]", NOT_FOUND, "the body is not a JSON object: '[1]'"),
        (404, DEEP, NOT_FOUND, f"the body is JSON that is nested too deeply: {DEEP[:200]!r}"),
        (404, '{"status": "OK"}', NOT_FOUND, "status is 'OK' instead of 'NOT-FOUND'"),
        (404, "{}", NOT_FOUND, "status is None instead of 'NOT-FOUND'"),
        (404, "{}", Health("/", 404, {"a": 1, "b": [2]}), "a is None instead of 1; b is None instead of [2]"),
        (200, '{"status": "NOT-FOUND"}', NOT_FOUND, 'status 200 instead of 404, body: \'{"status": "NOT-FOUND"}\''),
        (500, " " + "a " * 400, Health(), "status 500 instead of 200, body: " + repr("a " * 100)),
    ],
)
def test_an_answer_is_judged_by_status_and_body(status, body, expected, problem):
    assert health.judge(health.Answer(status, body, 0.1), expected) == problem


def test_what_was_seen_is_shown_shortly():
    answer = health.Answer(404, json.dumps({"status": "x" * 5000}), 0.1)
    assert len(health.judge(answer, NOT_FOUND)) < 300


SOME_JSON = st.recursive(st.none() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=2), max_leaves=4)


@given(st.text(max_size=20) | SOME_JSON.map(json.dumps) | SOME_JSON.map(lambda value: json.dumps({"status": value})))
def test_no_body_makes_the_judge_fail(body):
    problem = health.judge(health.Answer(404, body, 0.1), NOT_FOUND)
    assert problem and problem.isprintable()


def test_a_path_of_something_absent_is_another_one_each_time():
    absent = Health("/api/comment/list/globoapp-health-check")
    paths = {health.path_of(absent) for _ in range(50)}
    assert len(paths) == 50
    assert all(re.fullmatch(re.escape(absent.path) + "-[0-9a-f]{32}", path) for path in paths)
    assert health.path_of(Health("/status/")) == "/status/"


def test_all_that_asks_asks_a_fresh_path(server, place):
    absent = Health("/404/globoapp-health-check", 404)
    assert [health.once(place, absent, 5)[0] for _ in range(2)] == [None, None]
    probe = health.start(place, absent)
    assert waiting.until(lambda: len(server.seen) >= 5 or None, 5)
    probe.finish()
    assert len(set(server.seen)) == len(server.seen)
    assert all(path.startswith("/404/globoapp-health-check-") for path in server.seen)


def test_all_that_asks_sends_the_headers_of_the_manifest(server, place):
    asked = Health("/200/", headers={"Host": "shop.example.com", "user-agent": "x", "X-Forwarded-Proto": "https"})
    assert health.once(place, asked, 5)[0] is None
    probe = health.start(place, asked)
    assert waiting.until(lambda: len(server.headers) >= 3 or None, 5)
    probe.finish()
    for sent in server.headers:
        assert (sent["Host"], sent["X-Forwarded-Proto"]) == ("shop.example.com", "https")
        assert [value for name, value in sent.items() if name.lower() == "user-agent"] == ["x"]
        assert sent["Connection"] == "close"


def test_the_probe_counts_what_a_client_would_call_an_outage(server, place):
    server.statuses = [200, 404, 503, 200, 500]
    probe = health.start(place, Health("/200/{}"))
    assert waiting.until(lambda: len(server.seen) >= 8 or None, 10, factor=1)
    figures = probe.finish()
    assert figures["sent"] >= 8
    assert (figures["failed"], figures["first_failure"]) == (2, "status 503")
    assert figures["longest_gap_ms"] > 0
    assert not probe.is_alive()


def test_a_probe_that_only_saw_good_answers_says_nothing_of_failures(server, place):
    probe = health.start(place, Health("/404/"))
    assert waiting.until(lambda: len(server.seen) >= 3 or None, 10)
    figures = probe.finish()
    assert set(figures) == {"sent", "failed", "longest_gap_ms"}
    assert figures["failed"] == 0
    assert 10 < figures["longest_gap_ms"] < 5000


def test_a_probe_of_nothing_fails_each_time(nobody):
    begun = time.monotonic()
    probe = health.start(nobody, Health())
    assert waiting.until(lambda: probe.failed >= 3 or None, 10)
    figures = probe.finish()
    assert figures["failed"] == figures["sent"]
    assert figures["first_failure"].startswith("ConnectionRefusedError: ")
    assert 40 <= figures["longest_gap_ms"] <= (time.monotonic() - begun) * 1000  # all the time that it ran


@pytest.mark.parametrize(
    ("loopback", "v6only", "asked", "why"),
    [
        (True, "1\n", "::1", None),
        (False, "0\n", "127.0.0.1", None),
        (False, "1\n", "127.0.0.1", "this host has no address ::1, and net.ipv6.bindv6only keeps IPv4 out"),
        (False, None, "127.0.0.1", "the kernel of this host has no IPv6"),
    ],
)
def test_where_to_ask_a_host_without_the_loopback_of_ipv6(tmp_path, monkeypatch, loopback, v6only, asked, why):
    class Socket(socket.socket):
        def bind(self, address):
            if not loopback:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(health.socket, "socket", Socket)
    monkeypatch.setattr(health, "V6ONLY", str(tmp_path / "bindv6only"))
    if v6only:
        (tmp_path / "bindv6only").write_text(v6only)
    assert health.where(Address("::", 80)) == health.Tcp(asked, 80)
    assert health.unreachable("::") == why
    assert (health.where(Address("::1", 80)).host, health.where(Address("0.0.0.0", 80)).host) == ("::1", "127.0.0.1")
    assert health.unreachable("0.0.0.0") is None
