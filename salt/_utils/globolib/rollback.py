"""Back to a good release, by the same way as any deploy; and old releases that go."""

from typing import Any

from globolib import answers, checks, ledger, maintenance, prune, run, waiting
from globolib import states as runs
from globolib.errors import Failure
from globolib.ledger import Entry, identity
from globolib.minion import Minion
from globolib.settings import INNER


def _chosen(version: Any, entries: tuple[Entry, ...], here: dict[str, str]) -> tuple[str | None, str, str | None]:
    """``(version, reason, problem)`` of what was asked for, or of the last good release."""
    if version is None:
        present = [name for name, state in here.items() if state != "failed"]
        target, reason = ledger.rollback_target(entries, present)
        return target, reason, None
    if isinstance(version, float):  # the command line makes a number of version=1.0
        meant = [name for name in here if name.count(".") == 1 and float(name) == version]
        if len(meant) < 2:
            version = meant[0] if meant else str(version)
    problem = checks.version_problem(version)
    if not problem and version not in here:
        problem = f"version {version} is not on this host; there are: {', '.join(here) or 'none'}"
    return version, "as asked", problem


def rollback(minion: Minion, version: Any = None) -> dict[str, Any]:
    """
    Go back to the last good release, or to ``version``.

    Returns ``{"result", "from", "to", "comment"}``, and ``failed`` (what each failed state said).
    """
    deployed, entry, entries = run.deployed_settings(minion)
    here = {told["version"]: told["state"] for told in answers.listed(deployed, entry, entries).values()}
    target, reason, problem = _chosen(version, entries, here)
    answer = {"from": entry.version if entry else None, "to": target}
    if problem:
        return {"result": False, **answer, "comment": f"{problem}. Nothing was changed."}
    if kept := maintenance.current(deployed.layout):
        return {"result": False, **answer, "comment": f"Nothing was changed: {maintenance.refusal(minion, kept)}"}
    if target is None:
        there = ", ".join(f"{name} ({state})" for name, state in here.items()) or "no release"
        comment = f"Nothing to go back to: {reason}. Nothing was changed. On this host there is: {there}"
        return {"result": False, **answer, "comment": comment}
    if minion.test:
        return {"result": False, **answer, "comment": "The minion is configured with test: True. Nothing was changed."}
    # Salt runs one set of states at a time: what runs now, such as a highstate, goes first.
    waiting.until(lambda: None if minion.busy() else True, deployed.lock_wait)
    token = identity()
    with run.take_lock(minion, deployed, f"rollback to {target}", token=token):
        states = minion.apply({INNER: {"token": token, "action": "rollback", "version": target, **minion.about}})
    failed = failures(states)
    comment = f"{target} ({reason}) " + ("serves." if not failed else "could not be put back.")
    if entry and any("release_command" in line.data for line in entries if line.version == entry.version):
        comment += (
            f" The release command of {entry.version} had run: what it changed (a database's schema) stays as it is."
        )
    return {"result": not failed, **answer, "comment": comment, **({"failed": failed} if failed else {})}


def failures(states: dict[str, Any] | list[str]) -> list[str]:
    """What each failed state said. Raises Failure where the states could not be applied at all."""
    if not isinstance(states, dict):
        raise Failure("the states could not be applied: " + "; ".join(map(str, states)))
    return runs.failed(states)


def pruned(minion: Minion, keep: Any = None, test: bool = False) -> dict[str, list[str]]:
    """
    Remove old releases and the virtualenvs that nothing uses; with ``test`` only say what would go.

    Returns ``{"releases": ["PACK1_0"], "virtualenvs": [names]}``. Raises Failure, naming the holder, during a deploy.
    """
    deployed, entry, entries = run.deployed_settings(minion)
    if entry is None:
        raise Failure("nothing is deployed on this host: there is nothing to choose from")
    keep = prune.keep_checked(deployed.keep if keep is None else keep)
    if test or minion.test:
        chosen = prune.planned(deployed, entries, keep=keep)
    else:
        with run.take_lock(minion, deployed, "pruning of old releases", wait=0):
            chosen = prune.prune(deployed, prune.planned(deployed, entries, keep=keep))
    return {"releases": list(chosen.releases), "virtualenvs": list(chosen.virtualenvs)}
