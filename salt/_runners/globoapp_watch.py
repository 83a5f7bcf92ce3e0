"""
The decisions of monitoring on the master: what becomes an alert, when to heal, what was deployed.

The reactors call these, one each; the engine ``globoapp`` calls ``tend``.
"""

import logging
import time
import uuid
from datetime import datetime, timezone

import salt.client

log = logging.getLogger(__name__)

# What a beacon may report on (its own failure is "monitor"), and what the master finds out itself.
BEACON = ("api", "disk", "cpu", "memory", "monitor")
OWN = ("health", "healing", "silent")

# Days that the past is kept.
KEEP = 400

# Seconds until a server that refused to be healed (a deploy is under way) is asked again.
REFUSED = 10


def __virtual__():
    return "globoapp_watch"


def _store(function, *args):
    return __utils__[f"globoapp_store.{function}"](*args)


def _now():
    return __utils__["globoapp_ledger.now"]()


def _tell(minion, function, *args):
    """Have a minion do something, without waiting for it."""
    with salt.client.get_local_client(mopts=__opts__) as client:
        client.cmd_async(minion, function, list(args))


def alert(minion, data):
    """
    Record an edge. See :func:`globoapp.alert`.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.alert web1 '{"probe": "disk", "state": "clear", "message": "a test"}'
    """
    probe, state = data.get("probe"), data.get("state")
    if probe not in BEACON or state not in ("bad", "clear", "reminder"):
        raise ValueError(f"{minion} sent an alert of probe {probe!r}, state {state!r}: neither is known")
    return _edge(minion, probe, state, data)


def _edge(minion, probe, state, data):
    key, now = f"{minion}:{probe}", data.get("time") or _now()
    with _store("exclusive"):
        known = _store("get", "open", key)
        if state == "clear":
            if known is None:
                return None
            known.update(until=now)
            _store("put", "past", f"{known['since']}-{known['id']}", known)
            _store("put", "cleared", key, {"until": now})
            _store("drop", "open", key)
        elif known is None:
            known = {
                "id": uuid.uuid4().hex,
                "host": minion,
                "probe": probe,
                "since": data.get("since") or now,
                "until": None,
                "reminders": 0,
            }
            state = "bad"
        elif state == "reminder":
            known["reminders"] += 1
        else:
            return None
        known.update({key_: data.get(key_) for key_ in ("value", "threshold")}, message=str(data.get("message", "")))
        if state != "clear":
            _store("put", "open", key, known)
        _store("put", "queue", f"{time.time_ns():020d}-{known['id']}", {"alert": known, "state": state, "time": now})
    log.log(
        logging.INFO if state == "clear" else logging.WARNING, "%s %s %s: %s", minion, probe, state, known["message"]
    )
    if probe == "api" and state == "clear":
        _forget_healing(minion)
    return known


def _forget_healing(minion):
    """The API is back: a next death may be healed afresh, within the same 10 minutes' allowance."""
    if _store("get", "open", f"{minion}:healing"):
        _edge(minion, "healing", "clear", {"message": "the API answers again"})
    with _store("exclusive"):
        known = _store("get", "healing", minion)
        if known:
            _store("put", "healing", minion, {**known, "gave_up": False, "not_before": 0})


def heal(minion, again=False):
    """
    Heal where that is allowed now. See :func:`globoapp.heal`.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.heal web1
    """
    fresh = {"attempts": [], "not_before": 0, "gave_up": False, "last": ""}
    with _store("exclusive"):
        known = fresh if again else healing(minion)
        if not _store("get", "open", f"{minion}:api"):
            if again:
                _store("put", "healing", minion, known)
            return "well"
        # What could not be healed is left to a person. What could, and died too often, may be healed
        # again when the 10 minutes have passed.
        if known["gave_up"] and not known["last"].startswith("healed"):
            return "over"
        now = time.time()
        answer = __utils__["globoapp_healing.decide"](known["attempts"], known["not_before"], now)
        if answer == "now":
            known["attempts"] = [*known["attempts"], now][-10:]
        known["gave_up"] = known["gave_up"] or answer == "over"
        _store("put", "healing", minion, known)
    if answer == "now":
        _tell(minion, "globoapp_heal.heal")
    if answer == "over":
        last = known["last"] or "the server said nothing"
        _edge(
            minion,
            "healing",
            "bad",
            {"message": f"given up after 3 attempts in 10 minutes, a person is needed; the last one: {last}"},
        )
    return answer


def healing(minion):
    """
    What is known of the healing of a server: ``{"attempts": [seconds since the epoch], "gave_up": bool,
    "not_before", "last": what the last attempt said}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.healing web1
    """
    return _store("get", "healing", minion) or {"attempts": [], "not_before": 0, "gave_up": False, "last": ""}


def healed(minion, data):
    """
    What came of an attempt to heal (event ``globoapp/heal/<id>``). A server that refused has not been
    tried: it is asked again.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.healed web1 '{"result": "healed", "comment": "a test"}'
    """
    comment = f"{data['result']}: {data['comment']}"[:2000]
    log.warning("healing of %s: %s", minion, comment)
    with _store("exclusive"):
        known = _store("get", "healing", minion)
        if known:
            known["last"] = comment
            if data["result"] == "refused" and known["attempts"]:
                known["attempts"].pop()
                known["not_before"] = time.time() + REFUSED
            _store("put", "healing", minion, known)


def deployed(minion, entries):
    """
    Record ledger lines of a server (event ``globoapp/deploy/<id>``, and reports), each once however often it
    comes, and acknowledge them.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.deployed web1 '[]'
    """
    if not entries:
        return
    for entry in entries:
        _store("put", f"deploys/{minion}", entry["id"], entry)
    with _store("exclusive"):
        if not _store("get", "servers", minion):
            _store("put", "servers", minion, {"heard": _now(), "heard_epoch": time.time(), "report": None})
    _tell(minion, "globoapp_monitor.acknowledge", [entry["id"] for entry in entries])


def report(minion, data):
    """
    Take a server's report (event ``globoapp/report/<id>``): remember it, record the deploys that it brings,
    and put right what was missed while this master was down: alerts that opened or cleared meanwhile.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.report web1 '{...}'
    """
    deploys = data.pop("deploys", [])
    with _store("exclusive"):
        _store("put", "servers", minion, {"heard": _now(), "heard_epoch": time.time(), "report": data})
    deployed(minion, deploys)
    opened = {one["probe"]: one for one in _store("records", "open", lambda key: key.startswith(f"{minion}:")).values()}
    for probe, one in data["open"].items():
        cleared = (_store("get", "cleared", f"{minion}:{probe}") or {}).get("until", "")
        if probe in BEACON and probe not in opened and cleared < data["time"]:
            _edge(minion, probe, "bad", {**one, "time": data["time"]})
    for probe, one in opened.items():
        if probe in BEACON and probe != "monitor" and probe not in data["open"] and one["since"] < data["time"]:
            _edge(minion, probe, "clear", {"message": "it was clear at the next report"})
    if "silent" in opened:
        _edge(minion, "silent", "clear", {"message": "it reports again"})
    _health(minion, data, {*opened, *data["open"]})


def _health(minion, data, bad):
    """The check of every minute, as an alert of its own where the API itself is not known to be dead."""
    health = data["health"]
    version = health.get("version")
    if "health" in bad and (health["healthy"] or version is None):
        _edge(minion, "health", "clear", {"message": "the health check found nothing wrong"})
    # A deploy that is under way, or that ended while the check looked, is no alert.
    settled = version is not None and version == data["version"] and not data["deploying"]
    if settled and not health["healthy"] and not {"api", "health"} & bad:
        _edge(minion, "health", "bad", {"message": "; ".join(health.get("problems", []))})


def tend():
    """
    The next attempt to heal, where an API is dead. Called by the engine, about every second.

    Returns ``{host: what globoapp.heal returned}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.tend
    """
    dead = [key.rpartition(":")[0] for key in _store("keys", "open") if key.endswith(":api")]
    return {host: heal(host) for host in dead}


def listen():
    """
    Servers that have fallen silent become alerts. Called by the engine, about twice a minute.

    Returns ``{host: when it was heard of last}``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.listen
    """
    silent = {host: heard for host, heard in __salt__["globoapp.silent"]().items() if heard}
    for host, heard in silent.items():
        _edge(host, "silent", "bad", {"message": f"not heard of since {heard}", "since": heard})
    return silent


def expire():
    """
    Forget alerts that ended more than 400 days ago. Called by the engine once a day. Returns how many.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_watch.expire
    """
    oldest = datetime.fromtimestamp(time.time() - KEEP * 86400, timezone.utc).strftime("%Y-%m-%d")
    old = [key for key in _store("keys", "past") if key < oldest]
    for key in old:
        _store("drop", "past", key)
    return len(old)
