"""What a server tells its master every minute: how it is, and the ledger lines that the master does not have yet."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import psutil

from globolib import files, ledger, lock
from globolib.minion import Minion
from globolib.monitor import look, probes, thresholds

# How many ledger lines go to the master at once; the rest follows with the next report.
BATCH = 50


def _acknowledged(minion: Minion) -> str:
    return look.begin(minion).layout.own_file("acknowledged.json")


def unacknowledged(minion: Minion) -> list[ledger.Entry]:
    """The ledger lines that the master has not yet said it has, oldest first."""
    entries = list(ledger.read(look.begin(minion).layout.ledger))
    try:
        known = files.read_json(_acknowledged(minion))
    except ValueError:
        known = None
    through = known.get("through") if isinstance(known, dict) else None
    places = [place for place, entry in enumerate(entries) if entry.id == through]
    return entries[places[-1] + 1 :] if places else entries


def acknowledge(minion: Minion, ids: Collection[str]) -> int:
    """
    The master has these ledger lines (their ``id``): do not send them again. Returns how many are still to be sent.
    """
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


def report(minion: Minion, health: Mapping[str, Any]) -> dict[str, Any]:
    """
    Tell the master how this server is: health, disk, processors, memory, what is open, and the ledger lines that it
    does not have yet. Event ``globoapp/report/<id>``.

    health
        What :func:`globolib.answers.health` returned.

    Returns what was sent.
    """
    memory = look.begin(minion)
    target = probes.deployed(memory)
    sent = {
        "time": ledger.now(),
        "health": dict(health),
        "version": target.version if target else None,
        "port": target.where.port if target else None,
        "disk": probes.file_systems(memory),
        "cpu": _busy(minion),
        "memory": probes.memory_available(),
        "open": look.opened(minion),
        "looked": look.last_look(memory.layout),
        "deploying": lock.holder(memory.layout.lock),
        "deploys": [dict(entry.data) for entry in unacknowledged(minion)[:BATCH]],
    }
    minion.send(f"globoapp/report/{minion.id}", sent)
    return sent
