"""What several test workers share is made once, complete or absent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prepared import prepared, prepared_in_place

SUPPORT = Path(__file__).parents[1] / "support"
BUILDER = f"""
import sys, time
sys.path.insert(0, {str(SUPPORT)!r})
import prepared
path, how = sys.argv[1:]
def make(directory):
    directory.mkdir(exist_ok=True)
    (directory / "first").touch()
    print("making", flush=True)
    time.sleep(0.5 if how == "make" else 60)
    (directory / "second").touch()
prepared.KIND(path, make)
"""


def builder(path, kind, how="make"):
    """A process that prepares path."""
    code = BUILDER.replace("KIND", kind)
    return subprocess.Popen([sys.executable, "-c", code, str(path), how], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["prepared", "prepared_in_place"])
def test_of_two_that_race_one_makes_and_both_have_it(tmp_path, kind):
    both = [builder(tmp_path / "it", kind) for _ in range(2)]
    said = [process.communicate(timeout=30)[0] for process in both]
    assert sorted(said) == ["", "making\n"]
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "it" / "second").exists()


@pytest.mark.parametrize("kind", ["prepared", "prepared_in_place"])
def test_one_that_is_killed_leaves_nothing_that_counts(tmp_path, kind):
    killed = builder(tmp_path / "it", kind, "hang")
    assert killed.stdout.readline() == "making\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    said, _ = builder(tmp_path / "it", kind).communicate(timeout=30)
    assert said == "making\n"
    assert (tmp_path / "it" / "second").exists()


@pytest.mark.parametrize("kind", [prepared, prepared_in_place])
def test_one_that_fails_is_made_again(tmp_path, kind):
    def fail(directory):
        directory.mkdir(exist_ok=True)
        raise OSError("the network is down")

    with pytest.raises(OSError, match="network"):
        kind(tmp_path / "it", fail)
    made = []
    for _ in range(2):
        kind(tmp_path / "it", lambda directory: (directory.mkdir(exist_ok=True), made.append(directory)))
    assert len(made) == 1
