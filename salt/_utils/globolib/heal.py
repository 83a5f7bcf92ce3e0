"""What a server does for itself when the master tells it to: put the deployed version back, make room."""

import dataclasses
import logging
import os
import time
from typing import Any

from globolib import ledger, lock, maintenance, nginx, plan, rollback, run, systemd
from globolib.errors import Failure
from globolib.ledger import Entry
from globolib.minion import Minion
from globolib.settings import INNER, Settings

log = logging.getLogger(__name__)


def heal(minion: Minion) -> dict[str, Any]:
    """
    Put back the deployed version, on the port that is recorded: by the steps of a deploy at once, then by the states,
    which also put right what no client sees. Not while a deploy or another state run is under way.

    Sends the event ``globoapp/heal/<id>`` and returns its data: ``{"result": "healed", "failed" or "refused",
    "comment", "time"}``.
    """
    result, comment = _heal(minion)
    answer = {"result": result, "comment": comment, "time": ledger.now(), **minion.about}
    minion.send(f"globoapp/heal/{minion.id}", answer)
    return answer


def _heal(minion: Minion) -> tuple[str, str]:
    settings, entry, _ = run.deployed_settings(minion)
    if held := maintenance.current(settings.layout):
        return "refused", maintenance.refusal(minion, held)
    holder = lock.holder(settings.layout.lock)
    if holder is not None:
        return "refused", f"{holder.get('what', 'a deploy')} is under way, job id {holder.get('jid')}"
    if entry is None:
        return "refused", "nothing is deployed on this host"
    if minion.test:
        return "refused", "the minion is configured with test: True: nothing was done"
    began = time.monotonic()
    aid = repair(minion, settings, entry)
    # Named although recorded: a pin in pillar that was never deployed must not be what healing brings.
    states = minion.apply({INNER: {"version": entry.version, "port": entry.port or None, **minion.about}})
    try:
        failed = rollback.failures(states)
    except Failure as failure:
        busy = minion.busy()
        return ("refused" if busy else "failed"), str(failure)
    if failed:
        return "failed", "\n".join(failed)[:4000]
    if aid and ledger.deployed(ledger.read(settings.layout.ledger)) == entry:
        _record(minion, settings, entry, aid, time.monotonic() - began)  # the states had nothing left to do
    if isinstance(states, dict):
        aid += [str(state.get("__id__", tag)) for tag, state in states.items() if state.get("changes")]
    return "healed", f"{entry.version} was put back: {', '.join(aid) or 'nothing had to be changed'}"


def repair(minion: Minion, settings: Settings, entry: Entry) -> list[str]:
    """
    The steps of a deploy for what is deployed, at once and without the states: it serves again seconds before they
    get to it. Returns what was done, phrases; what cannot be done here the states do, or say why not.

    entry
        The ledger line of what is deployed.
    """
    pinned = {INNER: {"version": entry.version, "port": entry.port or None, **minion.about}}
    done: list[str] = []
    try:
        repairing = run.Run(dataclasses.replace(minion, pillar={**minion.pillar, **pinned}))
        with run.take_lock(minion, settings, f"repair of {entry.version}", wait=0):
            steps = repairing.steps
            if "build" in steps:
                repairing.build()
            if "unpack" in steps:
                repairing.unpack()
            if "configure" in steps:
                repairing.configure()
            done = [steps[step] for step in plan.BEFORE_SWITCH if step in steps]
            done += repairing.switch().values()
            done += nginx.repair(settings)
    except (Failure, OSError) as failure:
        log.warning("the repair at once did not help: %s", failure)
    return done


def _record(minion: Minion, settings: Settings, entry: Entry, changed: list[str], seconds: float) -> None:
    """Write the ledger line of a repair that no state run made, and tell the master."""
    kept = ("host", "name", "version", "port", "bind", "address")
    line = ledger.append(
        settings.layout.ledger,
        {
            **{key: entry.data[key] for key in kept if key in entry.data},
            **minion.about,
            "action": "repair",
            "from": entry.version,
            "jid": minion.job,
            "result": ledger.SUCCESS,
            "duration": round(seconds, 3),
            "changed": changed,
        },
    )
    minion.send(f"globoapp/deploy/{minion.id}", line)


def tidy(minion: Minion, days: int) -> dict[str, Any]:
    """
    Make room: old releases beyond pillar's ``keep``, and logs older than ``days``: those kept of failed releases
    and of release commands, and the journal's. Nothing else.

    Returns ``{"releases": what went, "logs": [paths]}``.
    """
    settings, _, _ = run.deployed_settings(minion)
    gone = []
    for directory in (settings.layout.failures, settings.layout.commands):
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            path = os.path.join(directory, name)
            if name.endswith(".log") and os.stat(path).st_mtime < time.time() - days * 86400:
                os.unlink(path)
                gone.append(path)
    systemd.vacuum(days)
    releases: dict[str, Any]
    try:
        releases = dict(rollback.pruned(minion))
    except Failure as failure:
        releases = {"problem": str(failure)}
    return {"releases": releases, "logs": gone}
