"""
Files from where the settings say: the master's file server (salt://), an artifact repository (https://), or a
directory (file://).

Of an https address: one deadline for all of it, however slowly the server answers, and a limit of size. Credentials
are sent to the host of ``source`` and to no other; the wheels of another host are fetched without. Redirects are
followed to https only. The environment of the minion is not read: no netrc, no proxy, no other certificates.
"""

import os
import re
import tempfile
import threading
import urllib.parse
from typing import BinaryIO

from globolib import files, text
from globolib.errors import Failure, too_large
from globolib.minion import Minion
from globolib.settings import Settings

DEADLINE = 300.0  # seconds for a file: name, connection, answers, retries and redirects together
LIMIT = 1 << 30  # bytes of a file
SUMS_LIMIT = 16 << 20  # bytes of a SHA256SUMS
SUMS = "SHA256SUMS"
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](\S+)\Z")  # sha256sum(1): two spaces, or a star for binary


def file(
    minion: Minion,
    settings: Settings,
    url: str,
    sha256: str | None = None,
    limit: int = LIMIT,
    deadline: float = DEADLINE,
) -> str:
    """
    The path of a local copy of a file; an https one that is there with the wanted SHA-256 is not fetched again.

    limit
        Bytes.
    deadline
        Seconds for all of an https fetch.

    Raises Failure: it is not there, cannot be fetched, is too large, or is not what ``sha256`` says.
    """
    wanted = sha256.lower() if sha256 else None
    if url.startswith("https://"):
        path = _cached(minion, url)
        try:
            if not (wanted and os.path.isfile(path) and files.sha256(path) == wanted):
                _download(settings, url, path, wanted, limit, deadline)
        except OSError as error:
            raise Failure(f"{url} could not be kept in {path}: {error.strerror or error}") from error
        return path
    path = url.removeprefix("file://") if url.startswith("file://") else minion.fetch(url)
    if not os.path.isfile(path):
        raise Failure(f"{url} is not there")
    try:
        if os.path.getsize(path) > limit:
            raise too_large(url, limit)
        if wanted:
            _check(url, files.sha256(path), wanted)
    except OSError as error:
        raise Failure(f"{url} cannot be read: {error.strerror or error}") from error
    return path


def listing(minion: Minion, settings: Settings, base: str) -> dict[str, str | None]:
    """
    The files directly below ``base``: ``{name: SHA-256 or None where it is not told}``. From the master's file
    server, the directory, or the ``SHA256SUMS`` of an https repository.

    Raises Failure: there is no ``SHA256SUMS``, or it has a line that is none.
    """
    if base.startswith("salt://"):
        prefix = base.removeprefix("salt://").strip("/")
        prefix += "/" if prefix else ""
        names = (name.removeprefix(prefix) for name in minion.names() if name.startswith(prefix))
        return dict.fromkeys(name for name in names if "/" not in name)
    if base.startswith("file://"):
        directory = base.removeprefix("file://")
        return dict.fromkeys(sorted(os.listdir(directory)) if os.path.isdir(directory) else [])
    url = f"{base.rstrip('/')}/{SUMS}"
    with open(file(minion, settings, url, limit=SUMS_LIMIT), encoding="utf-8", errors="replace") as handle:
        return _sums(url, handle.read())


def _sums(url: str, sums: str) -> dict[str, str | None]:
    offered: dict[str, str | None] = {}
    for line in filter(None, (raw.strip() for raw in sums.splitlines())):
        match = _SUM.match(line)
        if not match:
            raise Failure(f"{url} has a line that is no SHA-256 and name: {text.line(line, 100)!r}")
        digest, name = match.group(1).lower(), match.group(2)
        # A name becomes a path here and part of an address: it must stay where the list is.
        if "/" in name or ".." in name or name.startswith(".") or text.line(name) != name:
            raise Failure(f"{url} has the entry {text.line(name, 100)!r}: the name of a file beside it is wanted")
        if offered.setdefault(name, digest) != digest:
            raise Failure(f"{url} has two entries for {name}, with different SHA-256")
    return offered


def _cached(minion: Minion, url: str) -> str:
    """Where a file of an https repository is kept."""
    parts = urllib.parse.urlsplit(url)
    if {".", ".."} & set(parts.path.split("/")):
        raise Failure(f"{url} is an address with . or .. in its path")
    return os.path.join(minion.cache, "globoapp", re.sub(r"[^\w.:-]", "_", parts.netloc), parts.path.lstrip("/"))


def _check(url: str, digest: str, wanted: str) -> None:
    if digest != wanted:
        raise Failure(
            f"{url} does not match its checksum: SHA-256 is {digest}, expected {wanted}; publish it again together "
            "with its checksum"
        )


def _download(settings: Settings, url: str, path: str, wanted: str | None, limit: int, deadline: float) -> None:
    """Fetch ``url`` to ``path``, complete or not at all."""
    files.make_directory(os.path.dirname(path))
    fd, temporary = tempfile.mkstemp(prefix=".part-", dir=os.path.dirname(path))
    try:
        with os.fdopen(fd, "wb") as handle:
            digest = _within(deadline, settings, url, handle, limit)
            os.fchmod(handle.fileno(), 0o644)
        if wanted:
            _check(url, digest, wanted)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _within(deadline: float, settings: Settings, url: str, handle: BinaryIO, limit: int) -> str:
    """
    :func:`globolib.https.transfer`, ended at the deadline. In a thread of its own: the timeouts of sockets count
    from byte to byte, and the resolver has none. One that is given up ends when it next writes to the closed file.
    """
    from globolib import https  # requests takes 60 ms to load, and most deploys are served by the master

    outcome: list[str | BaseException] = []

    def work() -> None:
        try:
            outcome.append(https.transfer(settings, url, handle, limit))
        except BaseException as error:  # it belongs to the thread that waits
            outcome.append(error)

    thread = threading.Thread(target=work, name="globoapp-fetch", daemon=True)
    thread.start()
    thread.join(deadline)
    if not outcome:
        raise Failure(f"{url} could not be fetched: not complete after {deadline:g} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
