"""
Which process does what: listening sockets, their owners, what a process runs and which are its children.

Sockets and links are read from /proc (proc(5)): psutil tells neither how many connections wait to be accepted nor
that several processes hold the same socket.
"""

import ipaddress
import os
import socket
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import psutil

from globolib import text
from globolib.address import UNIX
from globolib.host import SOCKET, Listener, Owner, Process
from globolib.serving import Capacity

# The process has ended meanwhile; or it is one that not even this user may look into.
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
# The state column of /proc/net/tcp, include/net/tcp_states.h: TCP_LISTEN and TCP_SYN_RECV.
LISTEN, SYN_RECV = "0A", "03"
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
UNIX_TABLE = "/proc/net/unix"
ACCEPTS = 1 << 16  # in its flags, include/linux/net.h: __SO_ACCEPTCON
BINDV6ONLY = "/proc/sys/net/ipv6/bindv6only"
ENDED = ("Z", "X")  # the states of a process that only waits for its parent to notice its end, proc(5)


def _unpacked(packed: str) -> tuple[str, int]:
    """``0100007F:1F40`` as address and port: each 32-bit group is in host byte order."""
    digits, port = packed.split(":")
    groups = bytes.fromhex(digits)
    groups = b"".join(groups[start : start + 4][::-1] for start in range(0, len(groups), 4))
    return str(ipaddress.ip_address(groups)), int(port, 16)


def listeners(port: int | None = None, paths: Collection[str] = ()) -> tuple[Listener, ...]:
    """
    The TCP sockets that listen in this network namespace, without their owners (:func:`with_owners`).

    port
        Only those on this port.
    paths
        The unix sockets at these paths, too; how many wait there is not known.

    ``waiting`` is the receive queue of proc(5): the connections that are yet to be accepted.
    """
    listening = []
    for table in TABLES:
        try:
            rows = list(_listening(table))
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for columns in rows:
            address, number = _unpacked(columns[1])
            if port is None or number == port:
                waiting = int(columns[4].partition(":")[2], 16)
                listening.append(Listener(address, number, columns[9], waiting))
    return (*listening, *(_unix_listeners(paths) if paths else ()))


def _listening(table: str) -> Iterator[list[str]]:
    """
    The rows of the sockets that listen. The kernel tells them first (tcp_get_idx in net/ipv4/tcp_ipv4.c), and of a busy
    server ten thousands of connections after them, which nobody reads.
    """
    with open(table, encoding="ascii") as handle:
        next(handle, None)
        for row in handle:
            columns = row.split()
            if columns[3] == LISTEN:
                yield columns
            elif columns[3] != SYN_RECV:  # before Linux 4.4 those stand among them
                return


def _unix_listeners(paths: Collection[str]) -> Iterator[Listener]:
    with open(UNIX_TABLE, encoding="utf-8", errors="replace") as handle:
        rows = handle.read().splitlines()[1:]
    for row in rows:
        columns = row.split(maxsplit=7)
        # What was accepted has the path of its listener.
        if len(columns) == 8 and columns[7] in paths and int(columns[3], 16) & ACCEPTS:
            yield Listener(f"{UNIX}{columns[7]}", 0, columns[6])


def at_path(path: str, listening: Iterable[Listener]) -> str:
    """
    What is at the path of a unix socket: empty for nothing, :data:`SOCKET` for one that this host's programs have or
    that is dead, else a phrase.

    listening
        The listeners that are known there.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return ""
    except NotADirectoryError:
        return "below a file that is no directory"
    if stat.S_ISSOCK(mode):
        known = any(listener.listen.path == path for listener in listening)
        return SOCKET if known or _is_dead(path) else "a socket that another program holds"
    kinds = {stat.S_IFREG: "a regular file", stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}
    return kinds.get(stat.S_IFMT(mode), "a special file")


def _is_dead(path: str) -> bool:
    """Whether nobody holds a unix socket any more: the table tells nothing of another network namespace's."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:  # it is full, or of another type
            return False
    return False


def with_owners(listening: Iterable[Listener]) -> tuple[Listener, ...]:
    """
    The same listeners with the processes that hold them, in the order of their pids: one walk over the descriptors
    of all processes, however many listeners there are. Needs root to see those of other users.
    """
    listening = tuple(listening)
    owners: dict[str, list[Owner]] = {f"socket:[{listener.inode}]": [] for listener in listening}
    for pid in _pids() if owners else ():
        held = owners.keys() & _descriptors(pid)
        for link in held:
            owners[link].append(Owner(pid, text.line(_read(pid, "comm").strip())))
    return tuple(replace(listener, owners=tuple(owners[f"socket:[{listener.inode}]"])) for listener in listening)


def bindv6only() -> bool:
    """Whether ``::`` claims IPv6 alone on this host, unless a socket says otherwise (net.ipv6.bindv6only, ipv6(7))."""
    try:
        with open(BINDV6ONLY, encoding="ascii") as handle:
            return handle.read().strip() == "1"
    except FileNotFoundError:  # a kernel without IPv6
        return False


def process(pid: int) -> Process | None:
    """What a process runs; None when there is none, or when it has ended and only its parent has not noticed yet."""
    stat = _read(pid, "stat")
    # The name, in parentheses, may itself hold spaces and parentheses.
    if not stat or stat.rpartition(")")[2].split()[0] in ENDED:
        return None
    return Process(pid, _link(pid, "exe"), _link(pid, "cwd"), tuple(_read(pid, "cmdline").split("\0")[:-1]))


def family(pid: int) -> tuple[Process, ...]:
    """A process and, after it, all its descendants; empty when it is gone."""
    try:
        descendants = [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except (psutil.NoSuchProcess, ValueError):  # ValueError: no pid can be that number
        return ()
    first = process(pid)
    return (first, *filter(None, map(process, descendants))) if first else ()


def children(pid: int) -> tuple[int, ...]:
    """The pids of the processes whose parent is ``pid``, in ascending order."""
    try:
        return tuple(sorted(child.pid for child in psutil.Process(pid).children()))
    except (psutil.NoSuchProcess, ValueError):
        return ()


def in_use(directory: str) -> list[int]:
    """
    The pids of the processes that run out of ``directory``: their working directory, their executable or the path
    by which that was started (``argv[0]``) is the directory or below it. Real paths are compared.
    """
    places = {directory.rstrip("/"), os.path.realpath(directory)}
    prefixes = tuple(f"{place}/" for place in places)
    return [pid for pid in _pids() if any(f"{path}/".startswith(prefixes) for path in _paths(pid))]


def _paths(pid: int) -> Iterator[str]:
    """Where a process runs: the kernel's links are real paths, the path by which it was started need not be."""
    yield _link(pid, "cwd")
    yield _link(pid, "exe")
    started_as = _read(pid, "cmdline").partition("\0")[0]
    if started_as.startswith("/"):
        yield started_as
        # bin/python of a virtualenv is itself a link to the system's: only its directory is resolved.
        yield os.path.join(os.path.realpath(os.path.dirname(started_as)), os.path.basename(started_as))


def interfaces() -> dict[str, tuple[str, ...]]:
    """The host's network interfaces and their addresses, IPv4 first: ``{"eth0": ("10.0.0.2", "fe80::1")}``."""
    return {
        name: tuple(
            address.address.partition("%")[0]  # a link-local one ends with %eth0
            for wanted in (socket.AF_INET, socket.AF_INET6)
            for address in addresses
            if address.family == wanted
        )
        for name, addresses in psutil.net_if_addrs().items()
    }


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _descriptors(pid: int) -> set[str]:
    """The links of a process's descriptors; empty when it is gone meanwhile."""
    links = set()
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.add(os.readlink(f"/proc/{pid}/fd/{number}"))
            except GONE:  # closed meanwhile
                continue
    except GONE:
        return set()
    return links


def _read(pid: int, name: str) -> str:
    """A file of /proc/<pid>; empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except GONE:
        return ""


def _link(pid: int, name: str) -> str:
    """Where a link of /proc/<pid> points; empty when the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except GONE:
        return ""


def capacity() -> Capacity:
    """The processors and the memory of this host."""
    return Capacity(os.cpu_count() or 1, psutil.virtual_memory().total)
