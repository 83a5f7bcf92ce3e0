"""
What the app may open connections to: the setting ``connect``, what is wrong with it, and the lines of the unit.

systemd limits by address. A port is what a deploy asks whether something answers there.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The last words of the unit's comment on what the service may do, and the lines.
_NONE = """\
It has no network of its own. (systemd-analyze security)
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
"""
# Clients are not limited by it: the connections that they open belong to the socket unit.
_SOME = """\
Of its own accord it reaches these addresses only.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SocketBindDeny=any
IPAddressDeny=any
IPAddressAllow={networks}
"""
_FORMS = "10.0.0.5, 10.0.0.0/24, 10.0.0.6:5432, fd00::1 or [fd00::1]:5432"
_WITH_PORT = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)):(?P<port>\d{1,5})\Z")
# A host's name, perhaps with a port.
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?(:\d+)?\Z")


@dataclass(frozen=True)
class Place:
    """An entry of ``connect``: the addresses, and the port of one that has one."""

    network: Network
    port: int | None = None

    @property
    def everything(self) -> bool:
        """Whether it is all of IPv4 or of IPv6."""
        return self.network.prefixlen == 0


def place(written: Any) -> Place:
    """An entry as it is meant. Raises ValueError: what is wrong with it."""
    if not isinstance(written, str):
        raise ValueError(f"a text like {_FORMS}")
    match = _WITH_PORT.match(written)
    if match:
        port = int(match["port"])
        if not 1 <= port <= 65535:
            raise ValueError("its port must be from 1 to 65535")
        return Place(_network(match["six"] or match["four"]), port)
    return Place(_network(written))


def _network(written: str) -> Network:
    try:
        interface = ipaddress.ip_interface(written)
    except ValueError:
        raise ValueError(_wrong(written)) from None
    if isinstance(interface, ipaddress.IPv6Interface) and (interface.scope_id or interface.ip.ipv4_mapped):
        raise ValueError("no zone (%eth0) and no IPv4 address in IPv6 form")
    if interface.ip.is_unspecified and interface.network.prefixlen:
        raise ValueError(f"no address that can be reached; all of IPv{interface.version} is {interface.ip}/0")
    if interface.ip != interface.network.network_address:
        raise ValueError(f"the network is {interface.network}, the address alone {interface.ip}")
    return interface.network


def _wrong(written: str) -> str:
    if re.search("[A-Za-z]", written) and _NAME.match(written):
        return "a name; systemd limits by address, so write the address that it stands for"
    return f"neither an address nor a network; write {_FORMS}"


def problems(value: Any) -> Iterator[str]:
    """Everything that is wrong with ``connect``, a line each."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        yield f"connect is a {type(value).__name__}: it must be a list of addresses, like [10.0.0.5, 10.0.0.6:5432]"
        return
    seen: set[Place] = set()
    for entry in value:
        try:
            here = place(entry)
        except ValueError as error:
            yield f"connect has {entry!r}: {error}"
            continue
        if here in seen:
            yield f"connect has {entry!r} twice"
        seen.add(here)


def places(value: Sequence[str]) -> list[Place]:
    """The entries of a ``connect`` without :func:`problems`."""
    return [place(entry) for entry in value]


def warnings(value: Sequence[str]) -> list[str]:
    """What a person should know of a ``connect`` without :func:`problems`."""
    return [
        f"connect has {here.network}: the app may reach all of IPv{here.network.version}"
        for here in places(value)
        if here.everything
    ]


def lines(value: Sequence[str]) -> str:
    """What the unit says of it, from the middle of its comment on: no network, or these addresses alone."""
    networks = dict.fromkeys(str(here.network) for here in places(value))
    return _SOME.format(networks=" ".join(networks)) if networks else _NONE
