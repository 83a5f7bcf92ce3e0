"""
Which process does what: listening sockets, their owners, and what a process runs (proc(5)).

Read from /proc and not from a tool's output: the same on every distribution, and fast enough to
be asked during a deploy.
"""

import ipaddress
import os
import time

# The process has ended meanwhile; or it is one that not even this user may look into.
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
LISTEN = "0A"  # the state column of /proc/net/tcp, include/net/tcp_states.h: TCP_LISTEN


def _address(packed):
    """``0100007F:1F40`` as (ip address object, port): each 32-bit group is in host byte order."""
    raw, port = packed.split(":")
    data = bytes.fromhex(raw)
    data = b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4))
    return ipaddress.ip_address(data), int(port, 16)


def listeners(port=None):
    """
    The TCP sockets that listen in this network namespace.

    port
        Only those on this port.

    Returns ``[{"address": "0.0.0.0", "port": 8000, "inode": "12345", "waiting": 0}, ...]``; waiting is how many
    connections are to be accepted (the receive queue, proc(5)).
    """
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as handle:
                rows = handle.read().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for row in rows:
            columns = row.split()
            if columns[3] != LISTEN:
                continue
            address, number = _address(columns[1])
            if port is None or number == port:
                waiting = int(columns[4].partition(":")[2], 16)
                found.append({"address": str(address), "port": number, "inode": columns[9], "waiting": waiting})
    return found


def overlap(one, other):
    """Whether two listen addresses (strings) claim the same packets: equal, or either is a wildcard."""
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    return first == second or first.is_unspecified or second.is_unspecified


def listens(pid, address, port):
    """Whether a process holds a socket that listens on exactly this address and port."""
    held = _sockets(pid)
    return any(one["address"] == address and f"socket:[{one['inode']}]" in held for one in listeners(port))


def owners(inode):
    """The processes that hold a socket: ``[{"pid": 1, "program": "systemd"}, ...]``."""
    link = f"socket:[{inode}]"
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if link in _sockets(pid):
            found.append({"pid": int(pid), "program": _read(pid, "comm").strip()})
    return found


def _sockets(pid):
    """The links of a process's descriptors; empty when it is gone meanwhile."""
    links = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except GONE:  # closed meanwhile
                continue
    except GONE:
        return set()
    return links


def _read(pid, name):
    """A file of /proc/<pid> as text; empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except GONE:
        return ""


def _link(pid, name):
    """Where a link of /proc/<pid> points; empty when the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except GONE:
        return ""


def process(pid):
    """
    What a process runs.

    Returns ``{"pid", "exe", "cwd", "command": [...], "started": seconds since the epoch,
    "parent": pid}``, or None when there is no such process.
    """
    stat = _read(pid, "stat")
    if not stat:
        return None
    fields = stat.rpartition(")")[2].split()  # the name may hold spaces and parentheses
    ticks = int(fields[19])  # since boot; /proc/stat's btime is whole seconds, too coarse to add to
    return {
        "pid": int(pid),
        "exe": _link(pid, "exe"),
        "cwd": _link(pid, "cwd"),
        "command": _read(pid, "cmdline").split("\0")[:-1],
        "parent": int(fields[1]),
        "started": time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK"),
    }


def children(pid):
    """The processes whose parent is ``pid``, as :func:`process` gives them."""
    listed = _read(f"{pid}/task/{pid}", "children").split()
    return [found for found in map(process, listed) if found]


def holds_file_below(directory):
    """The pids that run out of ``directory``: working directory or executable below it."""
    prefix = directory.rstrip("/") + "/"
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        seen = process(pid)
        if seen and any((path + "/").startswith(prefix) for path in [seen["cwd"], *seen["command"][:1]]):
            found.append(int(pid))
    return found
