"""
globoapp as the master knows it: every server, every alert, every deploy.

For people: ``inventory``, ``alerts``, ``history``, ``metrics``. The reactors call ``globoapp_watch``.
"""

import logging
import os
import re
import time

import salt.utils.minions
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

# A server that has missed three reports is not heard of.
SILENT = 200

TEXTFILE = "/var/lib/prometheus/node-exporter/globoapp.prom"


def __virtual__():
    return "globoapp"


def _store(function, *args):
    return __utils__[f"globoapp_store.{function}"](*args)


def _servers():
    """What is known of each server; those that pillar names and that never reported are there with None."""
    known = _store("records", "servers")
    accepted = salt.utils.minions.CkMinions(__opts__).check_minions("*", "glob")["minions"]
    for minion in accepted:
        if minion not in known:
            pillar = salt.utils.minions.get_minion_data(minion, __opts__)[2]
            if pillar and "globoapp" in pillar:
                known[minion] = None
    return dict(sorted(known.items()))


def _is_silent(known):
    return known is None or time.time() - known["heard_epoch"] > SILENT


def inventory():
    """
    Every server: what stands on it, whether it is well, and when it was heard of last.

    Returns ``{host: {"version", "port", "healthy", "latency_ms", "disk": {path: percent}, "cpu": percent,
    "memory": percent available, "last_deploy": {"time", "version", "action", "result"}, "alerts":
    {probe: message}, "heard": time of the last report or None, "silent": bool}}``. The values of a
    silent server are those of its last report.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.inventory
    """
    opened, listed = _store("records", "open").values(), {}
    for host, known in _servers().items():
        report = (known or {}).get("report") or {}
        health = report.get("health") or {}
        deploys = sorted(_deploys(host), key=lambda one: one["time"])
        last = {key: deploys[-1].get(key) for key in ("time", "version", "action", "result")} if deploys else None
        heard = (known or {}).get("heard")
        listed[host] = {
            "version": report.get("version"),
            "port": report.get("port"),
            "healthy": health.get("healthy"),
            "latency_ms": health.get("latency_ms"),
            "disk": report.get("disk"),
            "cpu": report.get("cpu"),
            "memory": report.get("memory"),
            "last_deploy": last,
            "alerts": {one["probe"]: one["message"] for one in opened if one["host"] == host},
            "heard": heard,
            "silent": _is_silent(known),
        }
    return listed


def silent():
    """
    The servers that have missed three reports: ``{host: time of the last one, or None}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.silent
    """
    return {host: (known or {}).get("heard") for host, known in _servers().items() if _is_silent(known)}


def forget(host):
    """
    Take a server out of the records that is no more: its reports, its alerts and its deploys.

    Returns whether it was known.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.forget web9
    """
    with _store("exclusive"):
        known = _store("get", "servers", host) is not None
        for key in _store("keys", "open"):
            if key.rpartition(":")[0] == host:
                _store("drop", "open", key)
        for key in _store("keys", f"deploys/{host}"):
            _store("drop", f"deploys/{host}", key)
        for bank in ("servers", "healing"):
            _store("drop", bank, host)
    return known


def _time(name, value):
    """A time from the command line as the records write it: ``2026-11-23`` or ``2026-11-23T16:00``."""
    text = str(value).replace(" ", "T").rstrip("Z")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,3})?)?)?)?", text):
        raise CommandExecutionError(f"{name} is {value!r}: a day or a time in UTC, like 2026-11-23 or 2026-11-23T16:00")
    return text


def _between(kwargs, until):
    since = kwargs.pop("from", None)
    kwargs = [key for key in kwargs if not key.startswith("__")]
    if kwargs:
        raise CommandExecutionError(f"{', '.join(kwargs)}: no argument of this; there are: from, until, host")
    low = _time("from", since) if since is not None else ""
    # A day or a minute as the end means its end.
    return low, (_time("until", until) + "~" if until is not None else "~")


def alerts(until=None, host=None, **kwargs):
    """
    What is open now, and what was in a span of time.

    from, until
        Days or times in UTC (``2026-11-23``, ``2026-11-23T16:00``). With either, ``history`` lists the alerts
        that were open at some time between them.
    host
        Only those of this server.

    Returns ``{"open": [alert, ...], "history": [alert, ...]}``, oldest first; an alert is ``{"id",
    "host", "probe", "since", "until": None while open, "message", "value", "threshold", "reminders"}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.alerts
        salt-run globoapp.alerts from=2026-11-23 until=2026-11-24
    """
    wanted = bool(kwargs.get("from") or until)
    low, high = _between(kwargs, until)
    opened = [one for one in _store("records", "open").values() if host in (None, one["host"])]
    answer = {"open": sorted(opened, key=lambda one: one["since"])}
    if wanted:
        past = [*_store("records", "past", lambda key: key <= high).values(), *answer["open"]]
        answer["history"] = sorted(
            (
                one
                for one in past
                if host in (None, one["host"]) and one["since"] <= high and (one["until"] or "~") >= low
            ),
            key=lambda one: one["since"],
        )
    return answer


def _deploys(host):
    return list(_store("records", f"deploys/{host}").values())


def history(host=None, until=None, limit=50, **kwargs):
    """
    Every deploy on every server, newest first.

    host
        Only those of this server.
    from, until
        Days or times in UTC.
    limit
        How many; 0 is all.

    Returns a list of ledger lines (``deployments.jsonl``).

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.history
        salt-run globoapp.history host=web1 from=2026-11-01 limit=0
    """
    low, high = _between(kwargs, until)
    found = [
        entry
        for minion in ([host] if host else _store("keys", "servers"))
        for entry in _deploys(minion)
        if low <= entry["time"] <= high
    ]
    found.sort(key=lambda entry: entry["time"], reverse=True)
    return found[: int(limit)] if int(limit) else found


def metrics(path=TEXTFILE):
    """
    Write the inventory for node_exporter's textfile collector, whole or not at all.

    path
        The file, ending in ``.prom``; its directory must exist.

    Returns ``{"path", "servers": how many}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.metrics
        salt-run globoapp.metrics path=/var/lib/prometheus/node-exporter/globoapp.prom
    """
    directory = os.path.dirname(os.path.abspath(path))
    if not path.endswith(".prom"):
        raise CommandExecutionError(f"path is {path}: node_exporter reads files that end in .prom only")
    if not os.path.isdir(directory):
        raise CommandExecutionError(
            f"{directory} is not there: make it and start node_exporter with --collector.textfile.directory={directory}"
        )
    found = inventory()
    __utils__["globoapp_files.write"](os.path.abspath(path), __utils__["globoapp_metrics.text"](found, time.time()))
    return {"path": os.path.abspath(path), "servers": len(found)}


def alert(minion, data):
    """
    Record what a beacon says, once for each edge, and queue the notification. Called by a reactor.

    minion
        The server.
    data
        The event's data: ``{"probe", "state": "bad", "clear" or "reminder", "message", "since", "time", ...}``.

    Returns the alert, or None when it was known already.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.alert web1 '{"probe": "api", "state": "bad", "message": "a test"}'
    """
    return __salt__["globoapp_watch.alert"](minion, data)


def heal(minion, again=False):
    """
    Have a server put its recorded version back, where that is allowed now: its API is bad, and it was not
    tried 3 times in 10 minutes; the pauses grow. Called by a reactor, and again by the engine.

    minion
        The server.
    again
        Forget what was tried before, also that it was given up: for a person who has removed the cause.

    Returns ``"now"`` (it was told to), ``"wait"``, ``"over"`` (given up) or ``"well"``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp.heal web1 again=True
    """
    return __salt__["globoapp_watch.heal"](minion, again)
