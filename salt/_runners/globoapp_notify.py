"""
Brings alerts to people: the queue of notifications, and the webhook that they go to.

An alert is in the queue from the moment that it is recorded until the endpoint has said 2xx, over
restarts of the master. The engine ``globoapp`` delivers; a reactor never waits for an endpoint.
"""

import logging
import time
from urllib.parse import urlsplit

import requests

log = logging.getLogger(__name__)

# Seconds for which a server's settings are not asked of its pillar again.
FRESH = 60


def __virtual__():
    return "globoapp_notify"


def _store(function, *args):
    return __utils__[f"globoapp_store.{function}"](*args)


def _webhook(minion):
    """The settings ``globoapp:notify`` of a server's pillar, as this master renders it now."""
    kept = __context__.setdefault("globoapp.notify.pillar", {})
    if minion not in kept or time.monotonic() > kept[minion][0]:
        pillar = __salt__["pillar.show_pillar"](minion)
        if "_errors" in pillar:
            raise ValueError(f"the pillar of {minion} has errors: {'; '.join(map(str, pillar['_errors']))}")
        found = pillar.get("globoapp")
        given = found.get("notify") if isinstance(found, dict) else None
        kept[minion] = (time.monotonic() + FRESH, given or {})
    return kept[minion][1]


def _send(webhook, entry):
    """POST one notification. Returns what went wrong, or None."""
    values = __utils__["globoapp_notice.notice"](entry["alert"], entry["state"], entry["time"])
    body = __utils__["globoapp_notice.fill"](webhook.get("template") or {"text": "{summary}"}, values)
    timeout = webhook.get("timeout", 5)
    # One delivery has one key, so that an endpoint that cares can tell a repetition from another alert.
    headers = {
        **(webhook.get("headers") or {}),
        "Idempotency-Key": f"{values['id']}-{values['state']}-{values['time']}",
    }
    try:
        # stream: the status is all that counts, and an endless body is not read.
        with requests.post(
            webhook["url"], json=body, headers=headers, timeout=timeout, stream=True, allow_redirects=False
        ) as answer:
            return None if 200 <= answer.status_code < 300 else f"status {answer.status_code}"
    except requests.exceptions.RequestException as error:
        return type(error).__name__  # its text holds the address, which is a secret


def deliver():
    """
    Send what is due, oldest first. An endpoint that fails is left alone for a while (1 s, 2 s, 4 s ... 5 min),
    and keeps its notifications in the queue.

    Returns ``{"sent": n, "waiting": n, "unwanted": n}`` (unwanted: pillar names no webhook for that server).

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_notify.deliver
    """
    count = {"sent": 0, "waiting": 0, "unwanted": 0}
    if not _store("keys", "queue"):
        return count
    endpoints = __context__.setdefault("globoapp.notify.endpoints", {})
    with _store("exclusive", "delivery"):
        for key, entry in _store("records", "queue").items():
            count[_deliver(key, entry, endpoints)] += 1
    return count


def _deliver(key, entry, endpoints):
    try:
        webhook = _webhook(entry["alert"]["host"])
    except Exception as error:  # noqa: BLE001  rendering pillar may raise anything; the notification stays queued
        log.error("a notification waits: %s", error)
        return "waiting"
    if not webhook.get("url"):
        _store("drop", "queue", key)
        return "unwanted"
    state = endpoints.setdefault(webhook["url"], {"failures": 0, "not_before": 0})
    if time.monotonic() < state["not_before"]:
        return "waiting"
    problem = _send(webhook, entry)
    if problem is None:
        state.update(failures=0, not_before=0)
        _store("drop", "queue", key)
        return "sent"
    state["failures"] += 1
    pause = __utils__["globoapp_notice.pause"](state["failures"])
    state["not_before"] = time.monotonic() + pause
    log.error(
        "the webhook at %s failed (%s), %d times in a row; it is tried again in %d s, and nothing is lost meanwhile",
        urlsplit(webhook["url"]).hostname,
        problem,
        state["failures"],
        pause,
    )
    return "waiting"


def pending():
    """
    What has not been delivered yet, oldest first: ``[{"host", "probe", "state", "time", "message"}]``.

    CLI Example:

    .. code-block:: bash

        salt-run globoapp_notify.pending
    """
    return [
        {**{key: one["alert"][key] for key in ("host", "probe", "message")}, "state": one["state"], "time": one["time"]}
        for one in _store("records", "queue").values()
    ]
