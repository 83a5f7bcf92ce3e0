"""The lock: held by the kernel for a process, gone with it, however it ends."""

import subprocess
import sys
import threading

import pytest

HOLDER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
assert lock.acquire(sys.argv[2], 0, {"what": "deploy of 1.1", "pid": 7}) is None
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock(tree):
    return tree.utils.globoapp_lock


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lock")


@pytest.fixture
def holder(lock, path):
    """Another process that holds the lock; it ends when its stdin does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock.__file__, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_free_taken_and_free_again(lock, path):
    assert lock.busy(path) is None
    assert lock.acquire(path, 0, {"what": "x"}) is None
    assert lock.held(path)
    assert lock.busy(path) is None  # by nobody else
    assert lock.acquire(path, 0, {"what": "again"}) is None
    lock.release(path)
    lock.release(path)
    assert not lock.held(path)


def test_a_second_one_learns_who_holds_it(lock, path, holder):
    assert lock.acquire(path, 0.2, {"what": "mine"}) == {"what": "deploy of 1.1", "pid": 7}
    assert not lock.held(path)
    assert lock.busy(path) == {"what": "deploy of 1.1", "pid": 7}


def test_the_lock_dies_with_its_holder(lock, path, holder):
    holder.kill()
    holder.wait()
    assert lock.busy(path) is None
    assert lock.acquire(path, 0, {"what": "mine"}) is None
    lock.release(path)


def test_one_that_waits_gets_it_when_the_holder_ends(lock, path, holder):
    got = []
    waits = threading.Thread(target=lambda: got.append(lock.acquire(path, 30, {"what": "mine"})))
    waits.start()
    holder.communicate("")
    waits.join()
    assert got == [None]
    lock.release(path)


def test_a_released_lock_names_nobody(lock, path):
    lock.acquire(path, 0, {"what": "mine"})
    lock.release(path)
    with open(path) as handle:
        assert handle.read() == ""


def test_rubbish_in_the_file_is_nobody_known(lock, path, holder):
    with open(path, "w") as handle:
        handle.write("{torn")
    assert lock.busy(path) == {}
    assert lock.acquire(path, 0, {}) == {}


def test_what_is_held_outlives_a_refresh_of_the_modules(lock, path):
    """Salt executes a module's file again in place; then the same process must not wait for itself."""
    lock.acquire(path, 0, {"what": "mine"})
    lock.__spec__.loader.exec_module(lock)
    assert lock.held(path)
    assert lock.acquire(path, 0, {"what": "mine"}) is None
    lock.release(path)
