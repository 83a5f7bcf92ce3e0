"""Names and addresses of a lab: pure functions of the checkout's path and the lab's name."""

import hashlib
import ipaddress
import pathlib
import re
from dataclasses import dataclass

STATE = pathlib.Path("/var/lib/globoapp-lab")
CACHE = pathlib.Path("/var/cache/globoapp-lab")
LOGS = CACHE / "log"
LOCKS = pathlib.Path("/run/globoapp-lab")

SUITES = ("bookworm", "trixie")
MAX_WEB = 200
# The machine with the database that an app may need.
DATABASE = "db"
# The machine for a load balancer before the web servers.
BALANCER = "lb"
SUBNETS = 64 * 256


@dataclass(frozen=True)
class Lab:
    """A lab: one checkout may have several, told apart by name ("" is that of `make demo`)."""

    checkout: pathlib.Path
    name: str = ""

    @property
    def hash(self):
        """Returns the lab's own 256-bit hex digest."""
        return hashlib.sha256(f"{self.checkout}\0{self.name}".encode()).hexdigest()

    @property
    def id(self):
        """Returns seven characters that name everything of this lab on the host: "g3f9a1c".

        Short, because a network interface has at most 15 characters: "vb-g3f9a1c-w200".
        """
        return f"g{self.hash[:6]}"

    @property
    def bridge(self):
        """Returns the name of the lab's bridge."""
        return f"br-{self.id}"

    @property
    def state(self):
        """Returns the directory with the disks, keys and logs of this lab's machines."""
        return STATE / self.id

    def machine(self, host):
        """Returns the name by which systemd-nspawn knows a machine: "g3f9a1c-w1", "g3f9a1c-m", "g3f9a1c-d"."""
        return f"{self.id}-{host[0]}{number(host) if role(host) == 'web' else ''}"

    def interface(self, host):
        """Returns the name of the interface on the bridge that leads to a machine: "vb-g3f9a1c-w1"."""
        return f"vb-{self.machine(host)}"

    def subnets(self):
        """Yields every /24 that a lab may use, this lab's own choice first."""
        first = int(self.hash, 16) % SUBNETS
        for step in range(SUBNETS):
            number = (first + step) % SUBNETS
            yield ipaddress.ip_network(f"10.{64 + number // 256}.{number % 256}.0/24")


def free_subnet(candidates, taken):
    """Returns the first network of `candidates` that overlaps none of `taken`.

    Args:
        candidates: iterable of ip_network.
        taken: list of ip_network that the host has an address in or a route to.

    Raises:
        ValueError: when none is left.
    """
    for network in candidates:
        if not any(network.overlaps(other) for other in taken):
            return network
    raise ValueError(f"no /24 in 10.64.0.0/10 is free: the host has routes to {', '.join(map(str, taken))}")


def address(host, subnet):
    """Returns the address (str) of a host in a subnet: .10 for master, .10 + N for webN, .211 for db, .212 for lb."""
    return str(subnet[10 + number(host)])


def gateway(subnet):
    """Returns the address (str) of the bridge, which is this machine in the lab's network."""
    return str(subnet[1])


def role(host):
    """Returns what a host is by its name: "master", "web", "db" or "lb"."""
    return host if host in ("master", DATABASE, BALANCER) else "web"


def number(host):
    """Returns the place of a host in its fleet: 0 for "master", N for "webN", and those after them for "db" and "lb".

    Raises:
        ValueError: for any other name.
    """
    if host == "master":
        return 0
    if host == DATABASE:
        return MAX_WEB + 1
    if host == BALANCER:
        return MAX_WEB + 2
    match = re.fullmatch(r"web([1-9][0-9]*)", host)
    if not match or int(match[1]) > MAX_WEB:
        raise ValueError(f"no host {host!r}: hosts are master, {DATABASE}, {BALANCER}, web1, web2 ... web{MAX_WEB}")
    return int(match[1])


def wanted_hosts(web, trixie, suite="bookworm", database=False, balancer=False):
    """Returns the hosts of a fleet and the Debian of each: {"master": "bookworm", "web1": "bookworm", ...}.

    Args:
        web: how many web servers.
        trixie: how many web servers with Debian 13 beside those; they come last.
        suite: Debian of the others.
        database: whether there is a machine with PostgreSQL.
        balancer: whether there is a machine for a load balancer.
    """
    hosts = {"master": suite}
    for number in range(1, web + trixie + 1):
        hosts[f"web{number}"] = suite if number <= web else "trixie"
    more = {DATABASE: database, BALANCER: balancer}
    return {**hosts, **{name: suite for name, wanted in more.items() if wanted}}


def hosts_file(host, addresses):
    """Returns the text of /etc/hosts on `host`, who knows every name in `addresses` ({name: address}).

    The IPv6 line for its own name spares Salt two timeouts of ten seconds when it looks for the host's names.
    """
    lines = ["127.0.0.1 localhost", f"::1 localhost ip6-localhost ip6-loopback {host}"]
    for name, ip in addresses.items():
        lines.append(f"{ip} {name}" + (" salt" if name == "master" else ""))
    return "\n".join(lines) + "\n"
