"""
Closing a listening socket without losing who has just come: the kernel resets what waits in the queue of a
socket that is closed, and a busy server always has something there.

So it first lets no new connection begin (a filter on the socket drops SYN; clients repeat it and are then
refused by the closed port), waits until all that had begun are accepted, and only then may the owner close it.
A unix socket whose path is gone gets nobody new by itself.
"""

import ctypes
import os
import select
import socket
import struct
import time

from globolib import processes, waiting
from globolib.host import Listener

# pidfd_open(2) and pidfd_getfd(2), the same numbers on every architecture but alpha; Linux 5.3 and 5.6. Called by
# number: a Python that was built on an older system has no os.pidfd_open.
PIDFD_OPEN, PIDFD_GETFD = 434, 438
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF, as (code, jump if true, jump if false, value): the packet begins with the TCP header, whose byte 13
# holds the flags; with SYN (2) among them nothing of it is kept, else everything.
NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))

# How long the queue must have been empty (s): a client's last packet of the handshake may be under way.
QUIET, PAUSE = 0.2, 0.01


def drain(listener: Listener, pid: int, timeout: float = 5) -> int:
    """
    Let a listening socket take no new connection, and wait until its owner has accepted those that it has.

    pid
        A process that holds the socket, and goes on to accept from it. Where it holds it not, nothing is done.
    timeout
        Seconds; an owner that does not accept is not waited for any longer.

    Returns how many connections were still waiting at the end; of a unix socket 1 for any number. Raises OSError where
    the kernel has no pidfd_getfd(2) or does not allow it, and where the process is gone.
    """
    descriptor = _descriptor(pid, listener.inode)
    if descriptor is None:
        return 0
    quiet_since: float | None = None
    with _duplicate(pid, descriptor) as listening:
        if not listener.listen.path:
            _take_no_more(listening)

        def drained() -> bool | None:
            nonlocal quiet_since
            if _waiting(listener, listening):
                quiet_since = None
                return None
            if quiet_since is None:
                quiet_since = time.monotonic()
            return True if time.monotonic() - quiet_since > QUIET else None

        waiting.until(drained, timeout, first=PAUSE, factor=1)
        return _waiting(listener, listening)


def _waiting(listener: Listener, listening: socket.socket) -> int:
    if listener.listen.path:  # no table tells how many; one that can be read from has somebody
        poll = select.poll()
        poll.register(listening, select.POLLIN)
        return len(poll.poll(0))
    return sum(now.waiting for now in processes.listeners(listener.port) if now.inode == listener.inode)


def _descriptor(pid: int, inode: str) -> int | None:
    """The number of the descriptor by which a process holds a socket; None when it does not."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{number}") == f"socket:[{inode}]":
                return int(number)
        except FileNotFoundError:  # closed meanwhile
            continue
    return None


def _take_no_more(listening: socket.socket) -> None:
    """Have the kernel drop the first packet of every new connection to a socket."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in NO_SYN))
    packed = struct.pack("HP", len(NO_SYN), ctypes.addressof(program))
    listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, packed)


def _duplicate(pid: int, descriptor: int) -> socket.socket:
    """A socket object for another process's descriptor. Raises OSError where the kernel does not give it."""
    process = _call(PIDFD_OPEN, pid, 0)
    try:
        return socket.socket(fileno=_call(PIDFD_GETFD, process, descriptor, 0))
    finally:
        os.close(process)


def _call(*numbers: int) -> int:
    """A system call that returns a descriptor. Raises OSError."""
    got: int = ctypes.CDLL(None, use_errno=True).syscall(*numbers)
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got
