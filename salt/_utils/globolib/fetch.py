"""
Files from where the settings say: the master's file server (salt://), an artifact repository (https://), or a
directory (file://).

Of an https address: one deadline for all of it, however slowly the server answers, and a limit of size. Credentials
are sent to the host of ``source`` and to no other; the wheels of another host are fetched without. Redirects are
followed to https only. The environment of the minion is not read: no netrc, no proxy, no other certificates.
"""

import hashlib
import os
import re
import tempfile
import threading
import urllib.parse
from typing import BinaryIO

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.util.retry import Retry

from globolib import files, text
from globolib.errors import Failure
from globolib.minion import Minion
from globolib.settings import Settings

DEADLINE = 300.0  # seconds for a file: name, connection, answers, retries and redirects together
LIMIT = 1 << 30  # bytes of a file
SUMS_LIMIT = 16 << 20  # bytes of a SHA256SUMS
# Connecting, and the longest silence while reading, in seconds: both end in better words than the deadline's.
TIMEOUT = (5, 30)
REDIRECTS = 5
RETRIES, BACKOFF = 3, 0.3  # pauses of 0, 0.6 and 1.2 s (urllib3.util.Retry)
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
SUMS = "SHA256SUMS"
_BLOCK = 1 << 18
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](\S+)\Z")  # sha256sum(1): two spaces, or a star for binary


class _Token(AuthBase):
    """A bearer token (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


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
            raise _too_large(url, limit)
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


def _too_large(url: str, limit: int) -> Failure:
    return Failure(f"{url} is larger than {limit} bytes")


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
    :func:`_transfer`, ended at the deadline. In a thread of its own: the timeouts of sockets count from byte to byte,
    and the resolver has none. One that is given up ends when it next writes to the closed file.
    """
    outcome: list[str | BaseException] = []

    def work() -> None:
        try:
            outcome.append(_transfer(settings, url, handle, limit))
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


def _transfer(settings: Settings, url: str, handle: BinaryIO, limit: int) -> str:
    """Write what ``url`` answers to ``handle``; returns its SHA-256."""
    host = urllib.parse.urlsplit(url).netloc
    digest, size = hashlib.sha256(), 0
    try:
        with _session(settings) as session, _answer(session, settings, url) as answer:
            if answer.status_code == 404:
                raise Failure(f"{url} is not there")
            if answer.status_code in (401, 403):
                raise Failure(_refused(settings, url, host, answer.status_code))
            if answer.status_code != 200:
                raise Failure(f"{url}: status {answer.status_code} {text.line(answer.reason or '', 100)}")
            told = answer.headers.get("Content-Length", "")
            if told.isdigit() and int(told) > limit:
                raise _too_large(url, limit)
            for block in answer.raw.stream(_BLOCK, decode_content=False):
                size += len(block)
                if size > limit:
                    raise _too_large(url, limit)
                digest.update(block)
                handle.write(block)
            if told.isdigit() and int(told) != size:
                raise Failure(f"{url} could not be fetched: it ended after {size} of {told} bytes")
    except ValueError as error:
        # An address or a header that is none: the words of these errors repeat it, credentials included.
        raise Failure(f"{url} could not be fetched: {type(error).__name__}") from None
    except (OSError, urllib3.exceptions.HTTPError) as error:  # RequestException is an OSError
        raise Failure(f"{url} could not be fetched: {_cause(error)}") from None
    return digest.hexdigest()


def _refused(settings: Settings, url: str, host: str, status: int) -> str:
    if settings.credentials and not _trusted(settings, url):
        return f"{url}: {host} wants credentials (status {status}), and they are sent to the host of source only"
    return f"{url}: {host} refused the credentials (status {status}): see globoapp:credentials"


def _cause(error: Exception) -> str:
    """The words of an error without the whole address of a redirect, which may be signed."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return text.line(str(reason or error), 300)


def _session(settings: Settings) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # ~/.netrc would go before the token
    session.headers["Accept-Encoding"] = "identity"  # a packed answer could unpack to any size
    retry = Retry(
        total=RETRIES,
        backoff_factor=BACKOFF,
        status_forcelist=(502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,  # the server does not say how long a deploy waits
    )
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.verify = settings.ca or (SYSTEM_CA if os.path.exists(SYSTEM_CA) else True)
    return session


def _answer(session: requests.Session, settings: Settings, url: str) -> requests.Response:
    """The answer to ``url``, redirects followed by hand: each is judged, and gets no credentials of another host."""
    target = url
    for _ in range(REDIRECTS + 1):
        answer = session.get(
            target, stream=True, timeout=TIMEOUT, allow_redirects=False, auth=_authentication(settings, target)
        )
        if not answer.is_redirect:
            return answer
        answer.close()
        target = urllib.parse.urljoin(target, answer.headers["Location"])
        parts = urllib.parse.urlsplit(target)
        if parts.scheme != "https" or "@" in parts.netloc:
            where = text.line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", 200)
            raise Failure(f"{url} is redirected to {where}: only https without credentials is followed")
    raise Failure(f"{url} is redirected more than {REDIRECTS} times")


def _authentication(settings: Settings, url: str) -> AuthBase | None:
    secret = settings.credentials
    if secret is None or not _trusted(settings, url):
        return None
    if secret.token:
        return _Token(secret.token)
    return HTTPBasicAuth(secret.user.encode(), secret.password.encode())  # UTF-8 (RFC 7617)


def _trusted(settings: Settings, url: str) -> bool:
    """Whether an address is on the host (and port) of ``source``, for which the credentials were given."""
    return _origin(url) == _origin(settings.source)


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or 443
