"""What an instance had in hand when it ended is counted, whatever its app has put beside it."""

import os
import subprocess

import pytest
from globolib.cuts import Cuts
from globolib.errors import Failure
from globolib.layout import STANDIN, Layout

# A release whose worker says that it has requests in hand, and does not get rid of them.
BUSY = """
import os, sys
with open(f"{sys.argv[1]}/progress-{os.getpid()}", "w") as handle:
    handle.write("00000000000000000001 %04d\\n")
def answer():
    return 200, '{"version": "%s"}'
"""


@pytest.fixture
def layout(tmp_path):
    return Layout("globoapp", str(tmp_path / "root"), str(tmp_path), str(tmp_path / "run"))


@pytest.fixture
def ended():
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def held(layout, pid, text, role=""):
    """Have a worker say what it has in hand; returns the file."""
    directory = layout.runtime("PACK1_0", role)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"progress-{pid}")
    with open(path, "w") as handle:
        handle.write(text)
    return path


@pytest.mark.parametrize(
    ("text", "count"),
    [("01 0002\n", 2), ("01 0000\n", 0), ("01\n", 0), ("", 0), ("01 -3\n", 0), ("01 x\n", 0), ("01 " + "9" * 90, 9999)],
)
def test_what_the_file_held_last_counts_though_it_is_gone(layout, ended, text, count):
    path, cuts = held(layout, ended, text), Cuts()
    cuts.during(lambda: os.unlink(path), layout, "PACK1_0")
    assert cuts.count == count


def test_what_lives_on_was_not_cut(layout, ended):
    held(layout, os.getpid(), "01 0005\n")
    held(layout, ended, "01 0001\n")
    held(layout, ended, "01 0003\n", STANDIN)
    cuts = Cuts()
    cuts.during(lambda: None, layout, "PACK1_0")
    assert cuts.count == 1
    cuts.during(lambda: None, layout, "PACK1_0", STANDIN)
    assert cuts.count == 4


def test_an_end_that_fails_is_told_and_counted(layout, ended):
    def fail():
        raise Failure("systemctl stop: it took too long")

    held(layout, ended, "01 0001\n")
    cuts = Cuts()
    with pytest.raises(Failure, match="too long"):
        cuts.during(fail, layout, "PACK1_0")
    assert cuts.count == 1


def test_what_an_app_puts_there_holds_up_nothing(layout, ended):
    path = held(layout, ended, "01 0001\n")
    os.unlink(path)
    os.mkfifo(path)
    os.symlink("/etc/passwd", os.path.join(os.path.dirname(path), "progress-1"))
    before, cuts = len(os.listdir("/proc/self/fd")), Cuts()
    cuts.during(lambda: None, layout, "PACK1_0")
    cuts.during(lambda: None, layout, "PACK9_9")
    assert cuts.count == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_cannot_be_read_counts_nothing(layout, ended, monkeypatch):
    def fail(*_):
        raise OSError("the disk")

    held(layout, ended, "01 0001\n")
    monkeypatch.setattr(os, "pread", fail)
    cuts = Cuts()
    cuts.during(lambda: None, layout, "PACK1_0")
    assert cuts.count == 0


def test_a_switch_tells_what_it_has_cut(machine):
    machine.publish("1.0", BUSY % (2, "1.0"))
    assert "cut" not in machine.deploy("1.0").line
    done = machine.deploy("1.1")
    assert done.failure is None
    assert done.line["cut"] == 2
    assert " 2 requests were still running when graceful_timeout ended, and cut." in done.said["recorded"]


def test_a_restart_tells_what_it_has_cut(machine):
    machine.publish("1.0", BUSY % (1, "1.0"))
    assert machine.deploy("1.0").failure is None
    done = machine.deploy(globoapp={"environment": {"LEVEL": "2"}})
    assert done.failure is None
    assert done.line["cut"] == 2  # the release's own, and the stand-in's
    machine.publish("1.1")
    assert machine.deploy("1.1").line["cut"] == 1


def test_a_way_back_tells_what_it_has_cut(machine):
    assert machine.deploy("1.0").failure is None
    sick = BUSY.replace("200", "200 if candidate else 500")
    machine.publish("1.1", sick % (3, "1.1"))
    done = machine.deploy("1.1", globoapp={"deadline": 1})
    assert "1.1 is not healthy" in done.failure
    assert (done.line["result"], done.line["cut"]) == ("failed", 3)


def test_where_nothing_is_cut_nothing_is_said(machine):
    assert machine.deploy("1.0").failure is None
    done = machine.deploy("1.1")
    assert "cut" not in done.line
    assert "still running" not in done.said["recorded"]
