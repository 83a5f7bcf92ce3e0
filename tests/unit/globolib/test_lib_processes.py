"""Who listens, who owns the socket, what a process runs: of processes and sockets that really are there."""

import contextlib
import errno
import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess

import pytest
from globolib import processes, waiting
from globolib.address import overlap
from globolib.host import Listener
from hypothesis import given
from hypothesis import strategies as st


@contextlib.contextmanager
def listening(family, address, port=0, v6only=False):
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        server.bind((address, port))
        server.listen()
        yield server


@contextlib.contextmanager
def started(*command, **options):
    """A process in a session of its own, that ends with all its children."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def runs(pid, program):
    """Wait until a process that has just been forked is the program, with its command line."""

    def is_it():
        now = processes.process(pid)
        return (os.path.basename(now.exe) == program and now.command) or None

    assert waiting.until(is_it, 5)


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")],
)
def test_a_listener_is_seen(family, address):
    with listening(family, address) as server:
        port = server.getsockname()[1]
        (seen,) = processes.listeners(port)
        assert seen == Listener(address, port, str(os.fstat(server.fileno()).st_ino), 0, ())
        assert seen in processes.listeners()
    assert processes.listeners(port) == ()


def test_what_waits_is_counted_and_a_connection_is_no_listener():
    with listening(socket.AF_INET, "127.0.0.1") as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert [listener.waiting for listener in processes.listeners(port)] == [2]
            server.accept()[0].close()
            assert [listener.waiting for listener in processes.listeners(port)] == [1]


def test_behind_the_listeners_nobody_reads_the_connections(monkeypatch, tmp_path):
    """A busy server has ten thousands of them. Before Linux 4.4 those yet to be opened stood among the listeners."""
    header, *_ = pathlib.Path(processes.TABLES[0]).read_text().splitlines()
    row = "0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {port}"
    states = ["0A", "03", "0A", "06", "0A"]
    rows = [row.format(port=number, state=state) for number, state in enumerate(states)]
    (tmp_path / "tcp").write_text("\n".join([header, *rows]) + "\n")
    monkeypatch.setattr(processes, "TABLES", (str(tmp_path / "tcp"),))
    assert [listener.port for listener in processes.listeners()] == [0, 2]


def test_all_listeners_are_seen_beside_connections():
    wanted = set()
    with contextlib.ExitStack() as open_now:
        for _ in range(20):
            server = open_now.enter_context(listening(socket.AF_INET, "127.0.0.1"))
            open_now.enter_context(socket.create_connection(server.getsockname()))
            open_now.enter_context(server.accept()[0])
            wanted.add(server.getsockname())
        assert wanted <= {(listener.address, listener.port) for listener in processes.listeners()}


def test_a_kernel_without_ipv6(monkeypatch):
    monkeypatch.setattr(processes, "TABLES", (processes.TABLES[0], "/nowhere/tcp6"))
    monkeypatch.setattr(processes, "BINDV6ONLY", "/nowhere/bindv6only")
    with listening(socket.AF_INET, "127.0.0.1") as server:
        assert len(processes.listeners(server.getsockname()[1])) == 1
    assert processes.bindv6only() is False


def test_all_owners_are_told_and_the_processes_are_walked_once(monkeypatch):
    walks, listdir = [], os.listdir

    def counted(path):
        walks.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counted)
    with (
        listening(socket.AF_INET, "127.0.0.1") as shared,
        listening(socket.AF_INET6, "::1") as own,
        started("sleep", "60", pass_fds=[shared.fileno()]) as other,
    ):
        runs(other.pid, "sleep")
        ports = [server.getsockname()[1] for server in (shared, own)]
        seen = processes.with_owners(listener for port in ports for listener in processes.listeners(port))
    assert walks.count("/proc") == 1
    with open("/proc/self/comm") as handle:
        mine = (os.getpid(), handle.read().strip())
    owners = [[(owner.pid, owner.program) for owner in listener.owners] for listener in seen]
    assert owners == [sorted([mine, (other.pid, "sleep")]), [mine]]
    assert [(listener.address, listener.port) for listener in seen] == [("127.0.0.1", ports[0]), ("::1", ports[1])]


def test_without_listeners_no_process_is_looked_at(monkeypatch):
    monkeypatch.setattr(processes, "_pids", lambda: pytest.fail("looked"))
    assert processes.with_owners(()) == ()


ADDRESSES = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1"]
MAPPED = "::ffff:127.0.0.1"  # that an IPv6-only socket does not take


PAIRS = [(first, second, False) for first, second in itertools.product([*ADDRESSES, MAPPED], repeat=2)]
PAIRS += [(first, second, True) for first, second in itertools.product(ADDRESSES, repeat=2)]


def refused(first, second, v6only):
    """Whether the kernel refuses to listen on the second address beside the first, on a port that it chooses."""
    families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in (first, second)]
    with listening(families[0], first, 0, v6only) as server:
        try:
            with listening(families[1], second, server.getsockname()[1], v6only):
                return False
        except OSError as error:
            assert error.errno == errno.EADDRINUSE
            return True


@pytest.mark.parametrize(("first", "second", "v6only"), PAIRS)
def test_addresses_overlap_where_the_kernel_refuses_the_second(first, second, v6only):
    # A port that is free on the first address may be some other program's on the second: not five times.
    assert overlap(first, second, v6only) is all(refused(first, second, v6only) for _ in range(5))


@given(st.ip_addresses(), st.ip_addresses(), st.booleans())
def test_overlap_has_no_order_and_a_wildcard_claims_its_family(one, other, v6only):
    assert overlap(str(one), str(other), v6only) is overlap(str(other), str(one), v6only)
    assert overlap(str(one), str(one), v6only)
    if one.version == 4 or not one.ipv4_mapped:
        assert overlap(str(one), "0.0.0.0" if one.version == 4 else "::", v6only)


@pytest.mark.parametrize(("text", "only"), [("1\n", True), ("0\n", False)])
def test_what_a_wildcard_claims_is_a_setting_of_the_kernel(monkeypatch, tmp_path, text, only):
    (tmp_path / "bindv6only").write_text(text)
    monkeypatch.setattr(processes, "BINDV6ONLY", str(tmp_path / "bindv6only"))
    assert processes.bindv6only() is only


def test_what_a_process_runs(tmp_path):
    awkward = tmp_path / "sl) Z (eep"
    shutil.copy(shutil.which("sleep"), awkward)
    with started(awkward, "60", cwd=tmp_path) as child:
        runs(child.pid, awkward.name)
        seen = processes.process(child.pid)
    assert (seen.pid, seen.exe, seen.cwd) == (child.pid, str(awkward), str(tmp_path))
    assert seen.command == (str(awkward), "60")


def test_a_process_that_is_gone():
    gone = subprocess.Popen(["true"])
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    assert os.path.exists(f"/proc/{gone.pid}")
    assert processes.process(gone.pid) is None
    assert processes.family(gone.pid) == ()
    gone.wait()
    for pid in (gone.pid, 0, -1):
        assert processes.process(pid) is None
        assert processes.family(pid) == ()
    assert processes.children(gone.pid) == processes.children(-1) == ()
    assert processes._descriptors(gone.pid) == set()


def test_a_family_is_the_process_and_all_its_descendants():
    with started("sh", "-c", "sh -c 'sleep 60; :' & sleep 61; :") as child:
        wanted = [("sh", "-c", "sleep 60; :"), ("sleep", "60"), ("sleep", "61")]

        def complete():
            """The family, once its members have all become what they will run."""
            members = processes.family(child.pid)
            return members if sorted(member.command for member in members[1:]) == wanted else None

        family = waiting.until(complete, 5)
        direct = processes.children(child.pid)
    assert family[0].pid == child.pid
    pids = {member.command: member.pid for member in family[1:]}
    assert direct == tuple(sorted([pids[wanted[0]], pids[wanted[2]]]))


@pytest.mark.parametrize("way", ["cwd", "exe", "argv0"])
def test_who_runs_out_of_a_directory(tmp_path, way):
    directory = tmp_path / "real" / "here"
    directory.mkdir(parents=True)
    (tmp_path / "root").symlink_to("real")
    sleep, copy, link = shutil.which("sleep"), directory / "copy", directory / "link"
    shutil.copy(sleep, copy)
    link.symlink_to(sleep)
    argv0, executable, cwd = {
        "cwd": ("sleep", sleep, directory),
        "exe": ("sleep", copy, "/"),
        "argv0": (str(link), sleep, "/"),
    }[way]
    with started(argv0, "60", executable=executable, cwd=cwd) as child:
        runs(child.pid, os.path.basename(os.path.realpath(executable)))
        for path in ("real/here", "real/here/", "root/here", "real", "root"):
            assert child.pid in processes.in_use(str(tmp_path / path)), path
        assert child.pid not in processes.in_use(str(tmp_path / "real/her"))
        assert child.pid not in processes.in_use(str(tmp_path / "real/here/deeper"))


def test_a_link_by_which_a_process_was_started_is_resolved_but_for_its_name(tmp_path):
    (tmp_path / "virtualenv/bin").mkdir(parents=True)
    (tmp_path / "virtualenv/bin/python").symlink_to(shutil.which("sleep"))
    (tmp_path / "release").mkdir()
    (tmp_path / "release/.venv").symlink_to("../virtualenv")
    with started(str(tmp_path / "release/.venv/bin/python"), "60") as child:
        runs(child.pid, "sleep")
        assert child.pid in processes.in_use(str(tmp_path / "virtualenv"))
        assert child.pid in processes.in_use(str(tmp_path / "release"))


def test_interfaces_begin_with_ipv4_and_have_no_scope(monkeypatch):
    assert "127.0.0.1" in processes.interfaces()["lo"]

    class Address:
        def __init__(self, family, address):
            self.family, self.address = family, address

    cards = [(socket.AF_PACKET, "00:11"), (socket.AF_INET6, "fe80::1%eth0"), (socket.AF_INET, "10.0.0.2")]
    listed = {"eth0": [Address(*card) for card in cards], "dummy0": []}
    monkeypatch.setattr(processes.psutil, "net_if_addrs", lambda: listed)
    assert processes.interfaces() == {"eth0": ("10.0.0.2", "fe80::1"), "dummy0": ()}
