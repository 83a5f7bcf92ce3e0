"""Servers that were away, or are new: behind the last finished rollout; brought to its version where pillar asks."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from globolib import apps
from globolib.ledger import SUCCESS
from globolib.monitor.store import Store
from globolib.rollout.book import Book
from globolib.rollout.state import FAILED, Rollout

BANK = "catching-up"
# A server is told once for a rollout and, where nothing came of it, so many times in all, with so many seconds between.
MOST, PAUSE = 3, 900


def is_behind(rollout: Rollout, version: str | None, deploys: Collection[Mapping[str, Any]]) -> bool:
    """
    Whether a server has not come to the version of a finished rollout that was meant for it: it has another one, and
    nothing was deployed there since the rollout began. Who has moved it since has had a reason.

    deploys
        The ledger lines of the server that the master has.
    """
    moved = any(line.get("result") == SUCCESS and str(line.get("time")) > rollout.time for line in deploys)
    return version != rollout.version and not moved


def versions_behind(
    book: Book, inventory: Mapping[str, Mapping[str, Any]], matching: Callable[[Rollout], Collection[str]], store: Store
) -> dict[str, dict[str, str]]:
    """
    Of each line of an inventory whose server is behind ``{"version", "rollout"}``.

    matching
        The servers that the target of a rollout matches now.
    """
    found: dict[str, dict[str, str]] = {}
    for app in {str(line.get("app", apps.DEFAULT)) for line in inventory.values()}:
        rollout = book.finished(app)
        if rollout is None:
            continue
        meant = {*rollout.servers, *matching(rollout)}
        for key, line in inventory.items():
            name, version = str(line.get("host", key)), line.get("version")
            # First what costs nothing: a server has up to 2,000 lines.
            if line.get("app", apps.DEFAULT) != app or name not in meant or version == rollout.version:
                continue
            if is_behind(rollout, version, _deploys(store, name, app)):
                found[key] = {"version": rollout.version, "rollout": rollout.id}
    return found


def _deploys(store: Store, name: str, app: str) -> list[dict[str, Any]]:
    lines = store.records(f"deploys/{name}").values()
    return [line for line in lines if line.get("app", apps.DEFAULT) == app]


def catch_up(
    book: Book,
    store: Store,
    name: str,
    versions: Mapping[str, str | None],
    matching: Callable[[Rollout], Collection[str]],
    wanted: Callable[[str], bool],
    tell: Callable[[str, str, list[Any]], object],
) -> dict[str, str]:
    """
    Have a server that has just reported deploy what it is behind with, app by app. Returns ``{app: version}`` of what
    it was told.

    versions
        What it has, by app.
    wanted
        Whether pillar has ``catch_up`` for an app of this server.
    tell
        Has a minion call a function: ``tell(minion, function, args)``.
    """
    told = {}
    for app, version in versions.items():
        rollout = book.finished(app)
        if rollout is None or rollout.version == version or book.is_held(app):
            continue
        server = rollout.servers.get(name)
        if (server is None and name not in matching(rollout)) or (server and server.state == FAILED):
            continue
        if not is_behind(rollout, version, _deploys(store, name, app)) or not wanted(app):
            continue
        if _is_due(store, name, app, rollout):
            tell(name, "state.apply", ["globoapp", {"__kwarg__": True, "pillar": rollout.pillar}])
            told[app] = rollout.version
    return told


def _is_due(store: Store, name: str, app: str, rollout: Rollout) -> bool:
    """Whether it may be told now; if so that is noted."""
    key, now = f"{name}:{app}", time.time()
    with store.exclusive():
        known = store.get(BANK, key) or {}
        tries = [at for at in known.get("tries", []) if isinstance(at, (int, float))]
        tries = tries if known.get("rollout") == rollout.id else []
        if len(tries) >= MOST or (tries and now - tries[-1] < PAUSE):
            return False
        store.put(BANK, key, {"rollout": rollout.id, "tries": [*tries, now]})
        return True
