"""
The settings of a deploy: defaults, pillar, what the host last recorded, and every problem at once.

Pure: no file, no process, no network.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from globolib import apps, checks, connect, hints, limits, serving
from globolib.address import UNIX, Address
from globolib.layout import Layout, release_of
from globolib.minion import Call
from globolib.proxy import Proxy
from globolib.proxy import of as proxy_of
from globolib.serving import Capacity

INNER = apps.INNER

NO_CAPACITY = Capacity()

# Parts of the same pillar that monitoring or Kubernetes own and check, and what the master alone reads.
SECTIONS = ("monitor", "notify", "credentials", "catch_up", "balancer", "kubernetes")


@dataclass(frozen=True)
class Credentials:
    """What an https repository asks for: a token, or user and password."""

    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Settings:
    """
    What one deploy is made with. One line a setting: its default. Seconds where it is a time.

    ``address`` is ``bind`` as an IP address, or ``unix:PATH``, and then ``port`` is 0; ``worker_count`` is ``workers``
    as a number; it is None where the manifest says it. ``version`` and ``address`` are empty where there is none.
    """

    name: str = "globoapp"
    version: str = ""
    port: int = 8000
    bind: str = "0.0.0.0"
    root: str = "/opt/globoHUB/desafio"
    user: str = "globoapp"
    group: str = ""  # the primary group of the user
    uid: int | None = None  # of an account that is made
    gid: int | None = None
    source: str = "salt://{name}-{version}.zip"
    checksum: str | None = None  # the SHA-256 beside the artifact
    wheels: str = "salt://wheels"
    ca: str | None = None  # the system's certificates
    python: str = "/usr/bin/python3"
    installer: str = "auto"
    keep: int | str = "all"
    prove: float = 3
    soak: float = 5
    timeout: float = 2
    deadline: float = 20
    lock_wait: float = 60
    reserve: int = 100  # MiB
    release_command: Sequence[str] | Literal[False] | None = None  # the manifest's; False is none
    release_timeout: float = 600
    processes: Mapping[str, Any] = field(default_factory=dict)  # over the manifest's; False is none
    workers: int | str | None = None  # the manifest's
    threads: int | None = None  # the manifest's
    worker_timeout: int = 30
    graceful_timeout: int = 30
    max_requests: int = 0
    max_requests_jitter: int = 0
    access_log: bool = False
    umask: str = "0077"
    memory_max: str | int | None = None  # no limit, so the next two
    cpu_quota: str | None = None
    tasks_max: int | None = None
    connect: Sequence[str] = ()  # no network
    environment: Mapping[str, str | float] = field(default_factory=dict, repr=False)
    proxy: Mapping[str, Any] | None = None  # none
    credentials: Credentials | None = field(default=None, repr=False)
    address: str = "0.0.0.0"
    worker_count: int | None = None

    @property
    def release(self) -> str:
        """The release: ``PACKX_Y``; empty without a version."""
        return release_of(self.version) if self.version else ""

    @property
    def layout(self) -> Layout:
        """Where everything of the app is."""
        return Layout(self.name, self.root)

    @property
    def front(self) -> Proxy | None:
        """The proxy in front of the app; None without one."""
        return proxy_of(self.proxy)

    @property
    def listen(self) -> Address:
        """Where the service listens."""
        return Address.of(self.address, self.port)

    @property
    def bound(self) -> str:
        """The same as pillar says it: ``eth1:8000``, ``unix:/run/shop.sock``."""
        return str(Address.of(self.bind, self.port))

    def at(self, **values: Any) -> "Settings":
        """The same settings with other values."""
        return dataclasses.replace(self, **values)

    def release_words(self, manifest: Sequence[str]) -> Sequence[str]:
        """The release command that is to be run: pillar's, or the manifest's (words); empty for nothing."""
        return manifest if self.release_command is None else self.release_command or ()

    def shown(self) -> dict[str, Any]:
        """What a person may see of them: no credentials, of ``environment`` the names only."""
        values = {
            one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name not in ("credentials",)
        }
        return {
            **values,
            "version": self.version or None,
            "port": self.port or None,
            "address": self.address or None,
            "release": self.release or None,
            "environment": sorted(self.environment),
            "connect": list(self.connect),
            "processes": dict(self.processes),
        }


# What is no setting of pillar's, or has a check of its own.
DERIVED = ("credentials", "address", "worker_count")
KNOWN = tuple(one.name for one in dataclasses.fields(Settings) if one.name not in DERIVED)


@dataclass(frozen=True)
class Resolution:
    """Settings, the keys whose values are wrong (a default stands in for each), and what to tell of them."""

    settings: Settings
    invalid: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def root_of(pillar: Mapping[str, Any], app: str = apps.DEFAULT) -> str:
    """Where the ledger of an app is, before anything else is known: pillar's ``root``, or the app's default."""
    section = pillar.get("globoapp")
    root = section.get("root") if isinstance(section, Mapping) else None
    own = Settings.root if app == apps.DEFAULT else f"/opt/globoHUB/{app}"
    return root if isinstance(root, str) else own


def resolve(
    pillar: Mapping[str, Any],
    deployed: Mapping[str, Any] | None,
    interfaces: Mapping[str, Sequence[str]],
    call: Call | None = None,
    capacity: Capacity = NO_CAPACITY,
    app: str = apps.DEFAULT,
) -> Resolution:
    """
    The settings that a deploy on this host would use.

    pillar
        The whole pillar. ``globoapp:`` holds the settings; ``version`` and ``port`` at the top level go before it
        when they came with this call: what a site's pillar holds there is other people's.
    deployed
        ``{"version", "port", "bind"}`` of the ledger line of what is deployed, or None. It fills in what the pillar
        does not name.
    interfaces
        ``{"eth0": ["10.0.0.2"], ...}``.
    call
        What was called; None where that is not known, and the whole pillar's top level counts.
    capacity
        What ``workers: auto`` goes by.
    app
        The app that this is about; any but ``globoapp`` must have a port.

    Returns a :class:`Resolution`, with all problems at once.
    """
    section, problems = _section(pillar, apps.place(app))
    defaults: dict[str, Any] = {key: getattr(Settings(), key) for key in KNOWN}
    defaults |= {"name": app, "root": root_of({}, app)}
    values = {**defaults, "version": None}
    for key in ("version", "port", "bind"):
        if deployed and deployed.get(key) is not None:
            values[key] = deployed[key]
    values.update({key: value for key, value in section.items() if key in KNOWN and value is not None})
    problems += checks.call_problems(call) if call else []
    warnings = checks.call_warnings(call) if call else []
    asked = _asked(pillar, call)
    at_path = str(values["bind"]).startswith(UNIX)
    no_port = app != apps.DEFAULT and not any(one.get("port") for one in (section, asked, deployed or {}))
    for key, value in asked.items():
        if section.get(key) is not None and section[key] != value:
            warnings.append(
                f"pillar pins {key} {section[key]}, the command line says {value}: the next "
                f"highstate goes back to {section[key]} unless the pillar is changed too"
            )
        values[key] = value
    said = None if not at_path else _called_port(pillar, call)
    if at_path:  # a port of pillar's, or one that was deployed, means nothing
        values["port"], no_port = defaults["port"], False
    if section.get("user") is None:
        values["user"] = values["name"]
    address, bind_problem = checks.address(values["bind"], interfaces)
    kept = deployed.get("address") if deployed and deployed.get("bind") == values["bind"] else None
    if kept in interfaces.get(str(values["bind"]), ()):
        address = kept  # another address of the interface came up, a passing one perhaps: what is deployed stays
    found = [
        *checks.each(values),
        ("bind", bind_problem),
        ("port", checks.NO_PORT.format(apps.place(app)) if no_port else None),
        ("port", None if said is None else checks.PORT_BESIDE_PATH.format(said, values["bind"])),
        ("credentials", checks.credentials_problem(section.get("credentials"))),
    ]
    problems += [checks.NO_VERSION] if values["version"] is None else []
    problems += [problem for _, problem in found if problem]
    invalid = frozenset(key for key, problem in found if problem)
    # What is wrong is told above and goes no further: into no path, no command, no rendered sls.
    values.update({key: defaults[key] for key in invalid if key in defaults})
    if invalid & {"name", "user"}:
        values["user"] = values["name"]
    values["version"] = values["version"] or ""
    values["port"] = 0 if str(address).startswith(UNIX) else values["port"]
    if "root" not in invalid:  # where processes run is compared with it later: one way to write it
        values["root"] = re.sub("/+", "/", values["root"]).rstrip("/")
    values["source"] = values["source"].replace("{name}", values["name"]).replace("{version}", values["version"])
    warnings += connect.warnings(values["connect"])
    memory = limits.memory_bytes(values["memory_max"], capacity.memory)
    allowed = dataclasses.replace(capacity, memory=min(capacity.memory, memory or capacity.memory))
    settings = Settings(
        **values,
        address=address or "",
        worker_count=serving.auto_workers(allowed) if values["workers"] == serving.AUTO else values["workers"],
        credentials=None if "credentials" in invalid else _credentials(section.get("credentials")),
    )
    return Resolution(settings, invalid, tuple(problems), tuple(warnings))


def _asked(pillar: Mapping[str, Any], call: Call | None) -> dict[str, Any]:
    """Version and port as they came with this call, or from a run (a rollback, healing) that made this one."""
    inner = pillar.get(INNER)
    sources = (pillar if call is None else call.pillar, inner if isinstance(inner, Mapping) else {})
    return {key: source[key] for source in sources for key in ("version", "port") if source.get(key) is not None}


def _called_port(pillar: Mapping[str, Any], call: Call | None) -> Any:
    """The port that came with this very call; None where none did."""
    top = pillar if call is None else call.pillar
    section = call.pillar.get("globoapp") if call else None
    return top.get("port") or (section.get("port") if isinstance(section, Mapping) else None)


def _section(pillar: Mapping[str, Any], place: str) -> tuple[Mapping[str, Any], list[str]]:
    """What is below ``globoapp:``, and what is wrong with its keys; ``place`` is where people have written it."""
    section = pillar.get("globoapp")
    if section is None:  # "globoapp:" with nothing below it
        return {}, []
    if not isinstance(section, Mapping):
        kind = type(section).__name__
        return {}, [f"globoapp is a {kind} in pillar: it must be a mapping with version, port, ..."]
    known, problems = [*KNOWN, *SECTIONS], []
    for key in section:
        if key not in known:
            problems.append(hints.unknown_setting(place, key, known, 2))
    return section, problems


def _credentials(section: Any) -> Credentials | None:
    return Credentials(**section) if section else None
