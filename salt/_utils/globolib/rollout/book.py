"""The stored rollouts of a master: in Salt's cache, by their ids; and what a person asks for when one is begun."""

import datetime
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from globolib import apps, checks, ledger, lock, text
from globolib.errors import Failure
from globolib.monitor.store import Store, is_key
from globolib.rollout import state as words
from globolib.rollout.state import Options, Rollout, Server, loaded

BANK, ORDERS = "rollouts", "rollout-orders"
# So many are kept, the newest.
KEEP = 200


@dataclass(frozen=True)
class Meant:
    """For whom a rollout is, who wants it, and which app it is of."""

    target: str
    who: str
    app: str = apps.DEFAULT
    tgt_type: str = "glob"
    jid: str = ""


def options(given: Mapping[str, Any]) -> Options:
    """What was asked for, checked. Raises Failure with all that is wrong."""
    problems = []
    fields, whole = Options.__dataclass_fields__, {"first": (0, 10000), "failures": (0, 10000)}
    spans = {"pause": (0, 86400), "deadline": (10, 86400), "wait": (5, 600)}
    for name in sorted(set(given) - set(fields)):
        problems.append(f"{name} is unknown; there are: {', '.join(fields)}")
    for name, value in given.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        low, high = (whole | spans).get(name, (0, 0))
        if name in whole and not (number and low <= value <= high and value == int(value)):
            problems.append(f"{name} is {value!r}: a whole number from {low} to {high}")
        elif name in spans and not (number and low <= value <= high):
            problems.append(f"{name} is {value!r}: seconds from {low} to {high}")
        elif name == "batch" and not _is_batch(value):
            problems.append(f"batch is {value!r}: a whole number from 1, or a share such as 25%")
        elif name == "on_failure" and value not in ("stop", "rollback"):
            problems.append(f"on_failure is {value!r}: stop or rollback")
        elif name == "skip_silent" and not isinstance(value, bool):
            problems.append(f"skip_silent is {value!r}: True or False")
    if problems:
        raise Failure("; ".join(problems))
    return Options(**given)


def _is_batch(value: Any) -> bool:
    if isinstance(value, str):
        share = value.removesuffix("%")
        return value.endswith("%") and share.isdigit() and 1 <= int(share) <= 100
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class Book:
    """
    store
        The master's records.
    directory
        Where the locks lie: the master's cachedir.
    """

    def __init__(self, store: Store, directory: str) -> None:
        self._store, self._directory = store, directory

    def begun(self, version: Any, servers: Collection[str], meant: Meant, wanted: Options) -> Rollout:
        """A new rollout, not yet stored. Raises Failure: the version is none, or nobody is meant."""
        problem = checks.version_problem(version)
        if problem:
            raise Failure(problem)
        if not isinstance(meant.app, str) or not apps.NAME.match(meant.app):
            raise Failure(f"app is {text.line(repr(meant.app), 80)}: the name of an app, as in pillar globoapps")
        if not servers:
            raise Failure(f"no minion whose key is accepted matches {meant.target}")
        now = datetime.datetime.now(datetime.timezone.utc)
        name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        ready = {server: Server(since=now.timestamp()) for server in servers}
        return Rollout(
            name,
            version,
            meant.target,
            meant.who,
            ledger.now(),
            ready,
            wanted,
            meant.app,
            since=now.timestamp(),
            tgt_type=meant.tgt_type,
            jid=meant.jid,
        )

    def put(self, rollout: Rollout) -> None:
        """Store a rollout."""
        self._store.put(BANK, rollout.id, rollout.record)

    def get(self, name: Any) -> Rollout:
        """
        A rollout, by its id or by that of the job that began it (which is what salt-api answers). Raises Failure,
        naming the last ones: there is none of this id.
        """
        if re.fullmatch(r"\d{20}", str(name)):
            name = next((one.id for one in self._newest(KEEP) if one.jid == str(name)), name)
        record = self._store.get(BANK, name) if isinstance(name, str) and is_key(name) else None
        if record is None:
            last = self._store.keys(BANK)[-3:]
            name = text.line(str(name), 80)
            raise Failure(f"there is no rollout {name}; the last ones: {', '.join(last) or 'none'}")
        try:
            return loaded(record)
        except ValueError as error:
            raise Failure(f"rollout {name}: {error}") from error

    def all(self, most: int) -> list[Rollout]:
        """The last rollouts, newest first; a record that is broken is left out."""
        return list(self._newest(most))

    def _newest(self, most: int) -> Iterator[Rollout]:
        """The same, each read when it is asked for: a record is as long as the fleet, and each report asks for one."""
        for name in reversed(self._store.keys(BANK)[-most:]):
            try:
                rollout = self.get(name)
            except Failure:
                continue
            yield rollout

    def finished(self, app: str) -> Rollout | None:
        """The last rollout of an app that reached its end: what the fleet has."""
        return next((one for one in self._newest(KEEP) if one.app == app and one.phase == words.FINISHED), None)

    def hold(self, rollout: Rollout) -> lock.Lock:
        """
        Be the only one who rolls this app out, until the lock is released or this process ends. Raises Failure, naming
        who does.
        """
        who = {"what": rollout.id, "who": rollout.who, "pid": os.getpid(), "since": ledger.now()}
        taken = lock.acquire(self._lock(rollout.app), 1, who)
        if isinstance(taken, lock.Lock):
            self.order(rollout.id, "")
            for old in self._store.keys(BANK)[:-KEEP]:
                self._store.drop(BANK, old)
            return taken
        name = taken.get("what", "unknown")
        raise Failure(
            f"{rollout.app} is being rolled out: {name} by {taken.get('who')}, since {taken.get('since')}, process "
            f"{taken.get('pid')} on this master. Look on: salt-run globoapp.watch {name}; end it: salt-run "
            f"globoapp.stop {name}"
        )

    def is_driven(self, rollout: Rollout) -> bool:
        """Whether a process of this master drives it at this moment."""
        holder = lock.holder(self._lock(rollout.app))
        return holder is not None and holder.get("what") == rollout.id

    def is_held(self, app: str) -> bool:
        """Whether a rollout of an app is under way."""
        return lock.holder(self._lock(app)) is not None

    def _lock(self, app: str) -> str:
        return os.path.join(self._directory, f"globoapp-rollout-{app}.lock")

    def order(self, name: str, what: str) -> None:
        """Tell who drives it to ``pause`` or to ``stop``; nothing takes that back."""
        if what:
            self._store.put(ORDERS, name, {"what": what})
        else:
            self._store.drop(ORDERS, name)

    def ordered(self, name: str) -> str:
        """What was last asked for: ``pause``, ``stop`` or nothing."""
        what = (self._store.get(ORDERS, name) or {}).get("what")
        return what if what in ("pause", "stop") else ""

    def listed(self, most: int) -> list[dict[str, Any]]:
        """What people are shown of the last rollouts, newest first."""
        told = []
        for one in self.all(most):
            has_it = len(one.names(*words.HAS_IT))
            cut = one.phase not in words.ENDED and not self.is_driven(one)
            told.append(
                {
                    "rollout": one.id,
                    **apps.about(one.app),
                    "version": one.version,
                    "target": one.target,
                    "who": one.who,
                    "phase": f"cut while {one.phase}: resume it" if cut else one.phase,
                    "servers": f"{has_it} of {len(one.servers)} have it",
                    "why": one.why,
                }
            )
        return told
