"""A listening socket that is drained: who was there is served, who comes later does not get in."""

import os
import socket
import threading

import pytest


@pytest.fixture
def drain(tree):
    return tree.utils.globoapp_drain


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def inode(server):
    return str(os.fstat(server.fileno()).st_ino)


def test_those_that_wait_are_accepted_and_nobody_comes_after(tree, drain, listening):
    where = listening.getsockname()
    early = [socket.create_connection(where) for _ in range(5)]
    accepted = []

    def accept():
        for _ in early:
            accepted.append(listening.accept()[0])

    owner = threading.Thread(target=accept)
    owner.start()
    assert drain.drain(os.getpid(), inode(listening), tree.utils.globoapp_proc.listeners) == 0
    owner.join()
    with pytest.raises(TimeoutError):
        socket.create_connection(where, timeout=0.5)
    assert len(accepted) == 5
    for here, there in zip(accepted, early, strict=True):
        here.sendall(b"served")
        assert there.recv(10) == b"served"
        here.close()
        there.close()


def test_an_owner_that_does_not_accept_is_not_waited_for(tree, drain, listening):
    with socket.create_connection(listening.getsockname()):
        assert drain.drain(os.getpid(), inode(listening), tree.utils.globoapp_proc.listeners, timeout=0.3) == 1


def test_a_socket_that_the_process_does_not_hold(tree, drain):
    assert drain.drain(os.getpid(), "0", tree.utils.globoapp_proc.listeners) == 0
