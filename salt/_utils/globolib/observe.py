"""Watching a release: whether its workers come and stay, whether it answers, and the evidence when it fails."""

import logging
import os
import time
from collections.abc import Callable

from globolib import files, health, ledger, processes, release, survey, systemd, text, waiting
from globolib.errors import Failure
from globolib.host import Failed, Unit
from globolib.layout import LIVE
from globolib.manifest import Health
from globolib.settings import Settings

log = logging.getLogger(__name__)

SEEN_DEADLINE = 10  # seconds that the way back waits for evidence
# Seconds without a request taken up or answered, while questions wait, after which a worker is stuck; at least twice
# what a request is allowed at the end (graceful_timeout).
STUCK = 60
# What a unit's ExecMainStatus= says when the kernel did not give it namespaces (systemd.exec(5)).
NO_NAMESPACES = {225: "NETWORK", 226: "NAMESPACE"}


class NoAnswer(Failure):
    """The service did not answer as it should."""


def wait_for_workers(settings: Settings, wanted: int, role: str = LIVE) -> tuple[Unit, tuple[int, ...]]:
    """
    Wait until every worker of the release has loaded the app. Returns the unit as it is then, and their pids.

    Raises Failure as soon as the instance has ended or begun again, or when ``deadline`` seconds have passed.
    """
    layout, name = settings.layout, settings.release
    unit, state = layout.instance(name, role), Unit("")
    ready: tuple[int, ...] = ()

    def all_ready() -> tuple[int, ...] | None:
        nonlocal state, ready
        # systemd is asked only where there is news: that takes ten times as long as a look at the processes.
        if processes.process(state.pid) is None:
            before, state = state.pid, systemd.unit(unit)
            ended = state.active in ("failed", "inactive") or state.sub == "auto-restart"
            if ended or (before and state.pid != before):
                raise Failure(f"{unit} ended while it booted ({state.result})")
        ready = survey.ready(layout, name, processes.children(state.pid) if state.pid else (), role)
        return ready if len(ready) >= wanted else None

    pids = waiting.until(all_ready, settings.deadline, first=0.01, factor=1.2, most=0.5)
    if pids is None:
        raise Failure(f"{unit}: {len(ready)} of {wanted} workers have loaded the app after {settings.deadline:g} s")
    return state, pids


def answers(settings: Settings, where: health.Where, wanted: Health) -> health.Answer:
    """Ask until the answer is right; raises Failure with the last one at the deadline."""
    last: str | None = None

    def right() -> health.Answer | None:
        nonlocal last
        last, answer = health.once(where, wanted, settings.timeout)
        return None if last else answer

    answer = waiting.until(right, settings.deadline)
    if answer is None:
        raise NoAnswer(f"GET {wanted.path} for {settings.deadline:g} s: {last}")
    return answer


def stays(
    settings: Settings,
    where: health.Where,
    wanted: Health,
    main: int,
    pids: tuple[int, ...],
    seconds: float,
    role: str = LIVE,
) -> None:
    """
    Watch the release for so many seconds: the same workers, right answers. Raises Failure at the first other one.

    main, pids
        Its main process, and its workers: where the main process ends, systemd starts another one, with others.
    """
    known = set(pids)

    def same_workers() -> None:
        nonlocal known
        now = set(survey.ready(settings.layout, settings.release, processes.children(main), role))
        # One that has answered its max_requests ends in order, and another one comes.
        recycled = survey.recycled(settings.layout, settings.release, role)
        if known - now - recycled or (now - known and not recycled):
            raise Failure(f"its workers did not stay: {sorted(known)} were there, now {sorted(now) or 'none'}")
        known = now

    def steady() -> None:
        same_workers()
        problem, _ = health.once(where, wanted, settings.timeout)
        if problem:
            raise Failure(f"GET {wanted.path}: {problem}")

    if seconds:
        waiting.hold(seconds, steady, every=min(0.2, seconds))
    same_workers()


def each(*actions: Callable[[], object]) -> str:
    """
    Do all of these, the steps of a way back: what one of them raises keeps no other from being done. Returns what
    went wrong, to be told after the failure.
    """
    wrong = ""
    for action in actions:
        try:
            action()
        except Exception as error:  # whatever it is
            log.warning("a step of the way back failed", exc_info=True)
            wrong += f"\nOn the way back: {error}"
    return wrong


def seen(unit: str) -> Unit:
    """A unit as it is now, for the evidence: where systemd does not say that soon, its name alone."""
    try:
        return systemd.unit(unit, SEEN_DEADLINE)
    except Exception:  # evidence must not keep anything from being put back
        log.warning("how %s failed is not known", unit, exc_info=True)
        return Unit(unit)


def evidence(settings: Settings, failure: Failure, unit: Unit) -> Failure:
    """
    Mark the release as failed and keep its log; the failure to raise, with its last lines. Best effort: nothing in
    here may hide why it failed.

    unit
        The instance as it was when it failed.
    """
    why, name, layout = f"{failure}{_of_the_host(unit)}", settings.release, settings.layout
    try:
        words = systemd.journal(unit.name, 200, unit.invocation)
        now = ledger.now()
        path = os.path.join(layout.failures, f"{name}-{now}.log")
        tail = "\n".join(f"    | {line}" for line in words[-15:]) or "    | (it wrote nothing)"
        try:
            files.make_directory(layout.failures, 0o750)
            files.write(path, "\n".join([why, *words]) + "\n", 0o640)
            release.annotate(layout, name, failed=Failed(now, why, path))
        except OSError as error:  # a full disk must not hide why the release failed
            return Failure(f"{why}\n(its log could not be kept: {error})\nIts last lines:\n{tail}")
        return Failure(f"{why}\nIts last lines (all of them in {path}):\n{tail}")
    except Exception as error:  # noqa: BLE001  evidence is worth less than the reason
        log.warning("the evidence against %s could not be collected", name, exc_info=True)
        return Failure(f"{why}\n(no evidence could be collected: {text.line(str(error))})")


def _of_the_host(unit: Unit) -> str:
    """What to add where the release could not even be started, and has no part in that."""
    if unit.status not in NO_NAMESPACES:
        return ""
    return (
        f"\nsystemd could not shut {unit.name} off from the rest of the host (status={unit.status}/"
        f"{NO_NAMESPACES[unit.status]}): the release was not started at all. A container without the right to make "
        "namespaces does that: allow nesting (LXC and Proxmox: nesting=1), or use a privileged container or a virtual "
        "machine"
    )


def is_stuck(settings: Settings, where: health.Where, wanted: Health) -> bool:
    """
    Whether there is proof that nothing works any more: no worker lives, or none of them has taken up or answered a
    request for STUCK seconds while it was being asked. Anything else is slow, or wrong, and no reason for a restart.
    """
    longest = max(STUCK, 2 * settings.graceful_timeout)
    layout, name = settings.layout, settings.release
    asked = time.monotonic_ns()

    def judged() -> bool | None:
        pids = processes.children(systemd.unit(layout.instance(name)).pid)
        workers = survey.ready(layout, name, pids)
        if not workers:
            return True
        if health.once(where, wanted, settings.timeout)[1] is not None:
            return False
        last = max(asked, *(survey.progress(layout, name, pid) for pid in workers))
        return True if time.monotonic_ns() - last > longest * 1e9 else None

    return bool(waiting.until(judged, longest + settings.deadline))
