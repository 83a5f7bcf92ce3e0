"""What a server tells its master every minute: how it is, and the ledger lines that the master does not have yet."""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import psutil

from globolib import files, ledger, lock, maintenance
from globolib.apps import DEFAULT, subject
from globolib.minion import Minion
from globolib.monitor import look, probes, thresholds

# How many ledger lines go to the master at once; the rest follows with the next report.
BATCH = 50
# What a report says of ``globoapp`` where pillar has other apps only.
NOTHING: Mapping[str, Any] = {
    "health": {"healthy": False, "version": None},
    "version": None,
    "port": None,
    "deploying": None,
    "maintenance": None,
}


def _acknowledged(minion: Minion) -> str:
    return look.layout(minion).own_file("acknowledged.json")


def unacknowledged(minion: Minion) -> list[ledger.Entry]:
    """The ledger lines that the master has not yet said it has, oldest first."""
    entries = list(ledger.read(look.layout(minion).ledger))
    try:
        known = files.read_json(_acknowledged(minion))
    except ValueError:
        known = None
    through = known.get("through") if isinstance(known, dict) else None
    places = [place for place, entry in enumerate(entries) if entry.id == through]
    return entries[places[-1] + 1 :] if places else entries


def acknowledge(minion: Minion, ids: Collection[str]) -> int:
    """
    The master has these ledger lines (their ``id``), of whatever app: do not send them again. Returns how many are
    still to be sent.
    """
    return sum(_acknowledge(minion.for_app(name), ids) for name in minion.apps)


def _acknowledge(minion: Minion, ids: Collection[str]) -> int:
    left = unacknowledged(minion)
    through = None
    while left and left[0].id in ids:
        through = left.pop(0).id
    if through:
        files.write_json(_acknowledged(minion), {"through": through})
    return len(left)


def _busy(minion: Minion) -> float | None:
    """How busy the processors were since the report before, in percent."""
    path, now = os.path.join(minion.cache, "globoapp_cpu.json"), dict(psutil.cpu_times()._asdict())
    try:
        before = files.read_json(path)
    except ValueError:
        before = None
    try:
        files.write_json(path, now)
    except OSError:  # a full disk must not keep the report about it from going out
        before = None
    # The first report after a boot has nothing to compare with: since the boot, then.
    comparable = isinstance(before, dict) and before.get("idle", now["idle"] + 1) <= now["idle"]
    return thresholds.busy_percent(before if comparable else dict.fromkeys(now, 0), now)


def report(minion: Minion, health: Callable[[Minion], Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """
    Tell the master how this server is: the health of its apps, disk, processors, memory, what is open, and the ledger
    lines that it does not have yet. Event ``globoapp/report/<id>``.

    health
        :func:`globolib.answers.health`, which is asked of each app.

    Returns what it answered, by app.
    """
    each = {name: minion.for_app(name) for name in minion.apps}
    healths = {name: health(app) for name, app in each.items()}
    parts = {name: _part(app, healths[name]) for name, app in each.items()}
    lines = [dict(entry.data) for app in each.values() for entry in unacknowledged(app)[:BATCH]]
    memory = look.begin(each[minion.apps[0]])
    own, looked = parts.pop(DEFAULT, NOTHING), look.last_look(memory.layout)
    # What a beacon that was switched off had found is not known to be so any more, and nobody would say that it ended:
    # the master would heal it until it gave up.
    blind = looked is not None and looked >= thresholds.UNWATCHED
    sent = {
        "time": ledger.now(),
        **own,
        "disk": probes.file_systems(memory),
        "cpu": _busy(minion),
        "memory": probes.memory_available(),
        "open": {
            subject(probe, name): track
            for name, app in each.items()
            for probe, track in ({} if blind else look.opened(app)).items()
        },
        "looked": looked,
        "deploys": lines[:BATCH],
        **({"apps": parts} if parts else {}),
    }
    minion.send(f"globoapp/report/{minion.id}", sent)
    return healths


def _part(minion: Minion, health: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of one app."""
    memory = look.begin(minion)
    target = probes.deployed(memory)
    held = maintenance.current(memory.layout)
    return {
        "health": dict(health),
        "version": target.version if target else None,
        "port": target.listen.port or None if target else None,
        **({"address": str(target.listen)} if target and target.listen.path else {}),
        "deploying": lock.holder(memory.layout.lock),
        "maintenance": held.shown if held else None,
    }
