"""
Which process does what: listening sockets, their owners, what a process runs and which are its children.

Sockets and links are read from /proc (proc(5)): psutil tells neither how many connections wait to be accepted nor
that several processes hold the same socket.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator

import psutil

from globolib import text
from globolib.host import Listener, Owner, Process
from globolib.serving import Capacity

# The process has ended meanwhile; or it is one that not even this user may look into.
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
LISTEN = "0A"  # the state column of /proc/net/tcp, include/net/tcp_states.h: TCP_LISTEN
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
BINDV6ONLY = "/proc/sys/net/ipv6/bindv6only"
ENDED = ("Z", "X")  # the states of a process that only waits for its parent to notice its end, proc(5)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _unpacked(packed: str) -> tuple[str, int]:
    """``0100007F:1F40`` as address and port: each 32-bit group is in host byte order."""
    digits, port = packed.split(":")
    groups = bytes.fromhex(digits)
    groups = b"".join(groups[start : start + 4][::-1] for start in range(0, len(groups), 4))
    return str(ipaddress.ip_address(groups)), int(port, 16)


def listeners(port: int | None = None) -> tuple[Listener, ...]:
    """
    The TCP sockets that listen in this network namespace, without their owners (:func:`with_owners`).

    port
        Only those on this port.

    ``waiting`` is the receive queue of proc(5): the connections that are yet to be accepted.
    """
    listening = []
    for table in TABLES:
        try:
            with open(table, encoding="ascii") as handle:
                rows = handle.read().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for row in rows:
            columns = row.split()
            if columns[3] != LISTEN:
                continue
            address, number = _unpacked(columns[1])
            if port is None or number == port:
                waiting = int(columns[4].partition(":")[2], 16)
                listening.append(Listener(address, number, columns[9], waiting))
    return tuple(listening)


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
    return tuple(
        Listener(
            listener.address,
            listener.port,
            listener.inode,
            listener.waiting,
            tuple(owners[f"socket:[{listener.inode}]"]),
        )
        for listener in listening
    )


def bindv6only() -> bool:
    """Whether ``::`` claims IPv6 alone on this host, unless a socket says otherwise (net.ipv6.bindv6only, ipv6(7))."""
    try:
        with open(BINDV6ONLY, encoding="ascii") as handle:
            return handle.read().strip() == "1"
    except FileNotFoundError:  # a kernel without IPv6
        return False


def overlap(one: str, other: str, v6only: bool = False) -> bool:
    """
    Whether two addresses to listen on claim the same packets on a port.

    0.0.0.0 claims all of IPv4. ``::`` claims all of IPv6 and, unless ``v6only`` (:func:`bindv6only`), all of IPv4.
    """
    first, second = _address(one), _address(other)
    return first == second or _claims(first, second, v6only) or _claims(second, first, v6only)


def _address(written: str) -> Address:
    """The address that is meant: ``::ffff:10.0.0.1`` is IPv4, only asked for by an IPv6 socket."""
    parsed = ipaddress.ip_address(written)
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _claims(wildcard: Address, address: Address, v6only: bool) -> bool:
    if not wildcard.is_unspecified:
        return False
    return wildcard.version == address.version or (wildcard.version == 6 and not v6only)


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
