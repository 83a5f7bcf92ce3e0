"""One look at a host: asks systemd once, the kernel once, and reads what belongs to the releases that matter."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace

from globolib import files, ledger, leftovers, processes, release, started, systemd, units, virtualenv
from globolib.host import Host, Process, Record, Unit
from globolib.layout import LIVE, Layout, release_of
from globolib.settings import Settings


def survey(settings: Settings, entries: tuple[ledger.Entry, ...] | None = None) -> Host:
    """
    The host as it is now.

    entries
        The ledger, where it has been read already.
    """
    layout = settings.layout
    if entries is None:
        entries = ledger.read(layout.ledger)
    deployed = ledger.deployed(entries)
    records = release.records(layout)
    wanted = {settings.release, release_of(deployed.version) if deployed else ""}
    judged = {name: record for name, record in records.items() if name in wanted}
    host = Host(
        booted=systemd.booted(),
        interfaces=processes.interfaces(),
        entries=entries,
        releases=records,
        differences={name: release.differences(layout, name, record) for name, record in judged.items()},
        virtualenv_differences={
            path: virtualenv.differences(path) for path in {record.virtualenv for record in judged.values()}
        },
    )
    return again(settings, host)


def again(settings: Settings, host: Host) -> Host:
    """The same host after a step: what runs, listens and is defined is looked at again; releases are not."""
    layout = settings.layout
    # Named: one that is masked, or not loaded yet, is not among those that match a pattern.
    named = [layout.instance(settings.release)] if settings.release else []
    process_texts = systemd.process_texts(layout)
    background = {*settings.processes, *systemd.process_names(layout, process_texts)}
    background |= {name for record in host.releases.values() for name in record.manifest.processes}
    shown = systemd.show(layout, *named, processes=background) if host.booted else {}
    host = replace(host, units=shown)
    running = {name: shown[layout.instance(name)] for name in host.running(layout)}
    families = {name: processes.family(unit.pid) for name, unit in running.items()}
    sockets = {*(name for name in shown if name.endswith(".socket")), *systemd.socket_files(layout)}
    places = {settings.listen, *filter(None, map(layout.address_of, sockets))}
    ports, paths = {place.port for place in places}, {place.path for place in places if place.path}
    listeners = [socket for socket in processes.listeners(paths=paths) if socket.port in ports]
    return replace(
        host,
        enabled=systemd.enabled(layout),
        stray_links=systemd.stray_links(layout),
        handed=systemd.handed(layout),
        texts=_texts(settings, sockets) | process_texts,
        processes=families,
        workers={
            name: ready(layout, name, [process.pid for process in family[1:]]) for name, family in families.items()
        },
        listeners=processes.with_owners(listeners),
        at_path=processes.at_path(settings.listen.path, listeners) if settings.listen.path else "",
        outdated=_outdated(layout, host.releases, running),
        leftovers=tuple(leftovers.listed(layout, shown)),
        real=_real(layout, host.releases, families),
    )


def _marks(layout: Layout, name: str, role: str) -> list[str]:
    """The names of the files that gunicorn's hooks leave in the runtime directory of an instance."""
    try:
        return os.listdir(layout.runtime(name, role))
    except FileNotFoundError:
        return []


def ready(layout: Layout, name: str, pids: Sequence[int], role: str = LIVE) -> tuple[int, ...]:
    """Of the processes of an instance those that have loaded the app: gunicorn's hooks leave ready-<pid> for each."""
    marks = set(_marks(layout, name, role))
    return tuple(sorted(pid for pid in pids if f"ready-{pid}" in marks))


def recycled(layout: Layout, name: str, role: str = LIVE) -> set[int]:
    """The pids of the workers of an instance that ended lately because they had answered their max_requests."""
    parts = (mark.partition("-") for mark in _marks(layout, name, role))
    return {int(pid) for kind, _, pid in parts if kind == "recycled"}


def progress(layout: Layout, name: str, pid: int) -> int:
    """When a worker last took up or answered a request: CLOCK_MONOTONIC in ns; 0 where it never told."""
    noted = files.read(os.path.join(layout.runtime(name), f"progress-{pid}"))
    first = (noted or "").partition(" ")[0].strip()  # after it: the requests in hand
    return int(first) if first.isdecimal() else 0


def _texts(settings: Settings, sockets: set[str]) -> dict[str, str | None]:
    layout = settings.layout
    wanted = layout.socket(settings.listen)
    paths = [*units.unit_files(settings), layout.handed, layout.environment(settings.release)]
    texts = {path: files.read(path) for path in (*paths, *map(layout.unit_file, {*sockets, wanted}))}
    secret = layout.environment(settings.release)
    if texts[secret] is not None and stat.S_IMODE(os.stat(secret).st_mode) != 0o600:
        texts[secret] = None
    return texts


def _outdated(layout: Layout, records: Mapping[str, Record], running: Mapping[str, Unit]) -> dict[str, str]:
    reasons = {
        name: started.outdated(layout, name, records[name], unit) for name, unit in running.items() if name in records
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _real(layout: Layout, records: Mapping[str, Record], families: Mapping[str, tuple[Process, ...]]) -> dict[str, str]:
    paths = {layout.release(name) for name in records}
    for record in records.values():
        paths |= {os.path.join(record.virtualenv, "bin"), os.path.join(record.virtualenv, "bin", "python")}
    for family in families.values():
        paths |= {os.path.dirname(process.command[0]) for process in family if process.command}
    return {path: os.path.realpath(path) for path in paths if path.startswith("/")}
