"""A listening socket that is drained: who was there is served, who comes later does not get in."""

import os
import socket
import subprocess
import threading
import time

import pytest
from globolib import drain, processes
from globolib.host import Listener


@pytest.fixture(autouse=True)
def portable(monkeypatch):
    """A Python that was built on an older system."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def seen(server):
    """The server's Listener."""
    (listener,) = processes.listeners(server.getsockname()[1])
    return listener


def test_those_that_wait_are_accepted_and_nobody_comes_after(listening):
    where = listening.getsockname()
    early = [socket.create_connection(where) for _ in range(5)]
    accepted = []

    def accept():
        for _ in early:
            accepted.append(listening.accept()[0])

    owner = threading.Thread(target=accept)
    owner.start()
    assert drain.drain(seen(listening), os.getpid()) == 0
    owner.join()
    with pytest.raises(TimeoutError):
        socket.create_connection(where, timeout=0.3)
    assert len(accepted) == 5
    for here, there in zip(accepted, early, strict=True):
        here.sendall(b"served")
        assert there.recv(10) == b"served"
        here.close()
        there.close()


def test_an_owner_that_does_not_accept_is_not_waited_for(listening):
    with socket.create_connection(listening.getsockname()):
        assert drain.drain(seen(listening), os.getpid(), timeout=0.3) == 1


def test_quiet_begins_anew_when_somebody_comes(listening, monkeypatch):
    asked = []

    def waiting(listener, held):
        asked.append(time.monotonic())
        return 1 if len(asked) == 4 else 0

    monkeypatch.setattr(drain, "_waiting", waiting)
    assert drain.drain(seen(listening), os.getpid()) == 0
    assert asked[-1] - asked[3] > drain.QUIET


def test_a_socket_that_the_process_does_not_hold(monkeypatch):
    monkeypatch.setattr(drain, "_duplicate", lambda *held: pytest.fail(f"touched {held}"))
    assert drain.drain(Listener("127.0.0.1", 1, "0"), os.getpid()) == 0


@pytest.mark.parametrize("missing", ["PIDFD_OPEN", "PIDFD_GETFD"])
def test_a_kernel_that_does_not_give_the_socket(listening, monkeypatch, missing):
    monkeypatch.setattr(drain, missing, -1)
    with pytest.raises(OSError, match="not implemented"):
        drain.drain(seen(listening), os.getpid())


def test_a_process_that_is_gone(listening):
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(FileNotFoundError):
        drain.drain(seen(listening), gone.pid)


def test_a_process_that_ends_meanwhile():
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(ProcessLookupError):
        drain._duplicate(gone.pid, 0)
