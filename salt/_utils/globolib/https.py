"""One file of an https repository, as :mod:`globolib.fetch` wants it."""

import hashlib
import os
import ssl
import urllib.parse
from typing import BinaryIO

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.util.retry import Retry

from globolib import text
from globolib.errors import Failure, too_large
from globolib.settings import Settings

# Connecting, and the longest silence while reading, in seconds: both end in better words than the deadline's.
TIMEOUT = (5, 30)
REDIRECTS = 5
RETRIES, BACKOFF = 3, 0.3  # pauses of 0, 0.6 and 1.2 s (urllib3.util.Retry)
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
_BLOCK = 1 << 18


class _Token(AuthBase):
    """A bearer token (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def transfer(settings: Settings, url: str, handle: BinaryIO, limit: int) -> str:
    """
    Write what ``url`` answers to ``handle``; returns its SHA-256.

    limit
        Bytes.

    Raises Failure: it is not there, is refused, is too large, or does not come whole.
    """
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
                raise too_large(url, limit)
            for block in answer.raw.stream(_BLOCK, decode_content=False):
                size += len(block)
                if size > limit:
                    raise too_large(url, limit)
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
    if settings.ca:
        try:
            ssl.create_default_context(cafile=settings.ca)
        except OSError as error:  # an SSLError is one
            raise Failure(
                f"ca is {settings.ca!r}: no certificates can be read from it ({error.strerror or error}); it is the "
                "path of a PEM file on the server itself, which this tree does not bring there"
            ) from None
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
