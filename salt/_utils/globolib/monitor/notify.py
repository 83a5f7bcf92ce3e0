"""
Brings alerts to people: the queue of notifications, and the webhook that they go to.

An alert is in the queue from the moment that it is recorded until the endpoint has said 2xx, over restarts of the
master. One that cannot be delivered at all, or that the endpoint refuses by itself (4xx), goes to the dead letters; the
rest goes on.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from globolib.monitor import notice, webhook
from globolib.monitor.store import Store

log = logging.getLogger(__name__)

# Attempts that one notification may take while its endpoint takes others; about four hours.
ATTEMPTS = 50
# Seconds for which a server's settings are not asked of its pillar again; where that failed, less.
FRESH, FAILED = 60, 10


class Notifier:
    """
    section
        ``notify`` of an app of a server, by its pillar as the master renders it now; raises what rendering raises.
    context
        What outlives this object: the endpoints' failures, the settings of each server.
    """

    def __init__(
        self, store: Store, section: Callable[[str, str], Mapping[str, Any]], context: MutableMapping[str, Any]
    ) -> None:
        self.store, self._section = store, section
        self._settings: MutableMapping[tuple[str, str], tuple[float, Mapping[str, Any] | None]]
        self._settings = context.setdefault("globoapp.notify.pillar", {})
        self._endpoints: MutableMapping[str, dict[str, float]] = context.setdefault("globoapp.notify.endpoints", {})
        self._given_up: MutableMapping[str, threading.Thread] = context.setdefault("globoapp.notify.given_up", {})

    def _webhook(self, minion: str, app: str) -> Mapping[str, Any] | None:
        """The webhook of an app of a server, empty where pillar names none; None where it cannot be known now."""
        key = (minion, app)
        if key not in self._settings or time.monotonic() > self._settings[key][0]:
            section: Mapping[str, Any] | None = None
            try:
                section = self._section(minion, app)
                problem = _problem(section)
            except Exception as error:  # rendering pillar may raise anything
                problem = str(error)
            if problem:
                log.error("the notifications of %s wait: %s", minion, problem)
                section = None
            self._settings[key] = (time.monotonic() + (FAILED if section is None else FRESH), section)
        return self._settings[key][1]

    def deliver(self) -> dict[str, int]:
        """
        Send what is due, oldest first. An endpoint that fails is left alone for a while (1 s, 2 s, 4 s ... 5 min), and
        keeps its notifications in the queue.

        Returns ``{"sent", "waiting", "unwanted", "dead"}``: how many (unwanted: pillar names no webhook for that
        server; dead: they went to the dead letters).
        """
        count = {"sent": 0, "waiting": 0, "unwanted": 0, "dead": 0}
        if not self.store.keys("queue"):
            return count
        with self.store.exclusive("delivery"):
            for key in self.store.keys("queue"):
                entry = self.store.get("queue", key)
                if entry is None:
                    count[self._bury(key, {}, "its record cannot be read")] += 1
                    continue
                try:
                    host = entry["alert"]["host"]
                    values = notice.notice(entry["alert"], entry["state"], entry["time"])
                    attempts = int(entry.get("attempts", 0)) + 1
                except Exception as error:  # one that is broken must not keep the others from going out
                    count[self._bury(key, entry, f"{type(error).__name__}: {error}")] += 1
                    continue
                count[self._deliver(key, entry, host, values, attempts)] += 1
        return count

    def _bury(self, key: str, entry: Mapping[str, Any], why: str) -> str:
        """Take a notification out of the queue and keep it where people see it."""
        log.error("a notification was given up and put to the dead letters: %s", why)
        self.store.put("dead", key, {**entry, "why": why})
        self.store.drop("queue", key)
        return "dead"

    def _deliver(self, key: str, entry: Mapping[str, Any], host: str, values: Mapping[str, str], attempts: int) -> str:
        section = self._webhook(host, values["app"])
        if section is None:
            return "waiting"
        if not section.get("url"):
            self.store.drop("queue", key)
            return "unwanted"
        state = self._endpoints.setdefault(section["url"], {"failures": 0, "not_before": 0})
        if time.monotonic() < state["not_before"]:
            return "waiting"
        attempt = webhook.send(section, values, self._given_up)
        if attempt.problem is None or attempt.final:  # it takes notifications, this one or others
            state.update(failures=0, not_before=0)
        if attempt.problem is None:
            self.store.drop("queue", key)
            return "sent"
        if attempt.final:
            return self._bury(key, entry, f"the webhook at {_host(section['url'])} refused it: {attempt.problem}")
        state["failures"] += 1
        pause = max(notice.pause(int(state["failures"])), attempt.after)
        state["not_before"] = time.monotonic() + pause
        log.error(
            "the webhook at %s failed (%s), %d times in a row; it is tried again in %d s, nothing is lost meanwhile",
            _host(section["url"]),
            attempt.problem,
            state["failures"],
            pause,
        )
        if attempts >= ATTEMPTS:
            return self._bury(key, entry, f"{attempts} attempts failed, the last one: {attempt.problem}")
        self.store.put("queue", key, {**entry, "attempts": attempts})
        return "waiting"

    def pending(self) -> list[dict[str, Any]]:
        """What has not been delivered yet, oldest first: ``[{"host", "probe", "state", "time", "message"}]``."""
        return [_told(entry) for entry in self.store.records("queue").values()]

    def dead_letters(self, drop: bool = False, retry: bool = False) -> list[dict[str, Any]]:
        """
        What could not be delivered, with ``why``. With ``retry`` it is queued again, as new; with ``drop`` (also what
        holds no alert that could be sent) it is forgotten afterwards.
        """
        letters = self.store.records("dead")
        for key, entry in letters.items():
            again = retry and isinstance(entry.get("alert"), Mapping)
            if again:
                self.store.put("queue", key, {name: entry[name] for name in entry.keys() - {"why", "attempts"}})
            if again or drop:
                self.store.drop("dead", key)
        return [{**_told(entry), "why": entry.get("why")} for entry in letters.values()]


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    alert = entry.get("alert") if isinstance(entry.get("alert"), Mapping) else {}
    told = {key: (alert or {}).get(key) for key in ("host", "probe", "message")}
    told |= {"app": alert["app"]} if alert and "app" in alert else {}
    return {**told, "state": entry.get("state"), "time": entry.get("time")}


def _problem(section: Any) -> str | None:
    """What is wrong with ``globoapp:notify``, so that nothing can be sent; never with its values, which are secret."""
    if not isinstance(section, Mapping):
        return f"globoapp:notify is a {type(section).__name__} in its pillar: a mapping"
    if section.get("url") and not isinstance(section["url"], str):
        return "globoapp:notify:url is not a text in its pillar"
    if not isinstance(section.get("headers") or {}, Mapping):
        return "globoapp:notify:headers is not a mapping in its pillar"
    return webhook.timeout_problem(section.get("timeout", webhook.TIMEOUT))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"
