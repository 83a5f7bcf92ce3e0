"""
A host as one look found it: values, from which :mod:`globolib.plan` decides what is to be done.

``look`` asks systemd once for all units of the app, reads the listening sockets once, and the processes of what runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from globolib.address import Address
from globolib.layout import LIVE, Layout
from globolib.ledger import Entry
from globolib.manifest import Manifest

# What of Host.at_path is as it should be.
SOCKET = "a socket"


@dataclass(frozen=True)
class Unit:
    """A unit as systemd shows it; properties by systemctl(1)'s names in lower case. ``pid`` is MainPID, 0 for none."""

    name: str
    active: str = "inactive"  # ActiveState
    sub: str = "dead"  # SubState
    pid: int = 0
    result: str = "success"
    file_state: str = ""  # UnitFileState
    needs_reload: bool = False
    invocation: str = ""
    status: int = 0  # ExecMainStatus: the exit code of its main process, or of systemd before it could start one

    @property
    def up(self) -> bool:
        """Up, or on its way: one that waits for its restart counts, systemd will start it again unless stopped."""
        return self.active in ("active", "activating", "reloading", "deactivating")


@dataclass(frozen=True)
class Process:
    """What a process runs: executable and working directory as /proc links them, its command line."""

    pid: int
    exe: str
    cwd: str
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Owner:
    """A process that holds a socket."""

    pid: int
    program: str


@dataclass(frozen=True)
class Listener:
    """
    A socket that listens: how many connections wait to be accepted, and who holds it (where asked). Of a unix socket
    the address is ``unix:PATH``, the port 0.
    """

    address: str
    port: int
    inode: str
    waiting: int = 0
    owners: tuple[Owner, ...] = ()

    @property
    def listen(self) -> Address:
        """Where it listens."""
        return Address.of(self.address, self.port)


@dataclass(frozen=True)
class Failed:
    """Why a release is not to be deployed again without a thought: when and why it failed, and where its log is."""

    time: str
    why: str
    log: str


@dataclass(frozen=True)
class Record:
    """What is known of a release that is complete on this host (``.globoapp/releases/PACKX_Y.json``)."""

    version: str
    sha256: str  # of its artifact
    contents: Mapping[str, str] = field(repr=False)  # path -> SHA-256
    manifest: Manifest = field(repr=False)
    lock: str = field(repr=False)  # its text
    virtualenv: str = ""  # the directory
    unpacked: str = ""
    failed: Failed | None = None


@dataclass(frozen=True)
class Host:
    """
    entries
        The ledger's lines, oldest first.
    units
        The units of the app that are loaded, by name.
    enabled
        The releases that start at boot; ``stray_links`` when one of the links does not lead to the template.
    handed
        The socket units that instances get from their next start on.
    texts
        The text of each file that the app's units and gunicorn read, by path; None where it is not there, or a secret
        that others can read.
    workers
        The workers that have loaded the app, by release: pids in ascending order.
    processes
        The main process and its descendants, by release.
    listeners
        The listening sockets on the wanted port or path and on the app's own ones, with their owners.
    at_path
        What is at the wanted path, where that is a unix socket (:func:`globolib.processes.at_path`).
    releases
        The records of the releases that are complete here, oldest version first.
    differences, virtualenv_differences
        How releases and virtualenvs differ from what was unpacked and built (empty: not at all), for the release to
        be deployed and the deployed one.
    outdated
        Why a running instance is to be started afresh: what it read at its start has changed. By release.
    real
        Real paths (no symlinks) of the directories and programs that the processes are compared with, by path.
    leftovers
        What a deploy that was cut has left: paths, units, or a phrase.
    """

    booted: bool = True
    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    entries: tuple[Entry, ...] = field(default=(), repr=False)
    units: Mapping[str, Unit] = field(default_factory=dict)
    enabled: tuple[str, ...] = ()
    stray_links: bool = False
    handed: tuple[str, ...] = ()
    texts: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    workers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    processes: Mapping[str, tuple[Process, ...]] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    at_path: str = ""
    releases: Mapping[str, Record] = field(default_factory=dict, repr=False)
    differences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    virtualenv_differences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outdated: Mapping[str, str] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    real: Mapping[str, str] = field(default_factory=dict, repr=False)

    def realpath(self, path: str) -> str:
        """A path without symlinks, where the look has asked for it; else as it is."""
        return self.real.get(path, path)

    @property
    def deployed(self) -> Entry | None:
        """The ledger line of what is deployed; None when nothing is."""
        return next((entry for entry in reversed(self.entries) if entry.succeeded), None)

    def running(self, layout: Layout, role: str = LIVE) -> tuple[str, ...]:
        """The releases whose instance in a role is up or on its way up."""
        first = layout.instance("", role).removesuffix(".service")
        return tuple(
            name.removeprefix(first).removesuffix(".service")
            for name, unit in self.units.items()
            if name.startswith(first) and unit.up
        )

    def sockets(self, layout: Layout) -> dict[str, bool]:
        """The socket units of the app that are loaded or have a file: whether each is active."""
        names = {name for name in self.units if name.endswith(".socket")}
        names |= {path.rpartition("/")[2] for path, text in self.texts.items() if path.endswith(".socket") and text}
        return {name: name in self.units and self.units[name].active == "active" for name in sorted(names)}
