"""
The decisions of monitoring on the master: what becomes an alert, when to heal, what was deployed.

What comes in by event goes through :mod:`globolib.monitor.incoming` first, and only accepted minions are heard.
"""

import logging
import time
import uuid
from collections.abc import Callable, Collection, Container, Mapping
from datetime import datetime, timezone
from typing import Any

from globolib import ledger, text
from globolib.monitor import healing, incoming
from globolib.monitor.store import Store, is_key

log = logging.getLogger(__name__)

# Days that the past is kept, and how many deploys of a server; so many go at once when there are more.
KEEP = 400
MOST_DEPLOYS, SPARE = 2000, 100
# A server that has missed three reports is not heard of: seconds.
SILENT = 200
# Who is no minion of this master, among the refused.
UNKNOWN = ":unknown"
# Seconds in which what a server sent and was refused is said once in the log.
SAID_AGAIN = 60

Record = dict[str, Any]
FRESH: Mapping[str, Any] = {
    "attempts": [],
    "refusals": [],
    "answered": 0,
    "not_before": 0,
    "gave_up": False,
    "last": "",
}


def _is_sound(alert: Mapping[str, Any]) -> bool:
    """Whether a record is that of an open alert, and can name one of the past."""
    texts = all(isinstance(alert.get(name), str) for name in ("id", "host", "since"))
    return texts and is_key(f"{alert['since']}-{alert['id']}")


class Watch:
    """
    tell
        Has a minion call a function, without waiting for it: ``tell(minion, function, args)``.
    accepted
        The ids of the minions whose keys are accepted.
    """

    def __init__(
        self, store: Store, tell: Callable[[str, str, list[Any]], object], accepted: Callable[[], Container[str]]
    ) -> None:
        self.store, self._tell, self._accepted = store, tell, accepted

    def _refuse(self, minion: str, why: str) -> None:
        """Count what was not taken in, and say so once a minute."""
        with self.store.exclusive():
            known = self.store.get("refused", minion) or {}
            count, said = known.get("count"), incoming.number(known.get("said"))
            count = count + 1 if isinstance(count, int) else 1
            say = said is None or time.time() - said > SAID_AGAIN
            record = {"count": count, "why": why, "time": ledger.now(), "said": time.time() if say else said}
            self.store.put("refused", minion, record)
        if say:
            log.warning("what %s sent was not taken in (%d so far): %s", minion, count, why)

    def _heard(self, minion: Any) -> bool:
        """Whether a sender is one of ours."""
        # The longest name that a record of a server has.
        if isinstance(minion, str) and is_key(f"{minion}:healing") and minion in self._accepted():
            return True
        # All under one name: who makes names up must not make a record with each.
        shown = text.line(minion[:200]) if isinstance(minion, str) else f"a {type(minion).__name__}"
        self._refuse(UNKNOWN, f"{shown} is no minion whose key is accepted, or too long a name")
        return False

    def alert(self, minion: str, data: Any) -> Record | None:
        """
        Record what a beacon says, once for each edge, and queue the notification. Returns the alert, or None when it
        was known already, or is not taken in.
        """
        if not self._heard(minion):
            return None
        event = incoming.edge(incoming.decoded(data), ledger.now())
        if isinstance(event, str):
            self._refuse(minion, event)
            return None
        return self._edge(minion, event["probe"], event["state"], event)

    def _edge(self, minion: str, probe: str, state: str, data: Mapping[str, Any]) -> Record | None:
        key, now = f"{minion}:{probe}", str(data.get("time") or ledger.now())
        with self.store.exclusive():
            known = self.store.get("open", key)
            if known is not None and not _is_sound(known):
                log.error("the record open/%s is broken and counts as none", key)
                known = None
            if state == "clear":
                if known is None:
                    self.store.drop("open", key)
                    return None
                known.update(until=now)
                self.store.put("past", f"{known['since']}-{known['id']}", known)
                self.store.put("cleared", key, {"until": now})
                self.store.drop("open", key)
            elif known is None:
                since = data.get("since") or now
                known = {"id": uuid.uuid4().hex, "host": minion, "probe": probe, "since": since, "until": None}
                known["reminders"] = 0
                state = "bad"
            elif state == "reminder":
                known["reminders"] = int(incoming.number(known.get("reminders")) or 0) + 1
            elif not (known.get("slow") and not data.get("slow")):  # what was slow, and is dead now, is news
                return None
            known.update({name: data.get(name) for name in ("value", "threshold")})
            known.update(message=str(data.get("message", "")), slow=bool(data.get("slow")))
            if state != "clear":
                self.store.put("open", key, known)
            notice = {"alert": known, "state": state, "time": now}
            self.store.put("queue", f"{time.time_ns():020d}-{known['id']}", notice)
        level = logging.INFO if state == "clear" else logging.WARNING
        log.log(level, "%s %s %s: %s", minion, probe, state, known["message"])
        if probe == "api" and state == "clear":
            self._forget_healing(minion)
        return known

    def _forget_healing(self, minion: str) -> None:
        """The API is back: a next death may be healed afresh, within the same 10 minutes' allowance."""
        if self.store.get("open", f"{minion}:healing"):
            self._edge(minion, "healing", "clear", {"message": "the API answers again"})
        with self.store.exclusive():
            known = self.store.get("healing", minion)
            if known:
                self.store.put("healing", minion, {**known, "gave_up": False, "not_before": 0})

    def healing(self, minion: str) -> Record:
        """What is known of the healing of a server: see FRESH. What a record has of other types is as in FRESH."""
        known = self.store.get("healing", minion) or {}
        sound = {name: known[name] for name in ("gave_up", "last") if isinstance(known.get(name), type(FRESH[name]))}
        for name in ("attempts", "refusals"):
            times = known.get(name)
            sound[name] = [time for time in times if incoming.number(time)] if isinstance(times, list) else []
        for name in ("answered", "not_before"):
            sound[name] = incoming.number(known.get(name)) or 0
        return {**FRESH, **sound}

    def heal(self, minion: str, again: bool = False) -> str:
        """
        Have a server put its deployed version back, where that is allowed now: its API is bad (and not only slow), and
        it was not tried 3 times in 10 minutes; the pauses grow.

        again
            Forget what was tried before, also that it was given up: for a person who has removed the cause.

        Returns ``"now"`` (it was told to), ``"wait"``, ``"over"`` (given up) or ``"well"``.
        """
        if not self._heard(minion):
            return "well"
        with self.store.exclusive():
            known = dict(FRESH) if again else self.healing(minion)
            opened = self.store.get("open", f"{minion}:api")
            if not opened or opened.get("slow"):
                if again:
                    self.store.put("healing", minion, known)
                return "well"
            # What could not be healed is left to a person. What could, and died too often, may be healed again when
            # the 10 minutes have passed.
            if known["gave_up"] and not known["last"].startswith("healed"):
                return "over"
            now = time.time()
            answer = healing.decide(known["attempts"], known["not_before"], now)
            if answer == "now":
                known["attempts"] = [*known["attempts"], now][-10:]
            known["gave_up"] = known["gave_up"] or answer == "over"
            self.store.put("healing", minion, known)
        if answer == "now":
            if known["attempts"][:-1] and known["answered"] < known["attempts"][-2]:
                # Nothing came of the last attempt: its cache may have been cleared, and our code with it.
                self._tell(minion, "saltutil.sync_all", [])
            self._tell(minion, "globoapp_minion.heal", [])
        if answer == "over":
            last = known["last"] or "the server said nothing"
            words = f"given up after 3 attempts in 10 minutes, a person is needed; the last one: {last}"
            self._edge(minion, "healing", "bad", {"message": words})
        return answer

    def healed(self, minion: str, data: Any) -> None:
        """
        What came of an attempt to heal (event ``globoapp/heal/<id>``). A server that refused has not been tried: it is
        asked again, but not without end.
        """
        if not self._heard(minion):
            return
        answer = incoming.healed(incoming.decoded(data))
        if isinstance(answer, str):
            self._refuse(minion, answer)
            return
        comment = f"{answer['result']}: {answer['comment']}"[:2000]
        log.warning("healing of %s: %s", minion, comment)
        with self.store.exclusive():
            if not self.store.get("healing", minion):
                return
            known, now = self.healing(minion), time.time()
            known.update(last=comment, answered=now)
            if answer["result"] == "refused" and known["attempts"] and healing.may_refuse(known["refusals"], now):
                known["attempts"] = known["attempts"][:-1]
                known["refusals"] = [*known["refusals"], now][-healing.REFUSALS :]
                known["not_before"] = now + healing.REFUSED_PAUSE
            self.store.put("healing", minion, known)

    def deployed(self, minion: str, entries: Any) -> None:
        """
        Record ledger lines of a server (event ``globoapp/deploy/<id>``, and reports), each once however often it comes,
        and acknowledge them.
        """
        entries = incoming.decoded(entries)
        if not entries or not self._heard(minion):
            return
        arrival, ids = ledger.now(), []
        for entry in entries[: incoming.DEPLOYS] if isinstance(entries, (list, tuple)) else [entries]:
            line = incoming.deploy(entry, arrival)
            if isinstance(line, str):
                self._refuse(minion, line)
                name = incoming.identity(entry)
                ids += [] if name is None else [name]
                continue
            # The first that comes counts: who has broken into a server must not rewrite what is known of it.
            if self.store.get(f"deploys/{minion}", line["id"]) is None:
                self.store.put(f"deploys/{minion}", line["id"], line)
            ids.append(line["id"])
        with self.store.exclusive():
            for key in self._surplus(minion):
                self.store.drop(f"deploys/{minion}", key)
            if not self.store.get("servers", minion):
                self.store.put("servers", minion, {"heard": arrival, "heard_epoch": time.time(), "report": None})
        if ids:
            self._tell(minion, "globoapp_minion.acknowledge", [ids])

    def report(self, minion: str, data: Any) -> None:
        """
        Take a server's report (event ``globoapp/report/<id>``): remember it, record the deploys that it brings, and put
        right what was missed while this master was down: alerts that opened or cleared meanwhile.
        """
        if not self._heard(minion):
            return
        taken = incoming.report(incoming.decoded(data), ledger.now())
        if isinstance(taken, str):
            self._refuse(minion, taken)
            return
        deploys = taken.pop("deploys")
        with self.store.exclusive():
            heard = {"heard": ledger.now(), "heard_epoch": time.time(), "report": taken}
            self.store.put("servers", minion, heard)
        self.deployed(minion, deploys)
        mine = self.store.records("open", lambda key: key.rpartition(":")[0] == minion)
        opened = {key.rpartition(":")[2]: alert for key, alert in mine.items()}
        for probe, track in taken["open"].items():
            cleared = str((self.store.get("cleared", f"{minion}:{probe}") or {}).get("until", ""))
            worse = opened.get(probe, {}).get("slow") and not track.get("slow")
            if worse or (probe not in opened and cleared < taken["time"]):
                self._edge(minion, probe, "bad", {**track, "time": taken["time"]})
        for probe, alert in opened.items():
            told = probe in incoming.BEACON and probe != "monitor"
            if told and probe not in taken["open"] and str(alert.get("since")) < taken["time"]:
                self._edge(minion, probe, "clear", {"message": "it was clear at the next report"})
        if "silent" in opened:
            self._edge(minion, "silent", "clear", {"message": "it reports again"})
        self._health(minion, taken, {*opened, *taken["open"]})

    def _health(self, minion: str, taken: Mapping[str, Any], bad: Collection[str]) -> None:
        """The check of every minute, as an alert of its own where the API itself is not known to be dead."""
        health = taken["health"]
        version = health["version"]
        if "health" in bad and (health["healthy"] or version is None):
            self._edge(minion, "health", "clear", {"message": "the health check found nothing wrong"})
        # A deploy that is under way, or that ended while the check looked, is no alert.
        settled = version is not None and version == taken["version"] and not taken["deploying"]
        if settled and not health["healthy"] and not {"api", "health"} & set(bad):
            self._edge(minion, "health", "bad", {"message": "; ".join(health["problems"])})

    def tend(self) -> dict[str, str]:
        """
        The next attempt to heal, where an API is dead: ``{host: what heal returned}``, ``"error"`` where it raised.
        Called about every second.
        """
        dead = [key.rpartition(":")[0] for key in self.store.keys("open") if key.endswith(":api")]
        answers = {}
        for host in dead:
            try:
                answers[host] = self.heal(host)
            except Exception:  # one server that cannot be told must not keep the others from being healed
                log.exception("healing of %s", host)
                answers[host] = "error"
        return answers

    def listen(self, silent: Mapping[str, str | None]) -> dict[str, str]:
        """
        Servers that have fallen silent become alerts.

        silent
            ``{host: time of the last report, or None}`` of the servers that have missed three.

        Returns those that had reported before.
        """
        gone = {host: heard for host, heard in silent.items() if heard}
        for host, heard in gone.items():
            self._edge(host, "silent", "bad", {"message": f"not heard of since {heard}", "since": heard})
        return gone

    def expire(self) -> int:
        """Forget alerts that ended more than 400 days ago, and deploys beyond 2,000 of a server. Returns how many."""
        oldest = datetime.fromtimestamp(time.time() - KEEP * 86400, timezone.utc).strftime("%Y-%m-%d")
        old = [("past", key) for key in self.store.keys("past") if key < oldest]
        for host in self.store.keys("servers"):
            old += [(f"deploys/{host}", key) for key in self._surplus(host)]
        for bank, key in old:
            self.store.drop(bank, key)
        return len(old)

    def _surplus(self, host: str) -> list[str]:
        """The keys of deploys to forget: where there are more than 2,000 the oldest, and those that cannot be read."""
        bank = f"deploys/{host}"
        keys = self.store.keys(bank)
        if len(keys) <= MOST_DEPLOYS:
            return []
        times = {key: str(record.get("time")) for key, record in self.store.records(bank).items()}
        return sorted(keys, key=lambda key: times.get(key, ""))[: len(keys) - MOST_DEPLOYS + SPARE]
