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
from globolib.apps import DEFAULT, about, split, subject
from globolib.monitor import healing, incoming
from globolib.monitor.store import Store, is_key

log = logging.getLogger(__name__)

# Days that the past is kept, and how many deploys of a server; so many go at once when there are more.
KEEP = 400
MOST_DEPLOYS, SPARE = 2000, 100
# A server that has missed three reports is not heard of: seconds.
SILENT = 200
# Open alerts of one server beyond which no other app of it is taken in.
MOST_OPEN = 250
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


def _of(minion: str) -> Callable[[str], bool]:
    """Whether a key of an alert is one of a server's."""
    return lambda key: key.rpartition(":")[0] == minion


def healing_place(minion: str, app: str) -> tuple[str, str]:
    """Bank and key of what is known of the healing of an app."""
    return ("healing", minion) if app == DEFAULT else (f"healing-of/{minion}", app)


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

    def _heard(self, minion: Any, app: str = DEFAULT) -> bool:
        """Whether a sender is one of ours, and an app of it can have records."""
        # The longest name that a record of a server has.
        if isinstance(minion, str) and is_key(f"{minion}:{subject('healing', app)}") and minion in self._accepted():
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
        app = event.get("app", DEFAULT)
        if not self._heard(minion, app):
            return None
        what = subject(event["probe"], app)
        if app != DEFAULT and sum(map(_of(minion), self.store.keys("open"))) > MOST_OPEN:
            self._refuse(minion, f"it has more than {MOST_OPEN} open alerts, and says one of {app}")
            return None
        return self._edge(minion, what, event["state"], event)

    def _edge(self, minion: str, what: str, state: str, data: Mapping[str, Any]) -> Record | None:
        """``what`` is a probe, of an app: :func:`globolib.apps.subject`."""
        key, now = f"{minion}:{what}", str(data.get("time") or ledger.now())
        probe, app = split(what)
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
                known |= {"reminders": 0, **about(app)}
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
        log.log(level, "%s %s %s: %s", minion, what, state, known["message"])
        if probe == "api" and state == "clear":
            self._forget_healing(minion, app)
        return known

    def _forget_healing(self, minion: str, app: str) -> None:
        """The API is back: a next death may be healed afresh, within the same 10 minutes' allowance."""
        what, place = subject("healing", app), healing_place(minion, app)
        if self.store.get("open", f"{minion}:{what}"):
            self._edge(minion, what, "clear", {"message": "the API answers again"})
        with self.store.exclusive():
            known = self.store.get(*place)
            if known:
                self.store.put(*place, {**known, "gave_up": False, "not_before": 0})

    def healing(self, minion: str, app: str = DEFAULT) -> Record:
        """What is known of the healing of an app: see FRESH. What a record has of other types is as in FRESH."""
        known = self.store.get(*healing_place(minion, app)) or {}
        sound = {name: known[name] for name in ("gave_up", "last") if isinstance(known.get(name), type(FRESH[name]))}
        for name in ("attempts", "refusals"):
            times = known.get(name)
            sound[name] = [time for time in times if incoming.number(time)] if isinstance(times, list) else []
        for name in ("answered", "not_before"):
            sound[name] = incoming.number(known.get(name)) or 0
        return {**FRESH, **sound}

    def heal(self, minion: str, again: bool = False, app: Any = None) -> str:
        """
        Have a server put its deployed version back, where that is allowed now: its API is bad (and not only slow), and
        it was not tried 3 times in 10 minutes; the pauses grow.

        again
            Forget what was tried before, also that it was given up: for a person who has removed the cause.
        app
            Which of its apps; without it ``globoapp``.

        Returns ``"now"`` (it was told to), ``"wait"``, ``"over"`` (given up), ``"maintenance"`` or ``"well"``.
        """
        name = incoming.app(app)
        if name is None or not self._heard(minion, name):
            return "well"
        place = healing_place(minion, name)
        with self.store.exclusive():
            known = dict(FRESH) if again else self.healing(minion, name)
            opened = self.store.get("open", f"{minion}:{subject('api', name)}")
            if not opened or opened.get("slow"):
                if again:
                    self.store.put(*place, known)
                return "well"
            if incoming.in_maintenance(self.store.get("servers", minion), name, time.time()):
                return "maintenance"
            # What could not be healed is left to a person. What could, and died too often, may be healed again when
            # the 10 minutes have passed.
            if known["gave_up"] and not known["last"].startswith("healed"):
                return "over"
            now = time.time()
            answer = healing.decide(known["attempts"], known["not_before"], now)
            if answer == "now":
                known["attempts"] = [*known["attempts"], now][-10:]
            known["gave_up"] = known["gave_up"] or answer == "over"
            self.store.put(*place, known)
        if answer == "now":
            if known["attempts"][:-1] and known["answered"] < known["attempts"][-2]:
                # Nothing came of the last attempt: its cache may have been cleared, and our code with it.
                self._tell(minion, "saltutil.sync_all", [])
            self._tell(minion, "globoapp_minion.heal", [] if name == DEFAULT else [name])
        if answer == "over":
            last = known["last"] or "the server said nothing"
            words = f"given up after 3 attempts in 10 minutes, a person is needed; the last one: {last}"
            self._edge(minion, subject("healing", name), "bad", {"message": words})
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
        app = answer.get("app", DEFAULT)
        place = healing_place(minion, app)
        log.warning("healing of %s: %s", subject(minion, app), comment)
        with self.store.exclusive():
            if not self.store.get(*place):
                return
            known, now = self.healing(minion, app), time.time()
            known.update(last=comment, answered=now)
            if answer["result"] == "refused" and known["attempts"] and healing.may_refuse(known["refusals"], now):
                known["attempts"] = known["attempts"][:-1]
                known["refusals"] = [*known["refusals"], now][-healing.REFUSALS :]
                known["not_before"] = now + healing.REFUSED_PAUSE
            self.store.put(*place, known)

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
        named = {*taken["apps"], *(split(what)[1] for what in taken["open"])}
        if not self._heard(minion, max(named, key=len, default=DEFAULT)):
            return
        deploys = taken.pop("deploys")
        with self.store.exclusive():
            heard = {"heard": ledger.now(), "heard_epoch": time.time(), "report": taken}
            self.store.put("servers", minion, heard)
        self.deployed(minion, deploys)
        mine = self.store.records("open", _of(minion))
        opened = {key.rpartition(":")[2]: alert for key, alert in mine.items()}
        for what, track in taken["open"].items():
            cleared = str((self.store.get("cleared", f"{minion}:{what}") or {}).get("until", ""))
            worse = opened.get(what, {}).get("slow") and not track.get("slow")
            if worse or (what not in opened and cleared < taken["time"]):
                self._edge(minion, what, "bad", {**track, "time": taken["time"]})
        for what, alert in opened.items():
            probe, app = split(what)
            told = probe in incoming.BEACON and probe != "monitor"
            gone = app != DEFAULT and app not in taken["apps"]
            if (told or gone) and what not in taken["open"] and str(alert.get("since")) < taken["time"]:
                self._edge(minion, what, "clear", {"message": "it was clear at the next report"})
        if "silent" in opened:
            self._edge(minion, "silent", "clear", {"message": "it reports again"})
        for app, part in {DEFAULT: taken, **taken["apps"]}.items():
            self._health(minion, app, part, {*opened, *taken["open"]})

    def _health(self, minion: str, app: str, part: Mapping[str, Any], bad: Collection[str]) -> None:
        """The check of every minute, as an alert of its own where the API itself is not known to be dead."""
        health, what = part["health"], subject("health", app)
        version = health["version"]
        if what in bad and (health["healthy"] or version is None):
            self._edge(minion, what, "clear", {"message": "the health check found nothing wrong"})
        # A deploy that is under way, or that ended while the check looked, is no alert.
        settled = version is not None and version == part["version"] and not part["deploying"]
        settled = settled and not part["maintenance"]
        if settled and not health["healthy"] and not {subject("api", app), what} & set(bad):
            self._edge(minion, what, "bad", {"message": "; ".join(health["problems"])})

    def tend(self) -> dict[str, str]:
        """
        The next attempt to heal, where an API is dead: ``{host: what heal returned}``, ``"error"`` where it raised. Of
        an app beside globoapp it is ``host@app``. Called about every second.
        """
        answers = {}
        for key in self.store.keys("open"):
            host, _, what = key.rpartition(":")
            probe, app = split(what)
            if probe != "api":
                continue
            try:
                answers[subject(host, app)] = self.heal(host, app=app)
            except Exception:  # one server that cannot be told must not keep the others from being healed
                log.exception("healing of %s", subject(host, app))
                answers[subject(host, app)] = "error"
        return answers

    def listen(self, silent: Mapping[str, str | None]) -> dict[str, str]:
        """
        Servers that have fallen silent become alerts.

        silent
            ``{host: time of the last report, or None}`` of the servers that have missed three.

        Returns those that had reported before, without those in maintenance with all of their apps.
        """
        gone = {host: heard for host, heard in silent.items() if heard and not self._is_held(host)}
        for host, heard in gone.items():
            self._edge(host, "silent", "bad", {"message": f"not heard of since {heard}", "since": heard})
        return gone

    def _is_held(self, host: str) -> bool:
        known, now = self.store.get("servers", host) or {}, time.time()
        report = incoming.report(known.get("report"), "")
        if isinstance(report, str):
            return False
        own = [DEFAULT] if report["version"] or not report["apps"] else []
        return all(incoming.in_maintenance(known, app, now) for app in [*own, *report["apps"]])

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
