"""
What the master knows, for people: every server, every alert, every deploy. A record that is not what it should be is
left out with a line in the log, and hides no other.
"""

import logging
import re
import time
from collections.abc import Collection, Mapping
from typing import Any

from globolib import ledger
from globolib.address import UNIX
from globolib.apps import DEFAULT
from globolib.errors import Failure
from globolib.monitor import incoming, thresholds
from globolib.monitor.store import Store, is_key
from globolib.monitor.watch import SILENT

log = logging.getLogger(__name__)

Record = dict[str, Any]


def _sound(records: Mapping[str, Record], *keys: str) -> list[Record]:
    """The records that have texts under these keys, and under ``until`` a text or nothing."""
    sound = []
    for name, record in records.items():
        texts = all(isinstance(record.get(key), str) for key in keys)
        if texts and isinstance(record.get("until"), (str, type(None))):
            sound.append(record)
        else:
            log.warning("the record %s is broken (it should have %s) and was left out", name, ", ".join(keys))
    return sound


def servers(store: Store, expected: Collection[str]) -> dict[str, Record | None]:
    """
    What is known of each server, by host.

    expected
        The servers that pillar names; one that never reported is there with None.
    """
    known: dict[str, Record | None] = dict(store.records("servers"))
    return dict(sorted({**dict.fromkeys(expected), **known}.items()))


def _is_silent(known: Record | None) -> bool:
    heard = incoming.number((known or {}).get("heard_epoch"))
    return heard is None or time.time() - heard > SILENT


def silent(store: Store, expected: Collection[str]) -> dict[str, str | None]:
    """The servers that have missed three reports: ``{host: time of the last one, or None}``."""
    return {host: _heard(known) for host, known in servers(store, expected).items() if _is_silent(known)}


def _heard(known: Record | None) -> str | None:
    heard = (known or {}).get("heard")
    return heard if isinstance(heard, str) else None


def _report(host: str, known: Record | None) -> Record:
    """What a server reported last, of the types that the door lets in; empty where there is no such report."""
    report = (known or {}).get("report")
    checked = incoming.report(report, _heard(known) or "") if report else {}
    if isinstance(checked, str):
        log.warning("the record servers/%s is broken and was left out: %s", host, checked)
    return checked if isinstance(checked, dict) else {}


def _is_watched(report: Mapping[str, Any]) -> bool | None:
    """Whether the server's beacon looks; None where it has not told."""
    if not report:
        return None
    looked = report.get("looked")
    return isinstance(looked, (int, float)) and looked < thresholds.UNWATCHED


def inventory(store: Store, expected: Collection[str]) -> dict[str, Record]:
    """
    Every server: what is deployed on it, whether it is well, when it was heard of last; then a line for each of its
    apps beside globoapp, under ``host/app``.
    """
    opened, listed = _sound(store.records("open"), "host", "probe"), {}
    for host, known in servers(store, expected).items():
        report = _report(host, known)
        beside = report.get("apps", {})
        deploys = sorted(_deploys(store, host), key=lambda entry: str(entry["time"]))
        alerts = [alert for alert in opened if alert["host"] == host]
        heard = {"heard": _heard(known), "silent": _is_silent(known)}
        listed[host] = {
            **_app(DEFAULT, report, report.get("time"), deploys, alerts, _held(known, DEFAULT)),
            "disk": report.get("disk"),
            "cpu": report.get("cpu"),
            "memory": report.get("memory"),
            "watched": _is_watched(report),
            **heard,
            **({"apps": sorted(beside)} if beside else {}),
        }
        for app, part in sorted(beside.items()):
            told = _app(app, part, report.get("time"), deploys, alerts, _held(known, app))
            listed[f"{host}/{app}"] = {"host": host, "app": app, **told, **heard}
    return listed


def _held(known: Record | None, app: str) -> Record | None:
    """The maintenance of an app, as people see it."""
    held = incoming.in_maintenance(known, app, time.time())
    return {key: value for key, value in held.items() if key != "left"} if held else None


def _app(
    app: str, part: Mapping[str, Any], reported: Any, deploys: list[Record], alerts: list[Record], held: Record | None
) -> Record:
    """
    What the inventory says of one app of a server.

    part, reported
        What the server's report says of it, and when that was made.
    deploys, alerts
        Those of the server.
    held
        Its maintenance.
    """
    health = part.get("health", {})
    own = [entry for entry in deploys if entry.get("app", DEFAULT) == app]
    latest, done = own[-1:], [entry for entry in own if entry.get("result") == ledger.SUCCESS][-1:]
    # A deploy is known at once, a report comes once a minute.
    newest = done[0] if done and str(done[0]["time"]) > str(reported or "") else part
    at_path = str(newest.get("address")).startswith(UNIX)
    return {
        "version": newest.get("version"),
        "port": None if at_path else newest.get("port", part.get("port")),
        **({"address": newest["address"]} if at_path else {}),
        "healthy": health.get("healthy"),
        "latency_ms": health.get("latency_ms"),
        "maintenance": held,
        "last_deploy": {key: latest[0].get(key) for key in ("time", "version", "action", "result")} if latest else None,
        "alerts": {alert["probe"]: alert.get("message", "") for alert in alerts if alert.get("app", DEFAULT) == app},
    }


def forget(store: Store, host: str) -> bool:
    """Take a server out of the records: its reports, its alerts and its deploys. Returns whether it was known."""
    if not isinstance(host, str) or not is_key(host):
        raise Failure(f"{host!r} is not the name of a server")
    with store.exclusive():
        known = store.get("servers", host) is not None
        for bank in ("open", "cleared"):
            for key in store.keys(bank):
                if key.rpartition(":")[0] == host:
                    store.drop(bank, key)
        for bank in (f"deploys/{host}", f"healing-of/{host}"):
            for key in store.keys(bank):
                store.drop(bank, key)
        for bank in ("servers", "healing", "refused"):
            store.drop(bank, host)
    return known


def _time(name: str, value: Any) -> str:
    """A time from the command line as the records write it: ``2026-11-23`` or ``2026-11-23T16:00``."""
    written = str(value).replace(" ", "T").rstrip("Z")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,3})?)?)?)?", written):
        raise Failure(f"{name} is {value!r}: a day or a time in UTC, like 2026-11-23 or 2026-11-23T16:00")
    return written


def between(arguments: Mapping[str, Any], until: Any) -> tuple[str, str]:
    """
    A span of time: from ``arguments["from"]`` to ``until``. A day or a minute as the end means its end.

    Raises Failure: not a time, or an unknown argument.
    """
    unknown = [key for key in arguments if key != "from" and not key.startswith("__")]
    if unknown:
        raise Failure(f"{', '.join(unknown)}: an unknown argument; there are: from, until, host")
    since = arguments.get("from")
    low = _time("from", since) if since is not None else ""
    return low, (_time("until", until) + "~" if until is not None else "~")


def _meant(entry: Record, host: str | None, app: str | None) -> bool:
    """Whether an alert or a deploy is of this server and this app; None: of any."""
    return host in (None, entry.get("host")) and app in (None, entry.get("app", DEFAULT))


def alerts(
    store: Store, arguments: Mapping[str, Any], until: Any = None, host: str | None = None, app: str | None = None
) -> Record:
    """
    What is open now, and with ``from`` or ``until`` what was in a span of time: ``{"open": [...], "history": [...]}``.
    """
    low, high = between(arguments, until)
    now = _sound(store.records("open"), "host", "since")
    opened = sorted((alert for alert in now if _meant(alert, host, app)), key=lambda alert: alert["since"])
    answer: Record = {"open": opened}
    if arguments.get("from") or until:
        past = [*_sound(store.records("past", lambda key: key <= high), "host", "since"), *opened]
        answer["history"] = sorted(
            (
                alert
                for alert in past
                if _meant(alert, host, app) and alert["since"] <= high and (alert.get("until") or "~") >= low
            ),
            key=lambda alert: alert["since"],
        )
    return answer


def _deploys(store: Store, host: str) -> list[Record]:
    return _sound(store.records(f"deploys/{host}"), "time", "version", "result")


def history(
    store: Store,
    arguments: Mapping[str, Any],
    host: str | None = None,
    until: Any = None,
    limit: int = 50,
    app: str | None = None,
) -> list[Record]:
    """Every deploy on every server (or on one, or of one app), newest first; ``limit`` 0 is all."""
    low, high = between(arguments, until)
    entries = [
        entry
        for minion in ([host] if host else store.keys("servers"))
        for entry in _deploys(store, minion)
        if low <= entry["time"] <= high and _meant(entry, None, app)
    ]
    entries.sort(key=lambda entry: str(entry["time"]), reverse=True)
    return entries[:limit] if limit else entries


def refused(store: Store) -> dict[str, Record]:
    """What servers sent and was not taken in: ``{host: {"count", "why", "time"}}``, the last reason of each."""
    return {
        host: {key: record.get(key) for key in ("count", "why", "time")}
        for host, record in store.records("refused").items()
    }
