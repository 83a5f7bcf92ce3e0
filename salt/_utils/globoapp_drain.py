"""
Closing a listening socket without losing who has just come: the kernel resets what waits in the queue of a
socket that is closed, and a busy server always has something there.

So it first lets no new connection begin (a filter on the socket drops SYN; clients repeat it and are then
refused by the closed port), waits until all that had begun are accepted, and only then may the owner close it.
"""

import ctypes
import os
import socket
import struct
import time

PIDFD_GETFD = 438  # pidfd_getfd(2), the same number on every architecture but alpha; Linux 5.6
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF, as (code, jump if true, jump if false, value): the packet begins with the TCP header, whose byte 13
# holds the flags; with SYN (2) among them nothing of it is kept, else everything.
NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))

# How long the queue must have been empty: a client's last packet of the handshake may be under way.
QUIET, PAUSE = 0.2, 0.01


def _descriptor(pid, inode):
    """The number of the descriptor by which a process holds a socket; None when it does not."""
    for one in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{one}") == f"socket:[{inode}]":
                return int(one)
        except FileNotFoundError:  # closed meanwhile
            continue
    return None


def _duplicate(pid, number):
    """A socket object for another process's descriptor. Raises OSError where the kernel does not give it."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        mine = libc.syscall(PIDFD_GETFD, process, number, 0)
    finally:
        os.close(process)
    if mine < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return socket.socket(fileno=mine)


def drain(pid, inode, listeners, timeout=5):
    """
    Let a listening socket take no new connection, and wait until its owner has accepted those that it has.

    pid
        A process that holds the socket, and goes on to accept from it.
    inode
        The socket, as ``globoapp_proc.listeners`` gives it.
    listeners
        ``globoapp_proc.listeners``.
    timeout
        Seconds; an owner that does not accept is not waited for any longer.

    Returns how many connections were still waiting at the end. Raises OSError where the kernel has no
    pidfd_getfd(2) or does not allow it.
    """

    def waiting():
        return sum(one["waiting"] for one in listeners() if one["inode"] == inode)

    number = _descriptor(pid, inode)
    if number is None:
        return 0
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in NO_SYN))
    with _duplicate(pid, number) as listening:
        packed = struct.pack("HP", len(NO_SYN), ctypes.addressof(program))
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, packed)
    until, quiet = time.monotonic() + timeout, None
    while time.monotonic() < until:
        if waiting():
            quiet = None
        else:
            quiet = quiet or time.monotonic()
            if time.monotonic() - quiet > QUIET:
                return 0
        time.sleep(PAUSE)
    return waiting()
