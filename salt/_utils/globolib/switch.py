"""
Carries out the steps of a deploy that a client could notice: the switch, and the look afterwards; and when one fails,
undoes it.

What served goes on serving: put back first, collect evidence second.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from globolib import (
    daemons,
    drain,
    files,
    health,
    observe,
    processes,
    restart,
    started,
    survey,
    systemd,
    units,
    waiting,
)
from globolib.cuts import Cuts
from globolib.errors import Failure
from globolib.host import SOCKET, Host, Unit
from globolib.layout import LIVE, STANDIN, Layout
from globolib.ledger import Entry
from globolib.manifest import worker_count
from globolib.plan import Target, plan, process_units, proof, target_of, wanted_texts
from globolib.settings import Settings
from globolib.trial import reload_if_needed, seconds_to_prove, write

log = logging.getLogger(__name__)


@dataclass
class Course:
    """
    What a run has done so far, as its steps need it.

    before
        The ledger line of what was deployed when it began; None when nothing was.
    texts
        What the files of the app's units held then, by path; None for one that was not there.
    target
        What the release needs beside its settings.
    switched
        Whether this run has begun to switch.
    stands_in
        Whether a stand-in takes requests on the new address, and the release on the old one still.
    again
        Why the release, though nothing was to be changed, was started afresh; None when it was not.
    probe
        Asks the service while the run switches.
    cuts
        Counts the requests that the run has cut.
    """

    before: Entry | None
    texts: Mapping[str, str | None]
    target: Target
    switched: bool = False
    stands_in: bool = False
    again: str | None = None
    probe: health.Probe | None = None
    cuts: Cuts = field(default_factory=Cuts)

    def is_move(self, settings: Settings) -> bool:
        """Whether this run is to change what is deployed, not only to repair it."""
        return self.before is None or self.before.place != (settings.version, settings.port, settings.bind)


def configure(settings: Settings, target: Target) -> list[str]:
    """Write the files that the app's units and gunicorn read. Returns the paths of those that changed."""
    return write(wanted_texts(settings, target))


def _restore(settings: Settings, course: Course) -> None:
    """Give the files that units and gunicorn read back what they held when the run began, but for a socket's."""
    kept = {path: held for path, held in course.texts.items() if not path.endswith((".socket", "sockets.conf"))}
    write(kept)


class _NotOpen(Failure):
    """systemd cannot listen on the address: the release has no part in that."""


def switch(settings: Settings, host: Host, course: Course) -> dict[str, str]:
    """
    Make the release what serves on its address: it starts beside what is there, on the same accept queue, and only
    when it takes requests the other one ends.

    Returns ``{step: phrase}`` of what was done. Raises Failure when it does not come up, or what served does not end;
    what was serving then goes on, on the address that it had, or it is told what runs.
    """
    layout, name = settings.layout, settings.release
    steps = plan(settings, host, course.target)
    if not steps:
        return steps
    running = host.running(layout)
    others = _to_close(settings, host)
    _watch(settings, host, course)
    course.switched = True
    try:
        if daemons.is_defined(settings, host, course.target):
            daemons.define(settings, course.target, afresh=bool({"start", "restart"} & set(steps)))
        _take_up(settings, host, course, steps)
    except (Failure, OSError) as failure:
        raise _undone(settings, host, course, steps, failure) from failure
    try:
        systemd.enable(layout, name)
        for other in running:
            if other != name:
                _stop(layout, other, course)
        if others:
            _close(settings, host, course, others)
        for left in host.running(layout, STANDIN):
            _stop(layout, left, course, STANDIN)
    except (Failure, OSError) as failure:
        unit_then = observe.seen(layout.instance(name))
        came_of_it = put_back(settings, host, course)
        failed = Failure(f"{settings.version} serves, but not alone: {failure}")
        if not unit_then.up:
            failed = Failure(f"{settings.version} did not start again without {', '.join(others)}: {failure}")
            failed = observe.evidence(settings, failed, unit_then)
        raise Failure(f"{failed}{came_of_it}") from failure
    if "processes" in steps:
        _switch_processes(settings, host, course)
    return steps


def _switch_processes(settings: Settings, host: Host, course: Course) -> None:
    """The last part of a switch: background processes, once the release is healthy."""
    try:
        if course.is_move(settings) and course.target.processes:
            asked = host.releases[settings.release].manifest.health
            observe.answers(settings, health.where(settings.listen), asked)
        daemons.switch(settings, host, course.target, seconds_to_prove(settings, host))
    except (Failure, OSError) as failure:
        unit_then = failure.unit if isinstance(failure, daemons.Ended) else None
        came_of_it = put_back(settings, host, course)
        failed = Failure(f"the background processes of {settings.version} could not be switched: {failure}")
        if unit_then:
            failed = observe.evidence(settings, failed, unit_then)
        raise Failure(f"{failed}{came_of_it}") from failure


def _stop(layout: Layout, release: str, course: Course, role: str = LIVE) -> None:
    """Stop the instance of a release, and count what that cuts."""
    course.cuts.during(lambda: systemd.stop(layout.instance(release, role)), layout, release, role)


def _take_up(settings: Settings, host: Host, course: Course, steps: Mapping[str, str]) -> None:
    """The first half of a switch: the release takes requests, beside what is there."""
    layout, unit = settings.layout, settings.layout.instance(settings.release)
    socket, sockets = layout.socket(settings.listen), host.sockets(layout)
    reload_if_needed(host)
    if "open" in steps or "define" in steps:
        systemd.write_socket(layout, socket, units.socket_unit(settings))
        systemd.systemctl("daemon-reload")
    if "define" in steps:
        systemd.own_socket(settings)
    if "open" in steps:
        try:
            if host.at_path not in ("", SOCKET):  # systemd would remove it
                raise Failure(f"{settings.listen.path} is {host.at_path}")
            # One that is active lacks its descriptor (see plan); start would leave it so. The release holds its own.
            systemd.systemctl("restart", socket)
        except Failure as failure:
            raise _NotOpen(f"{settings.bound} cannot be listened on: {failure}") from failure
    if "unmask" in steps:
        systemd.systemctl("unmask", unit)
        systemd.systemctl("unmask", "--runtime", unit)
    others = [other for other, active in sockets.items() if active and other != socket]
    if systemd.hand_over(layout, [socket, *others]):
        systemd.systemctl("daemon-reload")
    if "start" in steps or "restart" in steps:
        _start(settings, host, course)
    else:
        _wait_and_note(settings, host)


def _start(settings: Settings, host: Host, course: Course) -> None:
    """
    Start the release, or start it afresh: where it has workers, beside a stand-in. Where an address is to be closed
    the stand-in is enough for now: the release starts afresh when it lets go of that one.
    """
    if host.workers.get(settings.release):
        course.stands_in = restart.begin(settings, _workers(settings, host), course.cuts)
        if not course.stands_in or not _to_close(settings, host):
            _afresh(settings, host, course)
        return
    verb = "restart" if settings.release in host.running(settings.layout) else "start"
    systemd.systemctl(verb, settings.layout.instance(settings.release))
    _wait_and_note(settings, host)


def _undone(
    settings: Settings, host: Host, course: Course, steps: Mapping[str, str], failure: Failure | OSError
) -> Failure:
    """Undo the first half of a switch; the failure to raise."""
    layout, unit = settings.layout, settings.layout.instance(settings.release)
    socket = layout.socket(settings.listen)
    unit_then = failure.unit if isinstance(failure, restart.NoStandIn) else observe.seen(unit)
    ways: list[Callable[[], object]] = [lambda: _restore(settings, course)]
    if settings.release not in host.running(layout):
        ways.append(lambda: _stop(layout, settings.release, course))
    ways.append(lambda: systemd.hand_over(layout, host.handed))
    if "open" in steps and socket not in host.handed:
        ways.append(lambda: systemd.remove_socket(layout, socket))
    ways.append(lambda: systemd.systemctl("daemon-reload"))
    ways.append(lambda: daemons.resume(settings, host))
    wrong = observe.each(*ways)
    if isinstance(failure, _NotOpen):
        words = "\n".join(f"    | {line}" for line in systemd.journal(socket, 5))
        return Failure(f"{failure}\nWhat served goes on.{wrong}\n{words}")
    failed = observe.evidence(settings, Failure(f"{settings.version} did not start: {failure}"), unit_then)
    return Failure(f"{failed}{wrong}")


def _workers(settings: Settings, host: Host) -> int:
    """How many workers the release has by what it reads at its start: after a way back not what pillar says now."""
    told = files.read(settings.layout.gunicorn_settings)
    return worker_count(host.releases[settings.release].manifest, told)


def _wait_and_note(settings: Settings, host: Host) -> None:
    unit, _ = observe.wait_for_workers(settings, _workers(settings, host))
    _note(settings, host, unit)


def _note(settings: Settings, host: Host, unit: Unit) -> None:
    """Note what the instance that runs has read at its start."""
    if not started.is_noted(settings.layout, settings.release, unit):
        started.note(settings.layout, settings.release, host.releases[settings.release], unit)


def _to_close(settings: Settings, host: Host) -> list[str]:
    """The socket units of addresses that are no longer wanted."""
    return [unit for unit in host.sockets(settings.layout) if unit != settings.layout.socket(settings.listen)]


def _close(settings: Settings, host: Host, course: Course, others: list[str]) -> None:
    """
    Close the addresses that are no longer wanted. Both answer now. systemd lets go of the old one first: were this
    run cut here, the release would go on with it, and the next run would put it right.
    """
    layout = settings.layout
    for other in others:
        systemd.remove_socket(layout, other)
    if systemd.hand_over(layout, [layout.socket(settings.listen)]):
        systemd.systemctl("daemon-reload")
    # The release lets go of the old one by starting again.
    if not course.stands_in:
        course.stands_in = restart.begin(settings, _workers(settings, host), course.cuts)
    left = [address for address in map(layout.address_of, others) if address]
    _afresh(settings, host, course, [address.path for address in left if address.path])


def _afresh(settings: Settings, host: Host, course: Course, paths: Sequence[str] = ()) -> None:
    """
    Start the release again, beside its stand-in where there is one, when nobody waits any more on a socket that it
    alone holds. Whoever comes there from now on is not heard.

    paths
        Of the unix sockets among them.
    """
    _drain(settings.layout.instance(settings.release), paths)
    unit = restart.finish(settings, _workers(settings, host), course.cuts, course.stands_in)
    course.stands_in = False
    _note(settings, host, unit)


def _drain(unit: str, paths: Sequence[str]) -> None:
    """Let nobody new come to the sockets that only the instance holds any more, and see those off that came."""
    main = systemd.unit(unit).pid
    for listener in processes.with_owners(processes.listeners(paths=paths)):
        holders = [owner.pid for owner in listener.owners]
        if main not in holders or 1 in holders:
            continue
        try:
            left = drain.drain(listener, main)
        except OSError as error:
            log.warning("%s: clients that wait on the old address are lost: %s", unit, error)
        else:
            if left:
                log.warning("%s: %s clients that wait on the old address are lost", unit, left)


def _watch(settings: Settings, host: Host, course: Course) -> None:
    """Ask the service every 20 ms from now on, where something serves on an address that stays."""
    running = [name for name in host.running(settings.layout) if name in host.releases]
    if course.probe is not None or course.before is None or not running:
        return
    if course.before.place[1:] == (settings.port, settings.bind):
        asked = host.releases[running[0]].manifest.health
        course.probe = health.start(health.where(settings.listen), asked)


def check(settings: Settings, host: Host, course: Course) -> str:
    """
    Ask the service on its address until it answers as the release should, and prove that this release is what
    answered; after a switch, go on looking for ``soak`` seconds. When it fails after a switch, what was deployed
    before is put back.

    Returns a phrase. Raises Failure.
    """
    layout, name = settings.layout, settings.release
    unit, wanted = layout.instance(name), host.releases[name].manifest.health
    where = health.where(settings.listen)
    soak = settings.soak if course.switched and course.is_move(settings) else 0
    try:
        answer = observe.answers(settings, where, wanted)
        now = _proven(settings, host)
        began = {process: now.units[process] for process in process_units(settings, course.target)}
        observe.stays(settings, where, wanted, now.units[unit].pid, now.workers[name], soak)
        daemons.stayed(began)
    except (Failure, OSError) as failure:
        if not course.switched and course.again is None:
            # Nothing was changed, and it does not answer: what is stuck gets one fresh start, what is slow does not.
            if isinstance(failure, observe.NoAnswer) and not observe.is_stuck(settings, where, wanted):
                why = f"{settings.version} is not healthy: {failure}\nIts workers get on, so it was not started afresh"
                raise Failure(why) from failure
            course.again = str(failure)
            try:
                course.cuts.during(lambda: systemd.systemctl("restart", unit), layout, name)
                _wait_and_note(settings, host)
            except (Failure, OSError) as worse:
                why = f"{settings.version} is not healthy: {failure}; and it did not start afresh: {worse}"
                raise observe.evidence(settings, Failure(why), observe.seen(unit)) from worse
            return f"it did not answer ({failure}) and was started afresh; " + check(settings, host, course)
        unit_then = failure.unit if isinstance(failure, daemons.Ended) else observe.seen(unit)
        came_of_it = put_back(settings, host, course)
        failed = observe.evidence(settings, Failure(f"{settings.version} is not healthy: {failure}"), unit_then)
        raise Failure(f"{failed}{came_of_it}") from failure
    seen = f"GET {where}{wanted.path}: {answer.status} in {answer.seconds * 1000:.0f} ms, from {name}"
    return seen + (f"; it stayed so for {soak:g} s" if soak else "")


def _proven(settings: Settings, host: Host) -> Host:
    """The host once nothing speaks against the release being what serves; a worker that died may be on its way."""
    now, wrong = host, [""]

    def right() -> bool | None:
        nonlocal now, wrong
        now = survey.again(settings, host)
        wrong = proof(settings, now)
        return None if wrong else True

    if not waiting.until(right, settings.deadline):
        raise Failure("; ".join(wrong))
    return now


def put_back(settings: Settings, host: Host, course: Course) -> str:
    """Put back what was deployed before this run's switch; what came of it, to be told after the failure."""
    layout, before = settings.layout, course.before
    if not course.switched or not course.is_move(settings):
        return ""
    if before is None:
        # The sockets first: a client that comes would have the release started again.
        sockets = {layout.socket(settings.listen), *systemd.socket_files(layout)}
        wrong = observe.each(
            *(functools.partial(systemd.remove_socket, layout, socket) for socket in sorted(sockets)),
            lambda: systemd.hand_over(layout, ()),
            lambda: systemd.enable(layout, None),
            lambda: _stop(layout, settings.release, course),
            lambda: daemons.switch(settings, survey.again(settings, host), replace(course.target, processes={})),
        )
        return f"\nNothing was deployed here before: it was stopped.{wrong}"
    old = settings.at(version=before.version, port=before.port, bind=before.bind, address=before.address)
    try:
        record = host.releases[old.release]
        target = target_of(old, record.manifest, record.virtualenv)
        back = Course(before, course.texts, target, switched=True, probe=course.probe, cuts=course.cuts)
        _restore(settings, course)
        switch(old, survey.again(old, host), back)
        observe.answers(old, health.where(old.listen), record.manifest.health)
    except (Failure, OSError, KeyError) as worse:
        return f"\nAnd {before.version} could not be put back: {worse}{_what_runs(settings, host)}"
    return f"\nSwitched back: {before.version} serves again."


def _what_runs(settings: Settings, host: Host) -> str:
    """What runs now, to be told after a failure."""
    try:
        running = survey.again(settings, host).running(settings.layout)
    except (Failure, OSError) as error:
        return f"\nWhat runs now is not known: {error}"
    return f"\nWhat runs now: {', '.join(running) or 'nothing'}."
