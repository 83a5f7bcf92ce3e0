"""Whether systemd limits what a service reaches, and whether something answers there."""

import socket

import pytest
from globolib import commands, connect, reach
from globolib.errors import Failure


@pytest.mark.parametrize(
    ("done", "why"),
    [
        (commands.Done(3, b"", b""), None),
        (commands.Done(0, b"", b""), "a unit with IPAddressDeny=any could send"),
        (commands.Done(1, b"", b"Failed to connect to bus\n"), "Failed to connect to bus"),
        (commands.Done(203, b"", b""), "exit 203"),
        (Failure("systemd-run: no end after 20 s"), "systemd-run: no end after 20 s"),
    ],
)
def test_only_a_refusal_by_the_kernel_is_proof(monkeypatch, done, why):
    asked = []

    def run(command, deadline, check, shown):
        asked.append(command)
        if isinstance(done, Failure):
            raise done
        return done

    monkeypatch.setattr(commands, "run", run)
    assert reach.unlimited("/usr/bin/python3") == why
    assert "--property=IPAddressDeny=any" in asked[0] and "/usr/bin/python3" in asked[0]


def test_the_question_is_what_python_runs():
    assert commands.run(["/usr/bin/python3", "-I", "-S", "-c", reach._ASK], check=False) == commands.Done(0, b"", b"")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_what_answers_and_what_does_not(family, host):
    at = f"[{host}]" if ":" in host else host
    with socket.create_server((host, 0), family=family) as server, socket.socket(family) as closed:
        closed.bind((host, 0))
        there, away = server.getsockname()[1], closed.getsockname()[1]
        asked = connect.places([f"{at}:{there}", f"{at}:{away}", host])
        assert reach.unanswered(asked, 5) == [f"{at}:{away}: ECONNREFUSED"]


def test_one_that_says_nothing_takes_no_longer_than_allowed(monkeypatch):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        full = [socket.socket() for _ in range(3)]
        for client in full:  # its queue is full: the kernel answers no further one
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        asked = connect.places([f"127.0.0.1:{port}"])
        assert reach.unanswered([*asked, *asked], 0.05) == [f"127.0.0.1:{port}: ETIMEDOUT"]
        for client in full:
            client.close()
