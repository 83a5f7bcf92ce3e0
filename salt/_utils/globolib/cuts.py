"""
Counts the requests that are cut when an instance ends: those that its workers have not answered when
``graceful_timeout`` is over.

Each worker keeps in its progress file how many it has in hand (gunicorn_conf.py). One that is killed cannot write any
more, so what the file held last is the number. systemd removes the file with the runtime directory: it is opened
before the instance ends and read afterwards. What it holds is the app's word: it is evidence, and decides nothing.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from globolib import processes
from globolib.layout import LIVE, Layout

MARK = "progress-"
MOST = 9999  # a worker has no more requests in hand: what says so is no count


@dataclass
class Cuts:
    """``count``: the requests that were cut so far."""

    count: int = 0

    def during(self, end: Callable[[], object], layout: Layout, release: str, role: str = LIVE) -> None:
        """Call ``end``, which ends or restarts the instance of a release in a role; count what it cut."""
        held = _opened(layout.runtime(release, role))
        try:
            end()
        finally:  # of a worker that lives nothing was cut, whatever became of the call
            for pid, descriptor in held.items():
                if processes.process(pid) is None:
                    self.count += _in_hand(descriptor)
                os.close(descriptor)


def _opened(directory: str) -> dict[int, int]:
    """A descriptor of each worker's progress file, by pid."""
    held = {}
    try:
        for name in os.listdir(directory):
            pid = name.removeprefix(MARK)
            if name.startswith(MARK) and pid.isdecimal():
                # The app may put anything there: no link is followed, and no pipe waited for.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                held[int(pid)] = os.open(os.path.join(directory, name), flags)
    except OSError:  # gone meanwhile: what is not known is not counted
        pass
    return held


def _in_hand(descriptor: int) -> int:
    """How many requests a progress file says that its worker has in hand."""
    try:
        text = os.pread(descriptor, 100, 0) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return 0
    _, _, count = text.decode("ascii", "replace").strip().partition(" ")
    return min(int(count), MOST) if count.isdecimal() else 0
