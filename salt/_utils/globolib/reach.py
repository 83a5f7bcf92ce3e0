"""Asks whether systemd limits what a service reaches here, and whether something answers where the app will connect."""

import errno
import select
import socket
import time
from collections.abc import Sequence

from globolib import commands, connect, units
from globolib.connect import Place
from globolib.errors import Failure
from globolib.host import Host
from globolib.settings import Settings

DEADLINE = 20  # seconds for the question to systemd
# In a unit that may reach nothing the kernel refuses to send this; 3 is that answer, and no other end of Python.
_ASK = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", 9))
except PermissionError:
    raise SystemExit(3)
"""


def examined(settings: Settings, host: Host, is_new: bool) -> tuple[list[str], list[str]]:
    """
    What is in the way of ``connect``, and what a person should know of it. Asked where it has changed, or the version:
    a repair must not wait for a database that is away.

    is_new
        Whether the version is another one than the deployed one.
    """
    template = settings.layout.unit_file(settings.layout.instance(""))
    if not settings.connect or not (is_new or host.texts.get(template) != units.release_unit(settings)):
        return [], []
    failures = []
    if host.booted and (why := unlimited(settings.python)):
        failures.append(
            f"connect is set, and systemd is not seen to limit what a service reaches on this host ({why}): the app "
            "would reach every address; allow bpf (a container's filter denies it, or the kernel has no "
            "CONFIG_CGROUP_BPF), or remove connect"
        )
    return failures, [
        f"connect: nothing answers at {said}; the deploy goes on"
        for said in unanswered(connect.places(settings.connect), settings.timeout)
    ]


def unlimited(python: str) -> str | None:
    """
    Why ``IPAddressDeny=`` does not limit a service on this host, found by a unit that tries; None where it does. Where
    the kernel or a container's filter denies systemd BPF, it starts a unit without it, and without an error.

    python
        An interpreter.
    """
    unit = ["systemd-run", "--quiet", "--wait", "--collect", "--property=IPAddressDeny=any"]
    try:
        done = commands.run([*unit, "--", python, "-I", "-S", "-c", _ASK], DEADLINE, check=False, shown=4)
    except Failure as failure:
        return str(failure)
    if done.code == 3:
        return None
    return "a unit with IPAddressDeny=any could send" if done.code == 0 else done.words or f"exit {done.code}"


def unanswered(places: Sequence[Place], seconds: float) -> list[str]:
    """
    Of the places with a port those where nothing takes a TCP connection, ``address:port: why``. All are asked at once,
    and have so many seconds together.
    """
    end = time.monotonic() + seconds
    asked = {here: _connecting(here) for here in dict.fromkeys(places) if here.port}
    said = []
    for here, (opened, code) in asked.items():
        with opened:
            if code == errno.EINPROGRESS:
                code = _outcome(opened, max(0, end - time.monotonic()))
        if code:
            at = f"[{here.network[0]}]" if here.network.version == 6 else str(here.network[0])
            said.append(f"{at}:{here.port}: {errno.errorcode.get(code, code)}")
    return said


def _connecting(here: Place) -> tuple[socket.socket, int]:
    opened = socket.socket(socket.AF_INET6 if here.network.version == 6 else socket.AF_INET)
    opened.setblocking(False)
    return opened, opened.connect_ex((str(here.network[0]), here.port))


def _outcome(opened: socket.socket, seconds: float) -> int:
    poll = select.poll()
    poll.register(opened, select.POLLOUT)
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if poll.poll(seconds * 1000) else errno.ETIMEDOUT
