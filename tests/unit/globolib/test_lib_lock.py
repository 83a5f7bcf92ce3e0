"""The lock: held by the kernel for a process, gone with it, however it ends."""

import os
import pathlib
import stat
import subprocess
import sys
import threading

import pytest
from globolib import lock

HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from globolib import lock
held = lock.acquire(sys.argv[2], 0, {"what": "deploy of 1.1", "pid": 7})
assert isinstance(held, lock.Lock)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lock")


@pytest.fixture
def other(path):
    """Another process that holds the lock; it ends when its stdin does."""
    package = pathlib.Path(lock.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, package, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_free_taken_and_free_again(path):
    assert lock.holder(path) is None
    held = lock.acquire(path, 0, {"what": "x"})
    assert lock.holder(path) == {"what": "x"}
    held.release()
    held.release()
    assert lock.holder(path) is None
    lock.acquire(path, 0, {"what": "again"}).release()


def test_one_process_does_not_get_it_twice(path):
    held = lock.acquire(path, 0, {"what": "outer"})
    assert lock.acquire(path, 0, {"what": "inner"}) == {"what": "outer"}
    assert lock.holder(path) == {"what": "outer"}
    held.release()


def test_only_its_owner_can_open_the_file(path):
    before = os.umask(0)
    try:
        lock.acquire(path, 0, {}).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_second_one_learns_who_holds_it(path, other):
    assert lock.acquire(path, 0.2, {"what": "mine"}) == {"what": "deploy of 1.1", "pid": 7}
    assert lock.holder(path) == {"what": "deploy of 1.1", "pid": 7}


def test_the_lock_dies_with_its_holder(path, other):
    other.kill()
    other.wait()
    assert lock.holder(path) is None
    lock.acquire(path, 0, {"what": "mine"}).release()


def test_one_that_waits_gets_it_when_the_holder_ends(path, other):
    got = []
    waits = threading.Thread(target=lambda: got.append(lock.acquire(path, 30, {"what": "mine"})))
    waits.start()
    other.communicate("")
    waits.join()
    assert isinstance(got[0], lock.Lock)
    assert lock.holder(path) == {"what": "mine"}
    got[0].release()


def test_a_program_that_the_holder_starts_does_not_hold_it(path):
    held = lock.acquire(path, 0, {"what": "mine"})
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        held.release()
        assert lock.holder(path) is None
        child.kill()


def test_a_released_lock_names_nobody(path):
    lock.acquire(path, 0, {"what": "mine"}).release()
    assert pathlib.Path(path).read_text() == ""


@pytest.mark.parametrize("rubbish", ["{torn", "[]", "[" * 4096, "\udcff"])
def test_rubbish_in_the_file_is_nobody_known(path, other, rubbish):
    pathlib.Path(path).write_bytes(rubbish.encode(errors="surrogateescape"))
    assert lock.holder(path) == {}
    assert lock.acquire(path, 0, {}) == {}
