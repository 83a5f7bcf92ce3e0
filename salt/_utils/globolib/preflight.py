"""
What stands in the way of a deploy, found before anything is touched: all of it at once.

:func:`examine` asks; :func:`problems` judges, and is pure.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from globolib import accounts, artifact, files, health, limits, nginx_preflight, reach, units, virtualenv
from globolib.accounts import Accounts
from globolib.artifact import Artifact
from globolib.errors import Failure
from globolib.files import Inodes
from globolib.host import SOCKET, Host
from globolib.layout import Layout
from globolib.manifest import Manifest, worker_count
from globolib.minion import Minion
from globolib.plan import Target, target_of
from globolib.settings import Resolution, Settings
from globolib.virtualenv import Interpreter

MIB = 1 << 20
BEACON = "globoapp"
# A virtualenv of the 2020 pins is 25 MB, uv beside it 60.
VIRTUALENV_BYTES = 100 * MIB
# Files and directories: the virtualenvs of 1.0 and 2.0 have 600 and 1,350, a release a few dozen.
VIRTUALENV_FILES, RELEASE_FILES = 3000, 500
# What the unit of a release (units.py) does not let it see, with the directive.
HIDDEN = {
    "/home": "ProtectHome=yes",
    "/root": "ProtectHome=yes",
    "/run/user": "ProtectHome=yes",
    "/tmp": "PrivateTmp=yes",
    "/var/tmp": "PrivateTmp=yes",
}
# What the artifact and the interpreter are found by: where one of these is wrong neither can be asked for.
NEEDED = {"name", "root", "source", "checksum", "python", "wheels", "credentials", "ca"}


@dataclass(frozen=True)
class Examination:
    """
    What was asked for once, before anything is touched.

    artifact, interpreter
        None where it cannot be had; ``failures`` say why.
    target
        What the release needs beside its settings; None without artifact and interpreter.
    free
        Bytes that are free where the releases are.
    inodes
        The inodes there; None where its file system counts none.
    unreachable
        Why no health check could reach the service where it is to listen; else None.
    read_only
        The directories that the tree writes to and that are mounted read-only.
    notes
        What is not in the way, and a person should know.
    accounts
        What the host knows of the account and the group of the service; None where their names are wrong.
    others
        The releases that run with another account than the service is to have: ``{release: account}``.
    real_root
        ``root`` without symlinks.
    noexec
        The nearest parent of it that exists, where its file system runs no program; else empty.
    """

    artifact: Artifact | None = None
    interpreter: Interpreter | None = None
    target: Target | None = None
    free: int = 0
    inodes: Inodes | None = None
    read_only: tuple[str, ...] = ()
    unreachable: str | None = None
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    accounts: Accounts | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    real_root: str = ""
    noexec: str = ""


def examine(minion: Minion, resolution: Resolution, host: Host, published: bool = False) -> Examination:
    """
    Ask for artifact, interpreter, installer and room, each once. What a wrong setting is needed for is not asked.

    published
        Ask the source, too, whether it still has what this host has of the release.
    """
    settings, notes = resolution.settings, _unwatched(minion)
    wrong, told = ([], []) if resolution.invalid & {"proxy", "name", "root"} else nginx_preflight.examined(settings)
    failures, notes = wrong, [*notes, *told]
    state = settings.layout.state
    if os.path.isdir(state) and files.is_read_only(state):  # a deploy makes that neither better nor worse
        notes.append(f"{state} is on a file system that is mounted read-only: the app cannot write its data")
    known = None if resolution.invalid & {"name", "user", "group"} else accounts.look(settings)
    place = Examination(
        free=files.free_bytes(settings.root),
        inodes=files.inodes(settings.root),
        unreachable=health.unreachable(settings.address),
        read_only=tuple(path for path in (settings.root, settings.layout.units) if files.is_read_only(path)),
        accounts=known,
        others=_others(settings, host) if known else {},
        real_root=os.path.realpath(settings.root),
        noexec=files.noexec(settings.root),
        failures=tuple(failures),
        notes=tuple(notes),
    )
    if not settings.release or resolution.invalid & NEEDED:
        return place
    made = interpreter = target = None
    try:
        interpreter = virtualenv.interpreter(settings.python)
    except Failure as failure:
        failures.append(str(failure))
    wrong, told = reach.examined(settings, host, published)
    failures += wrong
    notes += told
    record = host.releases.get(settings.release)
    try:
        made = artifact.of(minion, settings, record, host.differences.get(settings.release, ()))
    except Failure as failure:
        failures.append(_unknown(minion, settings, host, str(failure)))
    if published and record and made:
        try:
            note = artifact.same_as_published(minion, settings, record)
            notes += [note] if note else []
        except Failure as failure:
            failures.append(str(failure))
    if made and interpreter:
        path = settings.layout.virtualenv(virtualenv.name(made.lock, interpreter))
        target = target_of(settings, made.manifest, path)
        if not made.manifest.runs_on(interpreter.version):
            wanted = f"{settings.version} wants Python {made.manifest.python}"
            failures.append(f"{wanted}, {settings.python} is {interpreter.version}")
        broken = host.virtualenv_differences.get(path)
        if virtualenv.differences(path) if broken is None else broken:
            try:
                virtualenv.installer(minion, settings, interpreter)
            except Failure as failure:
                failures.append(str(failure))
    return replace(
        place, artifact=made, interpreter=interpreter, target=target, failures=tuple(failures), notes=tuple(notes)
    )


def _unwatched(minion: Minion) -> list[str]:
    """A line where nothing watches this server, though nobody has said that it should be so."""
    beacons = [
        place for place in (minion.pillar.get("beacons"), minion.opts.get("beacons")) if isinstance(place, Mapping)
    ]
    wanted = not any(BEACON in place or place.get("enabled") is False for place in beacons)
    probes = minion.pillar_section.get("monitor")
    if isinstance(probes, Mapping):
        off = [value is False for key, value in probes.items() if key != "reminder"]
        wanted = wanted and not (off and all(off))
    # Without a master there is nobody to be told.
    if not wanted or minion.opts.get("file_client") == "local":
        return []
    return [
        f"no monitoring watches this server: its pillar brings no beacon {BEACON}. Does a target of pillar's top.sls "
        f"match the id {minion.id}? Where none is wanted, say beacons: {{enabled: false}}"
    ]


def _others(settings: Settings, host: Host) -> dict[str, str]:
    """The releases that run with another account than the settings want."""
    owners = {name: accounts.runs_as(settings, family[0].pid) for name, family in host.processes.items() if family}
    # No app runs with root: that is a process which systemd has only begun, after a crash, say.
    return {name: owner for name, owner in owners.items() if owner not in (None, "root", settings.user)}


def _unknown(minion: Minion, settings: Settings, host: Host, failure: str) -> str:
    """A failure of the artifact; where it is just not there, with the versions that are."""
    if not failure.endswith("is not there"):
        return failure
    offered = artifact.available(minion, settings)
    here = [record.version for record in host.releases.values()]
    return (
        f"version {settings.version} is unknown: {failure}. The source has {', '.join(offered) or 'no version'}; "
        f"on this host there is {', '.join(here) or 'none'}"
    )


def problems(minion_id: str, resolution: Resolution, host: Host, examined: Examination) -> list[str]:
    """
    Everything on this host that is in the way, a line each; empty when a deploy may begin.

    minion_id
        For the command that a line names.
    """
    settings, found = resolution.settings, list(resolution.problems)
    if not host.booted:
        return [*found, "systemd is not running this machine: the service is a systemd unit"]
    if not resolution.invalid & {"port", "bind", "name"}:
        found += port_problems(settings, host)
        if examined.unreachable:
            found.append(
                f"bind is {settings.bind!r}: {examined.unreachable}, so no health check can reach the service; use "
                "0.0.0.0, or an address of this host"
            )
    if "root" not in resolution.invalid:
        found += _root(settings, examined)
        found += [
            f"{path} is on a file system that is mounted read-only: nothing can be deployed or repaired before it is "
            "remounted; the kernel does that when a disk fails (dmesg)"
            for path in examined.read_only
        ]
    if examined.accounts:
        found += accounts.problems(settings, examined.accounts)
        found += _two_accounts(settings, examined)
    if examined.artifact:
        found += _one_worker(settings, examined.artifact.manifest)
        found += _tasks(settings, examined.artifact.manifest)
    if examined.target:
        found += _foreign(settings, host, examined.target)
    found += examined.failures
    if settings.release and not resolution.invalid & NEEDED:
        found += _room(minion_id, resolution, host, examined)
    return found


def _root(settings: Settings, examined: Examination) -> list[str]:
    """Whether the service can see its release where it is, and run programs there."""
    paths = {settings.root, examined.real_root}
    found = [
        f"root is {settings.root}: the service cannot see what is below {above} (its unit says {directive}); choose "
        f"another one, like /srv/{settings.name}/releases"
        for above, directive in HIDDEN.items()
        if any(path.startswith(f"{above}/") for path in paths)
    ]
    if examined.noexec:
        found.append(
            f"root is {settings.root}: the file system of {examined.noexec} is mounted noexec, so no virtualenv runs "
            "there; mount it without noexec, or choose another root"
        )
    return found


def _two_accounts(settings: Settings, examined: Examination) -> list[str]:
    """
    Whether version and account change at once. systemd gives the app's state to the account of what starts, and during
    a switch the release of before still writes it; the same release starts again by itself, without a stand-in.
    """
    return [
        f"user is {settings.user!r} and version is {settings.version!r}: {release} runs with {owner}, and could not "
        f"write the app's state any more as soon as another release starts with {settings.user}; change one after the "
        f"other: deploy {settings.version} with user {owner} first, then set user: {settings.user}"
        for release, owner in examined.others.items()
        if release != settings.release
    ]


def _one_worker(settings: Settings, manifest: Manifest) -> list[str]:
    """Whether pillar wants more workers than the version can have. ``auto`` is one worker then."""
    if not manifest.single_process or not isinstance(settings.workers, int) or settings.workers == 1:
        return []
    says = "single_process" if "single_process" in manifest.data else "workers 1, and not single_process false"
    return [
        f"workers is {settings.workers}: {settings.version} keeps its state in one process (its manifest says {says}), "
        "and each worker would have its own; set workers to 1 or auto, or remove it"
    ]


def _foreign(settings: Settings, host: Host, target: Target) -> list[str]:
    """The unit files that have the name of a background process, and that somebody else has written."""
    layout = settings.layout
    paths = [layout.process_file(layout.process(settings.release, process)) for process in target.processes]
    return [
        f"{path} was not written by this tree, and is the unit of a background process that {settings.version} wants: "
        "remove the file, or give the process another name"
        for path in paths
        if not units.is_ours(host.texts.get(path) or "")
    ]


def _tasks(settings: Settings, manifest: Manifest) -> list[str]:
    """Whether the release may have as many threads as it takes: at its trial it does not have them all yet."""
    workers = worker_count(manifest, units.gunicorn_settings(settings))
    threads = settings.threads or manifest.threads
    needed = limits.tasks_needed(workers, threads)
    if settings.tasks_max is None or settings.tasks_max >= needed:
        return []
    return [
        f"tasks_max is {settings.tasks_max}: {settings.version} takes {needed} with workers {workers} and threads "
        f"{threads}; allow as many, and more for what the app itself starts"
    ]


def _room(minion_id: str, resolution: Resolution, host: Host, examined: Examination) -> list[str]:
    """Whether so many bytes, and inodes, are free where the releases are."""
    settings, needed, new_files = resolution.settings, 0, 0
    if examined.artifact and settings.release not in host.releases:
        needed += 3 * examined.artifact.size
        new_files += RELEASE_FILES
    if examined.target and host.virtualenv_differences.get(examined.target.virtualenv, ("absent",)):
        needed += VIRTUALENV_BYTES
        new_files += VIRTUALENV_FILES
    if not needed and settings.release in host.releases:  # a rollback or a repair is the way out of a full disk
        return []
    needed += 0 if "reserve" in resolution.invalid else settings.reserve * MIB
    make = f"make room: salt '{minion_id}' globoapp.prune keep=2"
    found = []
    if examined.free < needed:
        found.append(
            f"no room on the disk of {settings.root}: {examined.free // MIB} MiB free, {needed // MIB} MiB wanted "
            f"(of these {settings.reserve} MiB to stay free, pillar reserve); {make}"
        )
    if examined.inodes and examined.inodes.free < new_files:
        found.append(
            f"no inodes on the disk of {settings.root}: {examined.inodes.free} of {examined.inodes.all} are free, "
            f"{new_files} wanted; something there has made very many files (du --inodes -x -d2), or {make}"
        )
    return found


def port_problems(settings: Settings, host: Host) -> list[str]:
    """The programs that already listen on the address and are not this app; of a path, what else is in the way."""
    layout: Layout = settings.layout
    ours = {1, *(process.pid for family in host.processes.values() for process in family)}
    own = {unit for unit, active in host.sockets(layout).items() if active}
    lines: set[str] = set()
    claim, path = settings.listen.claim, settings.listen.path
    other = "path" if path else "port"
    if host.at_path not in ("", SOCKET):
        lines.add(f"bind is {settings.bind!r}: {path} is {host.at_path}; remove it, or choose another path")
    for listener in host.listeners:
        if not listener.listen.overlaps(settings.listen) or layout.socket(listener.listen) in own:
            continue
        at = listener.listen
        who: Sequence[tuple[int | str, str]] = [(owner.pid, owner.program) for owner in listener.owners]
        for pid, program in who or [("unknown", "a program of another container")]:
            if pid not in ours:
                lines.add(
                    f"{claim} is taken: {program} (process {pid}) listens on {at}; stop it or choose another {other}"
                )
            elif pid == 1:
                lines.add(
                    f"{claim} is taken: another socket unit of systemd listens on {at} "
                    f"(systemctl list-sockets); stop it or choose another {other}"
                )
    return sorted(lines)
