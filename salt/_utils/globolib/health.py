"""
One HTTP question to the service, over TCP or over the private unix socket of a candidate, and what its answer is worth.

http.client and not requests: requests speaks no AF_UNIX, has no deadline for a whole answer, and this asks every 20 ms.
"""

import http.client
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from globolib import files, text
from globolib.address import UNIX, Address
from globolib.manifest import Health

MOST = 65536  # bytes of an answer's body that are read
# What a path ends with that asks for something that must not be there (the manifest of 1.0).
ABSENT = "globoapp-health-check"
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# Whether sockets of :: take IPv6 only; not there where the kernel has no IPv6.
V6ONLY = "/proc/sys/net/ipv6/bindv6only"
INTERVAL, PATIENCE = 0.02, 5  # of a probe, in seconds: from question to question, and for each answer
# What asking raises when no HTTP answer came. http.client lets a ValueError through for some malformed ones.
NO_ANSWER = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True)
class Tcp:
    """A TCP address: ``host`` is an IP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"http://{self.at}"

    @property
    def at(self) -> str:
        """As nginx writes it."""
        return Address(self.host, self.port).listen


@dataclass(frozen=True)
class Unix:
    """A unix socket by its path."""

    path: str

    def __str__(self) -> str:
        return f"{self.at}:"

    @property
    def at(self) -> str:
        """As nginx writes it."""
        return f"{UNIX}{self.path}"


@dataclass(frozen=True)
class Tls(Tcp):
    """
    A proxy: https, with the first certificate of a file and no other one.

    name
        What it is asked as; empty where it takes every name.
    also
        Another certificate that it may show, as PEM: that of before a renewal.
    """

    certificate: str
    name: str = ""
    also: str = field(default="", repr=False)

    def __str__(self) -> str:
        return super().__str__().replace("http:", "https:", 1)


Where = Tcp | Unix


def where(address: Address) -> Where:
    """Where to ask, from this host, a service that listens on ``address``: a wildcard is asked on loopback."""
    if address.path:
        return Unix(address.path)
    if address.host == "::" and not _has_loopback6():  # such a socket takes IPv4 too
        return Tcp("127.0.0.1", address.port)
    return Tcp(WILDCARDS.get(address.host, address.host), address.port)


def knock(place: Where, timeout: float) -> None:
    """Connect, and say nothing. Raises OSError."""
    if isinstance(place, Tcp):
        socket.create_connection((place.host, place.port), timeout).close()
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        client.connect(place.path)


def unreachable(address: str) -> str | None:
    """Why a service that listens on ``address`` cannot be asked from this host, a phrase; None where it can."""
    if address != "::" or _has_loopback6():
        return None
    v6only = files.read(V6ONLY)
    if v6only is None:
        return "the kernel of this host has no IPv6"
    return None if v6only.strip() == "0" else "this host has no address ::1, and net.ipv6.bindv6only keeps IPv4 out"


def _has_loopback6() -> bool:
    """Whether ::1 is an address of this host: IPv6 may be off, or taken from lo."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def path_of(health: Health) -> str:
    """
    The path to ask, to be called anew for each question.

    A path that relies on something not being there gets a random end: what a client could create under a known name,
    it would make every health check fail with.
    """
    return f"{health.path}-{uuid.uuid4().hex}" if health.path.endswith(ABSENT) else health.path


@dataclass(frozen=True)
class Answer:
    """``body`` is harmless text of one line; ``seconds`` from the start of connecting to the end of the answer."""

    status: int
    body: str
    seconds: float


def _left(ends: float) -> float:
    """The seconds until a time. Raises TimeoutError: none are."""
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Socket(socket.socket):
    """A socket whose operations all end at one time: each may last for what is left until then."""

    ends = 0.0

    def allot(self) -> None:
        """Let the next operation last for what is left. Raises TimeoutError: nothing is."""
        self.settimeout(_left(self.ends))

    def sendall(self, *arguments: Any) -> None:
        """As socket.sendall; its timeout is one for all that is sent."""
        self.allot()
        super().sendall(*arguments)

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """As socket.recv_into; the file that http.client reads an answer from calls it for each piece."""
        self.allot()
        return super().recv_into(*arguments, **options)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    ends = 0.0

    def sendall(self, *arguments: Any) -> None:
        """As ssl.SSLSocket.sendall."""
        self.settimeout(_left(self.ends))
        super().sendall(*arguments)

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """As ssl.SSLSocket.recv_into."""
        self.settimeout(_left(self.ends))
        return super().recv_into(*arguments, **options)


class OtherCertificate(OSError):
    """A proxy shows another certificate than its file holds."""


def tls_context(certificate: str, check_name: bool, also: str = "") -> ssl.SSLContext:
    """
    What a client needs that trusts the first certificate of a file, and no CA.

    also
        Another one, as PEM; then the file need not be there.

    Raises OSError (ssl.SSLError is one), ValueError: the file holds none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_name
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=first_certificate(certificate))
    except (OSError, ValueError):
        if not also:
            raise
    if also:
        context.load_verify_locations(cadata=also)
    return context


# What OpenSSL says of a certificate that it was not told to trust: X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT and so on.
STRANGE = (18, 19, 20, 21)


def _over_tls(connected: socket.socket, place: Tls, ends: float) -> socket.socket:
    context = tls_context(place.certificate, bool(place.name), place.also)
    context.sslsocket_class = _TlsSocket
    wrapped = context.wrap_socket(connected, server_hostname=place.name or None, do_handshake_on_connect=False)
    assert isinstance(wrapped, _TlsSocket)
    wrapped.ends = ends
    try:
        wrapped.settimeout(_left(ends))
        wrapped.do_handshake()
    except ssl.SSLCertVerificationError as error:
        wrapped.close()
        if error.verify_code in STRANGE:
            raise OtherCertificate(f"it shows another certificate than {place.certificate} holds") from error
        raise
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def first_certificate(path: str) -> str:
    """The first certificate of a PEM file, as PEM. Raises OSError, or ValueError: there is none."""
    with open(path, encoding="ascii", errors="replace") as handle:
        held = handle.read()
    begin, end = held.find(ssl.PEM_HEADER), held.find(ssl.PEM_FOOTER)
    if not 0 <= begin < end:
        raise ValueError(f"{path} holds no certificate")
    return held[begin : end + len(ssl.PEM_FOOTER)] + "\n"


class _Connection(http.client.HTTPConnection):
    """HTTP over a :class:`_Socket`."""

    def __init__(self, place: Where, ends: float) -> None:
        super().__init__((place.name if isinstance(place, Tls) else "") or getattr(place, "host", "localhost"))
        self.place, self.ends = place, ends

    def connect(self) -> None:
        """Called by http.client before the first byte."""
        place = self.place
        family = socket.AF_UNIX if isinstance(place, Unix) else socket.AF_INET6 if ":" in place.host else socket.AF_INET
        connected = self.sock = _Socket(family, socket.SOCK_STREAM)
        connected.ends = self.ends
        connected.allot()
        connected.connect(place.path if isinstance(place, Unix) else (place.host, place.port))
        if isinstance(place, Tls):
            self.sock = _over_tls(connected, place, self.ends)


def ask(place: Where, path: str, deadline: float, headers: Mapping[str, str] | None = None) -> Answer:
    """
    GET ``path`` once.

    deadline
        Seconds for all of it: connecting, sending and the whole answer, however slowly it drips.

    Raises OSError (TimeoutError past the deadline), http.client.HTTPException or ValueError when no HTTP answer came.
    """
    started = time.monotonic()
    connection = _Connection(place, started + deadline)
    try:
        connection.request("GET", path, headers=_headers(headers or {}))
        with connection.getresponse() as response:
            body = response.read(MOST)
            if response.length and len(body) < MOST:
                raise http.client.IncompleteRead(body, response.length)
    finally:
        connection.close()
    return Answer(response.status, text.line(body, MOST), time.monotonic() - started)


def _headers(more: Mapping[str, str]) -> dict[str, str]:
    """Our own headers and these, which go before ours whatever the case of their names."""
    given = {name.lower() for name in more}
    ours = {"Connection": "close", "User-Agent": "globoapp-health"}
    return {**{name: value for name, value in ours.items() if name.lower() not in given}, **more}


def judge(answer: Answer, health: Health) -> str | None:
    """What is wrong with an answer: a phrase that holds what was seen; None when it is as it should be."""
    shown = repr(answer.body.strip()[:200])
    if answer.status != health.status:
        return f"status {answer.status} instead of {health.status}, body: {shown}"
    if not health.json:
        return None
    try:
        body = json.loads(answer.body)
        if not isinstance(body, dict):
            return f"the body is not a JSON object: {shown}"
        wrong = [
            f"{key} is {repr(body.get(key))[:200]} instead of {value!r}"
            for key, value in health.json.items()
            if body.get(key) != value
        ]
    except ValueError:
        return f"the body is not JSON: {shown}"
    except RecursionError:
        return f"the body is JSON that is nested too deeply: {shown}"
    return "; ".join(wrong) or None


def once(place: Where, health: Health, deadline: float) -> tuple[str | None, Answer | None]:
    """
    Ask and judge: ``(problem, answer)``. The problem is None when healthy, the answer None when there was none.

    deadline
        Seconds for all of it.
    """
    try:
        answer = ask(place, path_of(health), deadline, health.headers)
    except NO_ANSWER as error:
        return f"no answer: {_words(error)}", None
    return judge(answer, health), answer


def _words(error: Exception) -> str:
    return text.line(f"{type(error).__name__}: {error}")


class Probe(threading.Thread):
    """
    Asks the service at a steady pace while a deploy switches, and counts what it saw.

    A request counts as failed when no answer came or its status is 500 or above: what a client would call an outage.
    """

    def __init__(self, place: Where, health: Health) -> None:
        super().__init__(name="globoapp-probe", daemon=True)
        self._place, self._health = place, health
        self._over = threading.Event()
        self.sent = self.failed = 0
        self._longest_gap = 0.0  # seconds between two good answers
        self._first_failure: str | None = None

    def run(self) -> None:
        """Ask until :meth:`finish` is called."""
        last_good = time.monotonic()
        while not self._over.is_set():
            begun = time.monotonic()
            self.sent += 1
            failure = self._failure()
            now = time.monotonic()
            if failure:
                self.failed += 1
                self._first_failure = self._first_failure or failure
            else:
                self._longest_gap, last_good = max(self._longest_gap, now - last_good), now
            self._over.wait(max(0, INTERVAL - (now - begun)))
        if self.failed:
            self._longest_gap = max(self._longest_gap, time.monotonic() - last_good)

    def _failure(self) -> str | None:
        try:
            status = ask(self._place, path_of(self._health), PATIENCE, self._health.headers).status
        except NO_ANSWER as error:
            return _words(error)
        return f"status {status}" if status >= 500 else None

    def finish(self) -> dict[str, Any]:
        """
        Stop asking.

        Returns ``{"sent": int, "failed": int, "longest_gap_ms": float}``, the gap between two good answers, with
        ``first_failure`` when there was one.
        """
        self._over.set()
        self.join(PATIENCE + 1)
        figures = {"sent": self.sent, "failed": self.failed, "longest_gap_ms": round(self._longest_gap * 1000, 1)}
        return {**figures, "first_failure": self._first_failure} if self._first_failure else figures


def start(place: Where, health: Health) -> Probe:
    """Start a :class:`Probe` that asks every 20 ms; call its ``finish()`` for the figures."""
    probe = Probe(place, health)
    probe.start()
    return probe
