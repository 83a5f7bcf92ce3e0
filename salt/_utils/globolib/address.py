"""Where a service listens: an IP address and a port, or the path of a unix socket. Pure."""

import ipaddress
import re
from dataclasses import dataclass

UNIX = "unix:"
# A path as it may stand in the name and in a line of a unit: one way to write it, and no colon (see Layout.socket).
PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.-]+)+\Z")
LONGEST = 107  # bytes of a path, unix(7)

Parsed = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Address:
    """
    host, port
        Of TCP; empty and 0 of a unix socket.
    path
        Of a unix socket; else empty.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, written: str, port: int) -> "Address":
        """What ``bind`` or ``address`` and ``port`` mean together: beside ``unix:PATH`` a port means nothing."""
        return cls(path=written.removeprefix(UNIX)) if written.startswith(UNIX) else cls(written, port)

    def __str__(self) -> str:
        return f"{UNIX}{self.path}" if self.path else f"{self.host}:{self.port}"

    @property
    def claim(self) -> str:
        """What of the host it takes, for people: ``port 8000``, ``unix:/run/shop.sock``."""
        return str(self) if self.path else f"port {self.port}"

    @property
    def listen(self) -> str:
        """As systemd and nginx write it."""
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else str(self))

    def overlaps(self, other: "Address") -> bool:
        """Whether both cannot be listened on at the same time by two programs."""
        if self.path or other.path:
            return self.path == other.path
        return self.port == other.port and overlap(self.host, other.host)


def overlap(one: str, other: str, v6only: bool = False) -> bool:
    """
    Whether two IP addresses to listen on claim the same packets on a port.

    0.0.0.0 claims all of IPv4. ``::`` claims all of IPv6 and, unless ``v6only`` (net.ipv6.bindv6only), all of IPv4.
    """
    first, second = _parsed(one), _parsed(other)
    return first == second or _claims(first, second, v6only) or _claims(second, first, v6only)


def _parsed(written: str) -> Parsed:
    """The address that is meant: ``::ffff:10.0.0.1`` is IPv4, only asked for by an IPv6 socket."""
    parsed = ipaddress.ip_address(written)
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _claims(wildcard: Parsed, address: Parsed, v6only: bool) -> bool:
    if not wildcard.is_unspecified:
        return False
    return wildcard.version == address.version or (wildcard.version == 6 and not v6only)
