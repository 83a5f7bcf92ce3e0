"""An artifact repository over HTTP: what a raw repository of Nexus or Artifactory, or nginx with WebDAV, answers to.

Files are asked for by GET and HEAD, and put by PUT. Credentials come from the environment or a netrc file.
"""

import hashlib
import time
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
ATTEMPTS = 5
FIRST_PAUSE = 0.5  # seconds, doubled with each attempt
CHUNK = 1 << 20
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HOW = (
    "set GLOBOAPP_REPOSITORY_TOKEN, or GLOBOAPP_REPOSITORY_USER and GLOBOAPP_REPOSITORY_PASSWORD, "
    "or have the host in ~/.netrc (NETRC names another file)"
)


class RepositoryError(Exception):
    """Something that a person has to see to; the text says what was asked, what came back, and what to do."""


class TryAgain(Exception):
    """A failure that may pass: the connection broke, or the server said that it cannot just now."""


class Token(requests.auth.AuthBase):
    """Sends a bearer token; as an auth object, because requests lets a netrc file override a header."""

    def __init__(self, token):
        self.token = token

    def __call__(self, request):
        """Adds the header to request; returns it."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def credentials(environment):
    """Returns the requests auth object that environment (a mapping) names, None to leave it to netrc.

    Raises RepositoryError where it names half of one.
    """
    prefix = "GLOBOAPP_REPOSITORY_"
    token, user, password = (environment.get(prefix + name) for name in ("TOKEN", "USER", "PASSWORD"))
    if token:
        return Token(token)
    if bool(user) != bool(password):
        given, missing = ("USER", "PASSWORD") if user else ("PASSWORD", "USER")
        raise RepositoryError(f"{prefix}{given} is set and {prefix}{missing} is not: {HOW}")
    return requests.auth.HTTPBasicAuth(user, password) if user else None


def checked_url(url):
    """Returns url (str) without its last slash; raises RepositoryError where it cannot be used, or not safely."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise RepositoryError(f"the repository's URL holds credentials, which would show in logs: {HOW}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RepositoryError(f"the repository's URL {url!r} is none: https://HOST/PATH")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise RepositoryError(f"{url} would send the credentials readable by anybody on the way: use https")
    return url.rstrip("/")


class Repository:
    """The repository at url (str, https), spoken to with auth (a requests auth object, or None for netrc)."""

    def __init__(self, url, auth=None, show=True):
        """show tells whether to draw progress bars."""
        self.url = checked_url(url)
        self.show = show
        self.session = requests.Session()
        self.session.auth = auth

    def request(self, method, name, **options):
        """Returns the answer to method (str) for the file name (str), whatever its status below 400, or 404.

        Raises TryAgain where it may pass, RepositoryError where it will not.
        """
        url = f"{self.url}/{name}"
        try:
            answer = self.session.request(method, url, timeout=TIMEOUT, allow_redirects=method != "PUT", **options)
        except requests.RequestException as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise TryAgain(f"{method} {url}: {error}") from error
            raise RepositoryError(
                f"{url}: the server's certificate is not trusted: {error}; "
                "REQUESTS_CA_BUNDLE names a file with the CA that signed it"
            ) from error
        except OSError as error:  # a CA file that is not there
            raise RepositoryError(f"{url}: {error}") from error
        if answer.status_code in (401, 403):
            raise RepositoryError(
                f"{method} {url}: HTTP {answer.status_code}: the credentials are wrong or may not do this; {HOW}"
            )
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise TryAgain(f"{method} {url}: HTTP {answer.status_code} {answer.reason}")
        if (answer.status_code >= 300 and answer.status_code != 404) or (answer.status_code == 404 and method == "PUT"):
            raise RepositoryError(
                f"{method} {url}: HTTP {answer.status_code} {answer.reason}: is that the path of a repository "
                f"that takes PUT? {answer.text[:200].strip()}"
            )
        return answer

    def patiently(self, action, *arguments):
        """Returns what action(*arguments) returns, asked again with growing pauses while it raises TryAgain.

        Raises RepositoryError after the last attempt.
        """
        for attempt in range(ATTEMPTS - 1):
            try:
                return action(*arguments)
            except TryAgain as error:
                tqdm.write(f"{error}; trying again")
                time.sleep(FIRST_PAUSE * 2**attempt)
        try:
            return action(*arguments)
        except TryAgain as error:
            raise RepositoryError(f"{error}; gave up after {ATTEMPTS} attempts, run it again later") from error

    def read(self, name):
        """Returns what the repository has as name (bytes); None where it has nothing."""
        return self.patiently(self._read, name)

    def _read(self, name):
        answer = self.request("GET", name)
        return None if answer.status_code == 404 else answer.content

    def digest(self, name):
        """Returns the sha256 (hex) of what the repository has as name (str); None where it has nothing."""
        # Artifactory says the checksum; others have to send the file.
        answer = self.patiently(self.request, "HEAD", name)
        if answer.status_code == 404:
            return None
        if "X-Checksum-Sha256" in answer.headers:
            return answer.headers["X-Checksum-Sha256"].lower()
        return hashlib.sha256(self.read(name)).hexdigest()

    def put(self, name, content):
        """Puts content (bytes) as name (str) and reads it back; raises RepositoryError where it did not arrive."""
        self.patiently(self._put, name, content)
        wanted, found = hashlib.sha256(content).hexdigest(), self.digest(name)
        if found != wanted:
            raise RepositoryError(
                f"{self.url}/{name}: sent sha256 {wanted}, and the repository now has {found or 'nothing'}: "
                "somebody else put that file, or the repository cut it; remove it there and run this again"
            )

    def _put(self, name, content):
        with tqdm(
            total=len(content), desc=name, unit="B", unit_scale=True, leave=False, disable=None if self.show else True
        ) as bar:
            self.request("PUT", name, data=Body(content, bar))


class Body:
    """Bytes to send, which tell a progress bar how far they are."""

    def __init__(self, content, bar):
        self.content = memoryview(content)
        self.bar = bar

    def __len__(self):
        """Returns the number of bytes: requests sends it as Content-Length."""
        return len(self.content)

    def __iter__(self):
        """Yields the bytes in pieces."""
        for start in range(0, len(self.content), CHUNK):
            piece = self.content[start : start + CHUNK]
            yield piece
            self.bar.update(len(piece))
