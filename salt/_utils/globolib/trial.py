"""The trial: a release runs beside what serves, on a private socket, before it may take a request."""

import os
import stat
import time
from collections.abc import Mapping

from globolib import files, health, observe, systemd, units
from globolib.errors import Failure
from globolib.host import Host, Unit
from globolib.layout import CANDIDATE
from globolib.manifest import worker_count
from globolib.plan import Target
from globolib.settings import Settings


def write(texts: Mapping[str, str | None]) -> list[str]:
    """Write those of the files that hold something else. Returns the paths of what changed."""
    changed = []
    for path, wanted in texts.items():
        mode = 0o600 if path.endswith(".env") else 0o644
        right = os.path.exists(path) and stat.S_IMODE(os.stat(path).st_mode) == mode
        if wanted is not None and not (right and files.read(path) == wanted):
            files.make_directory(os.path.dirname(path))
            files.write(path, wanted, mode)
            changed.append(path)
    if any(path.endswith(".service") for path in changed):
        systemd.systemctl("daemon-reload")
    return changed


def define(settings: Settings, role: str, texts: Mapping[str, str]) -> None:
    """
    Write the files that the release reads in a role other than its own, and give it the drop-ins of what serves.

    texts
        The files by path.
    """
    write(texts)
    if systemd.borrow_drop_ins(settings.layout, settings.release, role):
        systemd.systemctl("daemon-reload")


def reload_if_needed(host: Host) -> None:
    """Have systemd read its unit files again when those of this app changed on the disk."""
    if any(unit.needs_reload for unit in host.units.values()):
        systemd.systemctl("daemon-reload")


def seconds_to_prove(settings: Settings, host: Host) -> float:
    """
    Seconds that a release is watched. One that was deployed here before has shown that it lasts: a way back does not
    wait.
    """
    record = host.releases.get(settings.release)
    deployed_before = any(entry.succeeded and entry.version == settings.version for entry in host.entries)
    return 0 if record and record.failed is None and deployed_before else settings.prove


def try_candidate(settings: Settings, host: Host, target: Target) -> str:
    """
    Run the release beside what serves, on a private unix socket, and look at it: it boots, it answers as its
    manifest says, and for ``prove`` seconds it goes on doing so with the same workers.

    Returns what was seen, a phrase. Raises Failure with the release's own words; the release is marked as failed
    and its log kept.
    """
    layout, name = settings.layout, settings.release
    unit = layout.instance(name, CANDIDATE)
    record = host.releases[name]
    where = health.Unix(layout.candidate_socket(name))
    hold = seconds_to_prove(settings, host)
    workers = worker_count(record.manifest, units.gunicorn_settings(settings, CANDIDATE))
    define(settings, CANDIDATE, units.candidate_files(settings, target.wsgi))
    reload_if_needed(host)
    began, failure, unit_then = time.monotonic(), None, Unit(unit)
    try:
        systemd.systemctl("start", unit)
        state, pids = observe.wait_for_workers(settings, workers, CANDIDATE)
        booted = time.monotonic() - began
        observe.answers(settings, where, record.manifest.health)
        observe.stays(settings, where, record.manifest.health, state.pid, pids, hold, CANDIDATE)
    except (Failure, OSError) as error:
        failure, unit_then = error, observe.seen(unit)
    finally:
        observe.each(lambda: systemd.stop(unit))
    if failure:
        failed = Failure(f"{settings.version} failed its trial: {failure}")
        raise observe.evidence(settings, failed, unit_then) from failure
    return f"{name} booted in {booted:.2f} s, answered as it should, and went on for {hold:g} s"
