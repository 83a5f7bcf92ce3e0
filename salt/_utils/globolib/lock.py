"""
One deploy at a time on a host: flock(2) on a file below the root.

The kernel holds the lock for the process that took it and drops it when that process ends, however it ends: it can
neither go stale nor be stolen. What is written in the file only tells people who the holder is.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Lock:
    """A lock that this process holds, until :meth:`release` or the end of a ``with`` block."""

    path: str
    fd: int

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Drop the lock; a second time does nothing."""
        if self.fd >= 0:
            os.ftruncate(self.fd, 0)
            os.close(self.fd)
            self.fd = -1


def acquire(path: str, wait: float, who: Mapping[str, Any]) -> Lock | dict[str, Any]:
    """
    Take the lock.

    path
        The lock file; it is made when missing, for root alone: who can open it can hold it.
    wait
        Seconds to wait for another holder.
    who
        What to tell others: ``jid``, ``what``, ``pid``, ``since``, and ``run``, by which a run that this process
        makes inside its own is known.

    Returns the Lock, or what the holder wrote (a dict, perhaps empty).
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o600)
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= until:
                holder = _holder(fd)
                os.close(fd)
                return holder
            time.sleep(0.1)
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(dict(who)).encode(), 0)
    return Lock(path, fd)


def holder(path: str) -> dict[str, Any] | None:
    """What the holder of the lock wrote (a dict); None when nobody holds it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _holder(fd)
    finally:
        os.close(fd)


def _holder(fd: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(fd, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
