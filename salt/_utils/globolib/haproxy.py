"""HAProxy on this machine, by its runtime socket: which servers it has, taking one out, taking one back."""

import csv
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from globolib import balancer, files, lock, text, waiting
from globolib.errors import Failure

# Where Debian's package has it.
SOCKET = "/run/haproxy/admin.sock"
CONFIG = "/etc/haproxy/haproxy.cfg"
# The first line of a configuration that this tree has written.
WRITTEN = "# Written by Salt: globoapp_balancer."
# Seconds for one question to HAProxy.
DEADLINE = 5
# So much is read of an answer: that of some ten thousand servers.
MOST = 8 * 2**20
# Two servers must not be taken out at the same moment, each in the belief that the other one is left.
LOCK = "/run/globoapp-balancer.lock"


@dataclass(frozen=True)
class Seen:
    """
    What HAProxy says of a server.

    status
        Its word: ``UP``, ``DOWN``, ``DRAIN``, ``MAINT``, ``no check`` ...; ``UP 1/3`` is on its way down.
    sessions
        Requests that it is busy with, those that wait for it included.
    why
        What its last health check saw: ``L7STS/503``.
    """

    status: str
    sessions: int
    why: str = ""

    @property
    def takes(self) -> bool:
        """Whether it is given requests."""
        return self.status.startswith(("UP", "no check"))

    @property
    def words(self) -> str:
        """The status with the reason."""
        return f"{self.status} ({self.why})" if self.why and not self.takes else self.status


def ask(question: str, path: str = SOCKET) -> str:
    """
    What HAProxy answers to a line on its runtime socket. Raises Failure: it does not run, nobody listens, it may not be
    asked, or there is no end within ``DEADLINE`` seconds.
    """
    until = time.monotonic() + DEADLINE
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(DEADLINE)
            line.connect(path)
            line.sendall(question.encode() + b"\n")
            return b"".join(_parts(line, until)).decode("utf-8", "replace")
    except (FileNotFoundError, ConnectionRefusedError):
        raise Failure(
            f"nobody listens at {path}: HAProxy does not run (systemctl status haproxy), or its configuration has no "
            f"'stats socket {path} level admin'"
        ) from None
    except PermissionError:
        raise Failure(f"{path} may not be opened by this process: the minion must run as root") from None
    except (TimeoutError, OSError) as error:
        raise Failure(f"HAProxy does not answer at {path}: {text.line(str(error))}") from error


def _parts(line: socket.socket, until: float) -> Iterator[bytes]:
    size = 0
    while part := line.recv(65536):
        yield part
        size += len(part)
        if size > MOST:
            raise OSError(f"more than {MOST} bytes")
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError(f"no end after {DEADLINE} s")
        line.settimeout(left)


def servers(backend: str, path: str = SOCKET) -> dict[str, Seen]:
    """What HAProxy says of each server of a backend, by name. Raises Failure where there is no such backend."""
    _checked("backend", backend)
    rows = list(csv.DictReader(ask("show stat", path).removeprefix("# ").splitlines()))
    if not rows or not {"pxname", "svname", "status", "scur", "qcur"} <= rows[0].keys():
        said = text.line(", ".join(rows[0]) if rows else "", 200)
        raise Failure(f"{path} does not answer as HAProxy does: {said or 'nothing'}")
    own = [row for row in rows if row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")]
    if not own:
        there = sorted({row["pxname"] for row in rows if row["svname"] == "BACKEND"})
        raise Failure(f"HAProxy has no backend {backend} with servers; there are: {text.line(', '.join(there)) or '-'}")
    return {row["svname"]: _seen(row) for row in own}


def _seen(row: dict[str, str]) -> Seen:
    why = [str(row.get("check_status") or "").lstrip("* "), str(row.get("check_code") or "")]
    count = sum(int(row[key]) for key in ("scur", "qcur") if str(row[key]).isdigit())
    return Seen(text.line(row["status"], 80), count, text.line("/".join(filter(None, why)), 80))


def _checked(what: str, name: Any) -> None:
    if not isinstance(name, str) or not balancer.NAME.match(name):
        raise Failure(f"{what} is {name!r}: a name of HAProxy is letters, digits and _.:-")


def _one(backend: str, server: str, path: str) -> tuple[Seen, dict[str, Seen]]:
    _checked("server", server)
    there = servers(backend, path)
    if server not in there:
        raise Failure(f"HAProxy has no server {server} in backend {backend}; there are: {', '.join(there)}")
    return there[server], there


def _set(backend: str, server: str, state: str, path: str) -> None:
    said = ask(f"set server {backend}/{server} state {state}", path).strip()
    if said:
        raise Failure(f"HAProxy does not set {backend}/{server} to {state}: {text.line(said, 200)}")


def _alone(path: str, seconds: float = 10) -> lock.Lock:
    taken = lock.acquire(path, seconds, {"pid": os.getpid()})
    if isinstance(taken, lock.Lock):
        return taken
    raise Failure(f"another process holds {path}: {taken.get('pid', 'unknown')}")


def drain(backend: str, server: str, wait: float, path: str = SOCKET, guard: str = LOCK) -> dict[str, Any]:
    """
    Have HAProxy give a server no more requests, and wait until it has none left, at most ``wait`` seconds. The last one
    of a backend that takes requests keeps them, and so does one that a person has put into maintenance: no failure.

    Returns ``{"drained": whether it gets no requests because of this, "sessions": how many are left, "comment"}``.
    Raises Failure.
    """
    with _alone(guard):
        seen, there = _one(backend, server, path)
        if seen.status.startswith("MAINT"):
            return {"drained": False, "sessions": seen.sessions, "comment": f"{server} is in maintenance: left so"}
        if not any(other.takes for name, other in there.items() if name != server):
            only = f"{server} keeps its requests: no other server of {backend} takes any"
            return {"drained": False, "sessions": seen.sessions, "comment": only}
        _set(backend, server, "drain", path)
    waiting.until(lambda: _one(backend, server, path)[0].sessions == 0 or None, wait, first=0.1, most=0.5)
    left = _one(backend, server, path)[0].sessions
    told = f", and {left} requests have not ended in {wait:g} s" if left else ""
    return {"drained": True, "sessions": left, "comment": f"{server} is drained{told}"}


def ready(backend: str, server: str, wait: float, path: str = SOCKET) -> dict[str, Any]:
    """
    Have HAProxy give a server requests again, and wait until it finds it well, at most ``wait`` seconds; with 0 its
    health check decides later. One that a person has put into maintenance is left there.

    Returns ``{"status": HAProxy's word, "comment"}``. Raises Failure: it is not well in time.
    """
    seen, _ = _one(backend, server, path)
    if seen.status.startswith("MAINT"):
        return {"status": seen.status, "comment": f"{server} is in maintenance: left so"}
    _set(backend, server, "ready", path)
    if wait and not waiting.until(lambda: _one(backend, server, path)[0].takes or None, wait, first=0.1, most=0.5):
        seen, _ = _one(backend, server, path)
        raise Failure(f"HAProxy gives {backend}/{server} no requests: {seen.words} after {wait:g} s")
    seen, _ = _one(backend, server, path)
    return {"status": seen.status, "comment": f"{server} is taken back: {seen.words}"}


def shown(backend: str, path: str = SOCKET) -> dict[str, dict[str, Any]]:
    """``{server: {"status", "sessions", "check"}}`` of a backend. Raises Failure."""
    return {
        name: {"status": seen.status, "sessions": seen.sessions, "check": seen.why}
        for name, seen in servers(backend, path).items()
    }


def foreign(packaged: str, path: str = CONFIG) -> str | None:
    """
    Why a configuration of HAProxy is not to be overwritten; None where it is this tree's, Debian's own, or not there.

    packaged
        What dpkg knows of the package's files of configuration: a line each, path and MD5.
    """
    held = files.read(path)
    if held is None or held.startswith(WRITTEN):
        return None
    digest = hashlib.md5(held.encode(), usedforsecurity=False).hexdigest()
    if [path, digest] in [line.split()[:2] for line in packaged.splitlines()]:
        return None
    return (
        f"{path} was not written by this tree, and is not the one of Debian's package: it is left alone. Keep it, and "
        f"use globoapp_balancer.drain and .ready by the setting balancer; or move it away"
    )
