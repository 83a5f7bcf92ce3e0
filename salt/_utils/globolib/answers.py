"""What people ask of a server: is it healthy, what is deployed, what is there, what happened."""

import os
from typing import Any

from globolib import command as running
from globolib import health as http
from globolib import ledger, lock, maintenance, nginx, release, run, survey, systemd, waiting
from globolib.errors import Failure
from globolib.host import Host, Unit
from globolib.layout import release_of
from globolib.ledger import Entry
from globolib.manifest import Health
from globolib.minion import Minion
from globolib.plan import plan, process_differences, proof, restart_notes, target_of
from globolib.settings import Settings

# How many ledger lines a rollout is told.
LINES = 5
# Steps that do not change what answers now, and are differences all the same.
TOLD = ("configure", "unmask", "open", "define", "enable", "stop", "close")


def settings(minion: Minion, pillar_problems: list[str]) -> dict[str, Any]:
    """
    The settings that a deploy would use now, as a person may see them, with ``problems`` and ``warnings``.

    pillar_problems
        What is wrong with the parts of pillar that monitoring owns.
    """
    resolution, _ = run.resolve(minion)
    return {
        **resolution.settings.shown(),
        "problems": [*resolution.problems, *pillar_problems],
        "warnings": list(resolution.warnings),
    }


def preflight(minion: Minion, pillar_problems: list[str]) -> dict[str, Any]:
    """The same with everything that stands in the way of a deploy; nothing is touched."""
    examined = run.Run(minion)
    return {
        **examined.settings.shown(),
        "problems": [*examined.problems, *pillar_problems],
        "warnings": [*examined.resolution.warnings, *examined.examined.notes],
    }


def health(
    minion: Minion, timeout: float | None = None, deadline: float | None = None, known: Host | None = None
) -> dict[str, Any]:
    """
    Ask the running service over HTTP whether it is well, and prove that the deployed release is what answers.

    timeout
        Seconds for one request (pillar ``timeout``).
    deadline
        Seconds in which to ask again after a wrong answer (pillar ``deadline``); 0 asks once.
    known
        The host as it was seen a moment ago, the deployed release with it; without it, it is looked at.

    Returns ``{"healthy", "version", "asked", "status", "latency_ms", "attempts"}``; when unhealthy also
    ``problems``, ``body`` and ``log``; ``proxy`` where one was asked, too; ``notes`` where there is something to know
    that is no fault; ``processes`` where the release has background processes; ``maintenance`` while there is one. What
    is stopped then is not asked: systemd would start it for this client.
    """
    deployed, entry, _ = run.deployed_settings(minion)
    if entry is None:
        return {"healthy": False, "version": None, "problems": ["nothing is deployed on this host"]}
    timeout = deployed.timeout if timeout is None else timeout
    deadline = deployed.deadline if deadline is None else deadline
    host = known or survey.survey(deployed)
    record = host.releases.get(deployed.release)
    asked = record.manifest.health if record else Health()
    where = http.where(deployed.listen)
    held = maintenance.current(deployed.layout)
    if held and not host.running(deployed.layout):
        stopped = f"{deployed.layout.instance(deployed.release)} does not run; it was not asked: systemd would start it"
        unasked: dict[str, Any] = {
            "asked": None,
            "status": None,
            "latency_ms": None,
            "attempts": 0,
            "body": None,
            "log": [],
        }
        told = {"problems": [stopped], "maintenance": held.shown}
        return {"healthy": False, "version": entry.version, **unasked, **told}
    attempts, problems, answer = 0, [""], None

    def well() -> bool | None:
        nonlocal attempts, problems, answer, host
        attempts += 1
        problem, answer = http.once(where, asked, timeout)
        if attempts > 1:
            host = survey.again(deployed, host)
        problems = [problem] if problem else proof(deployed, host)
        by_proxy = None if problems else nginx.unwell(deployed.layout, asked, timeout)
        problems += [by_proxy] if by_proxy else []
        return True if not problems else None

    if not waiting.until(well, deadline) and run.deployed_settings(minion)[1] != entry:
        return health(minion, timeout, deadline)  # a deploy ended meanwhile: what was deployed before is not asked for
    result: dict[str, Any] = {
        "healthy": not problems,
        "version": entry.version,
        "asked": f"{where}{asked.path}",
        "status": answer.status if answer else None,
        "latency_ms": round(answer.seconds * 1000, 1) if answer else None,
        "attempts": attempts,
    }
    result |= _processes(deployed, host)
    if front := nginx.taken_up(deployed.layout):
        result["proxy"] = str(front)
    if held:
        result["maintenance"] = held.shown
    if notes := restart_notes(deployed, host):
        result["notes"] = notes
    if problems:
        dead = [unit for unit in _process_units(deployed, host).values() if unit.active != "active"]
        # A process that has ended has more to say than what answers as it should.
        unit = dead[0] if dead and problems[0] == f"{dead[0].name} does not run" else None
        unit = unit or systemd.unit(deployed.layout.instance(deployed.release))
        result["problems"] = problems
        result["body"] = answer.body[:500] if answer else None
        result["log"] = systemd.journal(unit.name, 15, unit.invocation)
    return result


def _differences(deployed: Settings, host: Host, busy: bool) -> list[str]:
    """How the host differs from what is deployed there."""
    name = deployed.release
    current = _current(deployed)
    differences = proof(deployed, host)
    if current != name:
        differences.append(f"current points to {current} instead of {name}")
    record = host.releases.get(name)
    if record:
        target = target_of(deployed, record.manifest, record.virtualenv)
        steps = plan(deployed, host, target)
        differences += [why for step, why in steps.items() if step in TOLD]
        differences += [why for why in process_differences(deployed, host, target) if why not in differences]
    return [*differences, *nginx.steps(deployed).values(), *_left(host, busy)]


def _left(host: Host, busy: bool) -> list[str]:
    """What a deploy that was cut has left; while one is under way nothing counts as left."""
    return [] if busy else [f"left by a deploy that was cut: {path}" for path in host.leftovers]


def _current(deployed: Settings) -> str | None:
    link = deployed.layout.current
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else None


def status(minion: Minion) -> dict[str, Any]:
    """
    What is deployed on this host and whether it is what serves.

    Returns ``{"version", "release", "address", "since", "current", "running", "at_boot", "deploying",
    "differences"}``, and ``notes``, ``processes`` and ``maintenance`` where there are any.
    """
    deployed, entry, entries = run.deployed_settings(minion)
    host = survey.survey(deployed, entries)
    busy = lock.holder(deployed.layout.lock)
    if entry is None:
        differences = ["nothing is deployed on this host", *_left(host, busy is not None)]
    else:
        differences = _differences(deployed, host, busy is not None)
    notes = restart_notes(deployed, host) if entry else []
    held = maintenance.current(deployed.layout)
    return {
        "version": entry.version if entry else None,
        "release": deployed.release if entry else None,
        "address": str(deployed.listen) if entry else None,
        "since": ledger.since(entries),
        "current": _current(deployed),
        "running": list(host.running(deployed.layout)),
        "at_boot": list(host.enabled),
        "deploying": _told(busy),
        "differences": differences,
        **_processes(deployed, host),
        **({"notes": notes} if notes else {}),
        **({"maintenance": held.shown} if held else {}),
    }


def _processes(deployed: Settings, host: Host) -> dict[str, dict[str, str]]:
    """``{"processes": {"worker": "active, process 4711"}}``: the background processes of what is deployed, if any."""
    units = _process_units(deployed, host)
    told = {name: f"{unit.active}, process {unit.pid}" if unit.pid else unit.active for name, unit in units.items()}
    return {"processes": told} if told else {}


def _process_units(deployed: Settings, host: Host) -> dict[str, Unit]:
    """The units of the background processes of what is deployed, by the names of the processes."""
    record = host.releases.get(deployed.release)
    target = target_of(deployed, record.manifest, record.virtualenv) if record else None
    units = {name: deployed.layout.process(deployed.release, name) for name in (target.processes if target else ())}
    return {name: host.units.get(unit, Unit(unit)) for name, unit in units.items()}


def _told(holder: dict[str, Any] | None) -> dict[str, Any] | None:
    """What people see of who holds the lock."""
    return None if holder is None else {key: holder.get(key) for key in ("what", "since", "jid", "pid")}


def deployed(minion: Minion) -> dict[str, Any]:
    """
    What a rollout asks a server: ``{"version", "deploying": None or what, "jobs": [ids of the jobs that run], "lines":
    [the last ledger lines]}``.
    """
    settings, entry, entries = run.deployed_settings(minion)
    holder = lock.holder(settings.layout.lock)
    return {
        "version": entry.version if entry else None,
        "deploying": holder.get("what", "unknown") if holder is not None else None,
        "jobs": minion.jobs,
        "lines": [dict(line.data) for line in entries[-LINES:]],
    }


def in_maintenance(minion: Minion, mode: Any = None, reason: Any = None, until: Any = None) -> dict[str, Any]:
    """
    Begin or end maintenance of an app, or tell whether there is one.

    mode
        "on" or "off" (to YAML these are True and False), or None to ask.
    reason, until
        With "on": why, and for how long: ``30m``, ``2h``, ``1d``.

    Returns ``{"on": bool}``, and while it is on ``reason``, ``by``, ``since``, ``until``, ``left`` (seconds), and the
    commands that ``stop`` the service. Raises Failure: wrong arguments, or a deploy is under way.
    """
    words = {None: None, "on": True, "off": False, True: True, False: False}
    if not isinstance(mode, (str, bool, type(None))) or mode not in words:
        raise Failure(f"{mode!r} is neither on nor off: globoapp.maintenance on reason='a new disk' until=2h")
    if not words[mode] and (reason is not None or until is not None):
        raise Failure("reason and until go with on: globoapp.maintenance on reason='a new disk' until=2h")
    deployed, entry, _ = run.deployed_settings(minion)
    layout = deployed.layout
    if words[mode]:
        seconds = maintenance.span(until)
        # What is under way, a deploy or healing, comes to its end first.
        with run.take_lock(minion, deployed, "beginning of maintenance"):
            maintenance.begin(layout, reason, seconds, minion.user, maintenance.clocks())
    elif words[mode] is False:
        maintenance.end(layout)
    held = maintenance.current(layout)
    if held is None:
        return {"on": False}
    units = f"{layout.socket(deployed.listen)} {layout.instance(deployed.release)}" if entry else ""
    return {"on": True, **held.shown, **({"stop": f"systemctl stop {units}"} if entry else {})}


def deploying(minion: Minion) -> dict[str, Any] | None:
    """Who deploys on this host at this moment: ``{"what", "since", "jid", "pid"}``, or None."""
    deployed, _, _ = run.deployed_settings(minion)
    return _told(lock.holder(deployed.layout.lock))


def command(minion: Minion, words: Any, timeout: Any = 60) -> dict[str, Any]:
    """
    Run a program once with the code, the virtualenv and the environment of the deployed release, in its sandbox. A
    deploy may be under way meanwhile.

    words
        A text, split as a shell would (no shell reads it), or a list.
    timeout
        Seconds; then it is ended with all its processes.

    Returns ``{"command", "exit", "seconds", "output"}``; ``exit`` is None and ``problem`` says why where it did not end
    by itself. Raises Failure where nothing is deployed, or it cannot be started.
    """
    wanted = running.parsed(words)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 1 <= timeout <= 86400:
        raise Failure(f"timeout is {timeout!r}: seconds, a number from 1 to 86400")
    deployed, entry, _ = run.deployed_settings(minion)
    if entry is None:
        raise Failure("nothing is deployed on this host: there is no code to run it with")
    if minion.test:
        raise Failure("the minion is configured with test: True: nothing was run")
    ended = running.run(deployed, wanted, deployed.layout.environment(deployed.release), timeout, once=True)
    return {
        "command": running.shown(wanted),
        "exit": ended.exit,
        "seconds": round(ended.seconds, 3),
        "output": "\n".join(ended.output),
        **({"problem": ended.words} if ended.exit is None else {}),
    }


def releases(minion: Minion) -> dict[str, dict[str, Any]]:
    """
    The releases on this host, oldest version first: ``{"PACK1_0": {"version", "state": "live", "good", "failed" or
    "unused", "unpacked", "sha256"}}``; of a failed one ``why`` and ``log`` too.
    """
    deployed, entry, entries = run.deployed_settings(minion)
    return listed(deployed, entry, entries)


def listed(deployed: Settings, entry: Entry | None, entries: tuple[Entry, ...]) -> dict[str, dict[str, Any]]:
    """The same, for who has the ledger already."""
    good, told = ledger.good(entries), {}
    live = release_of(entry.version) if entry else None
    for name, record in release.records(deployed.layout).items():
        state = (
            "live" if name == live else "failed" if record.failed else "good" if record.version in good else "unused"
        )
        told[name] = {
            "version": record.version,
            "unpacked": record.unpacked,
            "sha256": record.sha256,
            "state": state,
        }
        if record.failed:
            told[name] |= {"why": record.failed.why, "log": record.failed.log}
    return told


def history(minion: Minion, limit: int = 20) -> list[dict[str, Any]]:
    """The ledger of this host, newest first; ``limit`` 0 is all."""
    _, _, entries = run.deployed_settings(minion)
    newest = [dict(entry.data) for entry in reversed(entries)]
    return newest[:limit] if limit else newest
