"""Who listens, who owns the socket, what a process runs: of processes that really do."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

CHILD = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture
def proc(tree):
    return tree.utils.globoapp_proc


@contextlib.contextmanager
def listening(family, address):
    with socket.socket(family) as server:
        server.bind((address, 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def child(tmp_path):
    """A process of ours with an awkward name, in a directory of its own."""
    python = tmp_path / "py) (thon"
    python.symlink_to(sys.executable)
    (tmp_path / "here").mkdir()
    process = subprocess.Popen(
        [python, "-c", CHILD], cwd=tmp_path / "here", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    yield process
    process.communicate("")


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")],
)
def test_a_listener_is_seen_with_its_owner(proc, family, address):
    with listening(family, address) as port:
        (found,) = proc.listeners(port)
        assert (found["address"], found["port"]) == (address, port)
        assert found in proc.listeners()
        assert found["waiting"] == 0
        owners = proc.owners(found["inode"])
        assert [one["pid"] for one in owners] == [os.getpid()]
        with open("/proc/self/comm") as handle:
            assert owners[0]["program"] == handle.read().strip()
        assert proc.listens(os.getpid(), address, port)
        assert not proc.listens(os.getpid(), "127.0.0.2", port)
        assert not proc.listens(os.getppid(), address, port)
    assert proc.listeners(port) == []
    assert not proc.listens(os.getpid(), address, port)


def test_a_connection_is_no_listener(proc):
    with listening(socket.AF_INET, "127.0.0.1") as port, socket.create_connection(("127.0.0.1", port)):
        assert len(proc.listeners(port)) == 1


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("0.0.0.0", "10.0.0.2", True),
        ("10.0.0.2", "::", True),
        ("::1", "0:0::1", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_overlap(proc, one, other, both):
    assert proc.overlap(one, other) is both
    assert proc.overlap(other, one) is both


def test_what_a_process_runs(proc, child, tmp_path):
    found = proc.process(child.pid)
    assert found["pid"] == child.pid
    assert found["parent"] == os.getpid()
    assert found["cwd"] == str(tmp_path / "here")
    assert found["exe"] == os.path.realpath(sys.executable)
    assert found["command"][0] == str(tmp_path / "py) (thon")
    assert found["command"][2] == CHILD
    before = os.stat(tmp_path / "here").st_ctime
    assert before - 0.05 < found["started"] < time.time()
    assert child.pid in [one["pid"] for one in proc.children(os.getpid())]


def test_who_runs_out_of_a_directory(proc, child, tmp_path):
    assert child.pid in proc.holds_file_below(str(tmp_path / "here"))
    assert child.pid in proc.holds_file_below(str(tmp_path) + "/")
    assert child.pid not in proc.holds_file_below(str(tmp_path / "her"))


def test_a_process_that_is_gone(proc):
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert proc.process(gone.pid) is None
    assert proc.children(gone.pid) == []
    assert proc.process(0) is None
