"""
One deploy at a time on a host: flock(2) on a file below the root.

The kernel holds the lock for the process that took it and drops it when that process ends, however
it ends: it can neither go stale nor be stolen. What is written in the file only tells people who
the holder is.
"""

import fcntl
import json
import os
import time

# The descriptors that this process holds, by path. A process may take its own lock again: a
# rollback holds it around the state run that it makes. Salt executes this file again in place when
# modules are refreshed; what is held must outlive that.
_HELD = globals().get("_HELD", {})


def acquire(path, wait, who):
    """
    Take the lock.

    path
        The lock file; it is made when missing.
    wait
        Seconds to wait for another holder.
    who
        What to tell others: a dict with ``jid``, ``what``, ``pid``, ``since``.

    Returns None when this process now holds it, else what the holder wrote (a dict, perhaps empty).
    """
    if path in _HELD:
        return None
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
    os.pwrite(fd, json.dumps(who).encode(), 0)
    _HELD[path] = fd
    return None


def release(path):
    """Drop the lock, if this process holds it."""
    fd = _HELD.pop(path, None)
    if fd is not None:
        os.ftruncate(fd, 0)
        os.close(fd)


def held(path):
    """Whether this process holds the lock."""
    return path in _HELD


def busy(path):
    """What another process that holds the lock wrote (a dict); None when nobody else does."""
    if path in _HELD or not os.path.exists(path):
        return None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _holder(fd)
    finally:
        os.close(fd)


def _holder(fd):
    try:
        return json.loads(os.pread(fd, 4096, 0))
    except ValueError:
        return {}
